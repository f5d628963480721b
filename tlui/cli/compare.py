"""`tlui compare`: runs side by side, only what differs between them, beside their metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlui.cli.options import AsciiOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from tlui.runs.row import Row

MOST = 200
SHOWN = (
    *("val_accuracy", "val_f1", "val_loss"),
    *("test_accuracy", "test_precision", "test_recall", "test_f1", "test_roc_auc", "test_loss"),
    *("train_accuracy", "train_seconds", "test_inference_seconds"),
    *("trainable_parameters", "peak_memory_mb", "peak_gpu_memory_mb"),
)
COLUMNS = ("name", "preset", "experiment", "state", "dataset", "backbone", "regime", "lr", "device")
"""Fields of a row beside its metrics and settings."""
INDIFFERENT = ("trainable_parameters",)
"""Numbers of which neither end is better."""


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: id prefix, name or @last.")
    ] = None,
    filter: Annotated[str, typer.Option("--filter", "-f", help="As in tlui ls.")] = "",
    sort: Annotated[
        str | None,
        typer.Option("--sort", "-s", help="As in tlui ls; else as named, or by creation."),
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", "-m", help="Metrics by comma in place of the usual ones.")
    ] = "",
    best_of: Annotated[
        str,
        typer.Option(
            "--best-of",
            metavar="FIELD",
            help="Only the best run of each value of a field: experiment, regime, cfg.KEY",
        ),
    ] = "",
    json: JsonOption = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> None:
    """Compare runs: the settings that differ and the metrics, the best marked with *."""
    from tlui.cli.terminal import print_json_list, reading
    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.runs.export import record
    from tlui.runs.index import Index
    from tlui.runs.query import CONFIG
    from tlui.runs.reference import resolve_all
    from tlui.runs.text import printable

    if bool(runs) == bool(filter):
        raise TluiError("name the runs to compare, or give --filter", 2)
    store = Home.at(home, create=False)
    with Index(store) as index:
        index.refresh(progress=reading)
        if runs:
            ids = [run.id for run in resolve_all(store, runs, index)]
            ids = index.in_order(ids, sort) if sort else ids
        else:
            ids = index.ids(filter, sort or "created")
            if len(ids) > MOST:
                raise TluiError(
                    f"{len(ids):,} runs match, {MOST} can be compared; narrow --filter", 2
                )
        rows = index.get(ids)
        names = [index.fields().find(m.strip()) for m in metrics.split(",") if m.strip()]
        if best_of:
            rows = champions(rows, index.fields().find(best_of).removeprefix(CONFIG))
    if not rows:
        raise TluiError(f"no run matches: {printable(filter)}")
    if json:
        print_json_list(record(row) for row in rows)
        return
    _show(
        rows,
        names or [name for name in SHOWN if any(r.value(name) is not None for r in rows)],
        ascii,
    )


def differing(rows: Sequence[Row]) -> list[str]:
    """Settings that are not the same in all runs, phases' and rates' first."""
    keys = dict.fromkeys(key for row in rows for key in row.config)
    found = [key for key in keys if len({repr(row.config.get(key)) for row in rows}) > 1]
    return sorted(found, key=lambda key: (not key.startswith("phase."), key))


def champions(rows: Sequence[Row], field: str) -> list[Row]:
    """Of the runs with the same value of `field`, the one best by its own monitored metric.

    A run without that metric yet stands only where no other has the value. Order is kept.
    """
    from tlui.runs.history import lower_is_better

    def rank(row: Row) -> float:
        value = row.value(row.monitor)
        if not isinstance(value, int | float):
            return -math.inf
        return -value if lower_is_better(row.monitor) else float(value)

    found: dict[str, Row] = {}
    for row in rows:
        own = getattr(row, field) if field in COLUMNS else row.value(field)
        at = repr(own)
        if at not in found or rank(row) > rank(found[at]):
            found[at] = row
    return [row for row in rows if row in found.values()]


def best(name: str, rows: Sequence[Row]) -> set[int]:
    """Where the best values of a metric are; empty where fewer than two runs have one."""
    from tlui.runs.history import lower_is_better

    found = {at: v for at, row in enumerate(rows) if (v := row.value(name)) is not None}
    numbers = {at: v for at, v in found.items() if isinstance(v, int | float)}
    if len(numbers) < 2 or name in INDIFFERENT or len(set(numbers.values())) == 1:
        return set()
    top = (min if lower_is_better(name) else max)(numbers.values())
    return {at for at, value in numbers.items() if value == top}


def _show(rows: Sequence[Row], metrics: Sequence[str], ascii: bool) -> None:
    """One row a run where the terminal is wide enough, else one row a field."""
    from rich.table import Table
    from rich.text import Text

    from tlui.cli.terminal import console, is_terminal
    from tlui.runs.charset import ascii_only
    from tlui.runs.format import named, state_word
    from tlui.runs.text import printable

    ascii = ascii_only(ascii)
    settings = differing(rows)
    plain = not is_terminal()
    table: list[tuple[str, list[str], set[int]]] = [
        ("state", [r.state if plain else state_word(r.state, ascii) for r in rows], set())
    ]
    for key in settings:
        table.append((key, [setting(key, row.config.get(key), ascii) for row in rows], set()))
    for name in metrics:
        cells = [named(name, row.value(name), ascii) for row in rows]
        table.append((name, cells, best(name, rows)))
    titles = [printable(row.title) for row in rows]
    if plain:
        print("\t".join(["", *titles]))
        for name, cells, top in table:
            marked = [cell + ("*" if at in top else "") for at, cell in enumerate(cells)]
            print("\t".join([printable(name), *marked]))
        return
    out = console()
    labels = max(len(name) for name, _, _ in table)
    widths = [
        max(len(titles[at]), *(len(cells[at]) + 1 for _, cells, _ in table)) + 2
        for at in range(len(rows))
    ]
    start = 0
    while start < len(rows):
        end, room = start + 1, out.width - labels - 2 - widths[start]
        while end < len(rows) and room >= widths[end]:
            room -= widths[end]
            end += 1
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        grid.add_column("")
        for title in titles[start:end]:
            grid.add_column(Text(title), justify="right")
        for name, cells, top in table:
            line = [
                Text(cells[at] + ("*" if at in top else " "), style="bold" if at in top else "")
                for at in range(start, end)
            ]
            grid.add_row(Text(printable(name), style="dim"), *line)
        out.print(grid)
        start = end
        if start < len(rows):
            out.print()
    if not settings and len(rows) > 1:
        out.print("all settings are the same")


def setting(key: str, value: Any, ascii: bool) -> str:
    """A configuration leaf as people write it: numbers short, lists by comma."""
    from tlui.runs.format import missing, number
    from tlui.runs.text import printable

    if value is None:
        return missing(ascii)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value, ascii)
    return printable(", ".join(map(str, value)) if isinstance(value, list) else value)
