"""`tlui show`: everything a run is and has come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlui.cli.options import AsciiOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from tlui.runs.directory import RunDirectory
    from tlui.runs.history import History
    from tlui.runs.row import Row

SPLITS = ("train", "val", "test")
EPOCHS_SHOWN = 10
Grid = list[list[str]]


def show(
    run: Annotated[str, typer.Argument(help="A run: id prefix, name or @last.")] = "@last",
    json: JsonOption = False,
    epochs: Annotated[
        bool, typer.Option("--epochs", help=f"Every epoch; else the last {EPOCHS_SHOWN}.")
    ] = False,
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> None:
    """Show a run: settings, epochs, metrics of every split, classes and confusion matrix."""
    from tlui.cli.terminal import print_json
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.history import load
    from tlui.runs.index import Index
    from tlui.runs.reference import resolve

    store = Home.at(home, create=False)
    with Index(store) as index:
        index.refresh(budget=0.0)
        directory = resolve(store, run, index)
        index.refresh(budget=0.0)
        rows = index.get([directory.id])
    if not rows:
        from tlui.errors import TluiError

        raise TluiError(f"{directory.path}: holds no run that can be read")
    result = directory.read_result() or {}
    if json:
        print_json(_json(directory, rows[0], result, epochs))
        return
    for line in describe(directory, rows[0], result, load(directory), epochs, ascii_only(ascii)):
        print(line)


def _json(directory: RunDirectory, row: Row, result: dict[str, Any], epochs: bool) -> Any:
    from tlui.runs.directory import Home
    from tlui.runs.export import epoch_records, record

    found = record(row)
    found |= {"advice": row.advice, "progress": row.progress, "path": str(directory.path)}
    found |= {key: result.get(key) for key in ("best", "phases", "splits", "evaluated")}
    if epochs:
        found["epochs"] = epoch_records(Home(directory.path.parent.parent), row)
    return found


def describe(
    directory: RunDirectory,
    row: Row,
    result: dict[str, Any],
    history: History,
    every_epoch: bool,
    ascii: bool,
) -> list[str]:
    """The run as lines of text, terminal-safe."""
    from tlui.cli.tables import timed

    lines = [*_head(directory, row, result, ascii), ""]
    lines += ["settings", *_aligned(_settings(row, ascii), 2), ""]
    table = _epochs(history, row, every_epoch, ascii)
    if table:
        left = len(history.epochs) - (len(table) - 1)
        lines += ["epochs" + (f"  (the last {len(table) - 1}; --epochs for all)" if left else "")]
        lines += [*_aligned(table, 0), ""]
    for event in list(history.alerts)[-5:]:
        lines.append(f"alert: {_safe(event.get('message'))}")
    metrics = _metrics(row, ascii)
    if metrics:
        how = timed(result)
        told = [f"  inference: after a warm-up{how}"] if how else []
        lines += ["metrics", *_aligned(metrics, 1), *told, ""]
    splits = result.get("splits") or {}
    for split in reversed(SPLITS):
        if split in splits:
            lines += _classes(split, splits[split], ascii)
            break
    if history.newer or row.newer:
        lines.append("written by a newer tlui: something may be missing here")
    return lines


def _safe(text: object) -> str:
    from tlui.runs.text import printable

    return printable("" if text is None else text)


def _head(directory: RunDirectory, row: Row, result: dict[str, Any], ascii: bool) -> list[str]:
    import time

    from tlui.runs import format

    lines = [f"{_safe(row.title)}   {format.state_word(row.state, ascii)}"]
    for text in (row.reason, row.advice):
        lines += [f"  {_safe(line)}" for line in (text or "").splitlines()]
    unknown = format.missing(ascii)
    what = row.dataset, row.backbone, row.regime, f"lr {row.lr}"
    facts: Grid = [
        ["id", row.id],
        ["from", _safe(f"{row.preset} / {row.experiment}" if row.preset else unknown)],
        ["what", _safe(", ".join(what) if row.config else unknown)],
        ["epochs", format.progress(row.epoch, row.epochs, ascii)],
        ["created", format.moment(row.created, ascii)],
        ["time", format.duration(row.seconds(time.time()), ascii)],
        ["device", _safe(row.device or unknown)],
    ]
    measures = row.measures
    if "trainable_parameters" in measures:
        facts.append(
            [
                "learns",
                f"{format.exact(measures['trainable_parameters'])} of "
                f"{format.exact(measures.get('total_parameters'), ascii)} parameters",
            ]
        )
    if "peak_memory_mb" in measures:
        gpu = measures.get("peak_gpu_memory_mb")
        extra = f", GPU {format.memory(gpu)}" if gpu is not None else ""
        facts.append(["memory", format.memory(measures["peak_memory_mb"]) + extra])
    best = result.get("best") or {}
    if isinstance(best.get("monitor"), str):
        shown = format.named(best["monitor"], best.get("value"), ascii)
        facts.append(
            ["best", f"epoch {_safe(best.get('epoch'))}, {_safe(best['monitor'])} {shown}"]
        )
    if measures.get("skipped_images"):
        facts.append(["data", format.skipped(int(measures["skipped_images"]))])
    facts.append(["where", _safe(directory.path)])
    return lines + _aligned(facts, 2)


def _settings(row: Row, ascii: bool) -> Grid:
    from tlui.cli.compare import setting

    return [[_safe(key), setting(key, row.config[key], ascii)] for key in sorted(row.config)]


def _epochs(history: History, row: Row, every: bool, ascii: bool) -> Grid:
    """The epoch table, its header first; empty without epochs."""
    from tlui.runs import format

    if not history.epochs:
        return []
    metrics = [name for name in history.metrics() if name.startswith(("train_", "val_"))]
    order = ("loss", "accuracy", "f1", "precision", "recall")
    kinds = {name: name.partition("_")[2] for name in metrics}
    metrics.sort(key=lambda m: (order.index(kinds[m]) if kinds[m] in order else 9, kinds[m], m))
    metrics = metrics[: max((_width() - 24) // 11, 2)]
    best = history.best(row.monitor)
    table = [["epoch", *(m.replace("_accuracy", "_acc") for m in metrics), "lr", "time"]]
    for epoch in history.epochs if every else history.epochs[-EPOCHS_SHOWN:]:
        star = "*" if best is not None and epoch["epoch"] == best["epoch"] else " "
        cells = [f"{epoch['epoch']}{star}"]
        cells += [format.named(name, epoch.get(name), ascii) for name in metrics]
        cells.append(format.rate(epoch.get("lr"), ascii))
        cells.append(format.duration(epoch.get("seconds"), ascii))
        table.append(cells)
    return table


def _metrics(row: Row, ascii: bool) -> Grid:
    """Metrics down, splits across."""
    from tlui.runs.format import duration, named

    splits = [s for s in SPLITS if any(name.startswith(f"{s}_") for name in row.metrics)]
    if not splits:
        return []
    kinds = dict.fromkeys(name.partition("_")[2] for name in row.metrics)
    table = [["", *splits]]
    for kind in kinds:
        cells = [named(kind, row.metrics.get(f"{s}_{kind}"), ascii) for s in splits]
        table.append([_safe(kind.replace("_", " ")), *cells])
    times = [row.measures.get(f"{s}_inference_seconds") for s in splits]
    if any(time is not None for time in times):
        table.append(["inference", *(duration(time, ascii) for time in times)])
    return table


def _classes(split: str, part: dict[str, Any], ascii: bool) -> list[str]:
    """Per-class table and confusion matrix of a split; nothing where they are damaged."""
    from tlui.runs import format

    classes, matrix = part.get("classes") or [], part.get("confusion") or []
    lines: list[str] = []
    names = [_safe(c.get("name")) for c in classes]
    if classes:
        table = [["class", "precision", "recall", "f1", "images"]]
        for name, each in zip(names, classes, strict=True):
            shares = [format.metric(each.get(k), ascii) for k in table[0][1:4]]
            table.append([name, *shares, format.exact(each.get("support"), ascii)])
        lines += [f"classes ({split})", *_aligned(table, 1), ""]
    if matrix and len(matrix) == len(names) <= 30:
        heads = [name[:4] for name in names]
        table = [["true", *heads]]
        for name, counts in zip(names, matrix, strict=True):
            table.append([name, *(_safe(count) for count in counts)])
        lines += [f"confusion ({split}): rows are true, columns predicted", *_aligned(table, 1), ""]
    return lines


def _width() -> int:
    """Columns of the terminal; no bound in a pipe."""
    import shutil

    from tlui.cli.terminal import is_terminal

    return shutil.get_terminal_size((80, 24)).columns if is_terminal() else 10_000


def _aligned(table: Sequence[Sequence[str]], left: int) -> list[str]:
    """Cells as columns: the first `left` of them to the left, the others to the right."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in table) for i in range(len(table[0]))] if table else []
    lines = []
    for row in table:
        cells = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            pad = " " * (width - cell_len(cell))
            cells.append(cell + pad if at < left else pad + cell)
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines
