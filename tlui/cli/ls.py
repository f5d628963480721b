"""`tlui ls`: the runs as a table, plain lines or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlui.cli.options import AsciiOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from tlui.runs.directory import Home
    from tlui.runs.query import Fields
    from tlui.runs.row import Row

LIMIT = 50


@dataclass(frozen=True)
class Column:
    """One column: its title, its cell and how soon it goes when there is no room."""

    title: str
    cell: Callable[[Row, bool], str]
    keep: int = 0
    """Columns with the least number are dropped first."""
    right: bool = False
    best: str = ""
    """The metric whose best value among the rows is marked."""


def ls(
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="Such as 'cfg.lr>=1e-5 status:finished'.")
    ] = "",
    sort: Annotated[
        str, typer.Option("--sort", "-s", help="Fields by comma; -field is descending.")
    ] = "-created",
    json: JsonOption = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help=f"How many; {LIMIT} in a table.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="No limit.")] = False,
    columns: Annotated[
        str, typer.Option("--columns", "-c", help="Fields by comma in place of the usual ones.")
    ] = "",
    home: HomeOption = None,
    ascii: AsciiOption = False,
) -> None:
    """List runs, the newest first.

    A filter holds terms that must all be true: a field, one of : = != > >= < <= and a value, or
    a word to look for. A - in front negates; commas after : give alternatives. Fields are id name
    preset experiment status dataset backbone regime lr epoch val test device created age note,
    metrics such as test_f1, and settings such as cfg.lr or cfg.train.batch_size.

    In a pipe the columns stand apart by tabs, with the state in words.
    """
    from tlui.cli.main import complain
    from tlui.cli.terminal import is_terminal, print_json_list, reading
    from tlui.runs.charset import ascii_only
    from tlui.runs.directory import Home
    from tlui.runs.index import Index
    from tlui.runs.status import LIVE

    store = Home.at(home, create=False)
    most = None if all or (json and limit is None) else (limit or LIMIT)
    with Index(store) as index:
        index.refresh(budget=0.05, progress=reading)
        if json:
            from tlui.runs.export import pages, record

            if most is None:
                found: Iterable[Row] = pages(index, index.ids(filter, sort))
            else:
                found = index.rows(filter, sort, limit=most)
            print_json_list(record(row) | _about(row) for row in found)
            return
        fields = index.fields()
        chosen = _chosen(columns, fields) if columns else None
        rows = index.rows(filter, sort, limit=most)
        more = len(rows) == most
        total = index.count(filter) if more else len(rows)
        if not rows:
            others = bool(filter) and index.count() > 0
            print(_empty(filter, others, store), file=sys.stderr)
            return
    if is_terminal():
        _table(rows, chosen or USUAL, ascii_only(ascii))
    else:
        _lines(rows, chosen or PLAIN)
    for row in rows:
        if row.reason and (row.state in LIVE or row.state == "stale"):
            complain(f"{row.name} ({row.id}): {row.reason}", 0)
    if total > len(rows):
        print(f"{len(rows)} of {total:,} runs; --all shows all", file=sys.stderr)


def _about(row: Row) -> dict[str, Any]:
    """What lists show that is no column of the CSV."""
    return {
        "short_id": row.short,
        "dataset": row.dataset,
        "backbone": row.backbone,
        "lr": row.lr,
        "epoch": row.epoch,
        "epochs": row.epochs,
        "progress": row.progress,
        "points": row.points,
        "pinned": row.pinned,
        "hidden": row.hidden,
        "note": row.note,
        "newer_format": row.newer,
    }


def _empty(filter: str, others: bool, store: Home) -> str:
    from tlui.recipe.bundled import first_command
    from tlui.runs.text import printable

    if others:
        return f"no run matches: {printable(filter)}"
    return f"No runs yet in {printable(store.path)}. Start one: {printable(first_command())}"


def _table(rows: Sequence[Row], columns: Sequence[Column], ascii: bool) -> None:
    """A table that fits the terminal: columns go, least important first, then names shrink."""
    from rich.table import Table
    from rich.text import Text

    from tlui.cli.terminal import console
    from tlui.runs.text import shorten

    out = console()
    mark = {column.title: _best(rows, column.best) for column in columns if column.best}
    cells = {c.title: [c.cell(row, ascii) for row in rows] for c in columns}
    widths = {
        c.title: max(len(c.title), *(len(x) for x in cells[c.title])) + (1 if c.best else 0)
        for c in columns
    }
    shown = list(columns)
    widths[shown[0].title] = min(widths[shown[0].title], max(24, out.width // 4))
    while len(shown) > 1 and sum(widths[c.title] + 2 for c in shown) > out.width:
        shown.remove(min(shown, key=lambda column: column.keep))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in shown:
        table.add_column(Text(column.title), justify="right" if column.right else "left")
    first = max(out.width - sum(widths[c.title] + 2 for c in shown[1:]), 8)
    for at, row in enumerate(rows):
        line = []
        for column in shown:
            text = cells[column.title][at]
            best = column.best and row.id in mark[column.title]
            if column is shown[0]:
                text = shorten(text, first, "~" if ascii else "…")
            if column.best:
                text += "*" if best else " "
            line.append(Text(text, style=_style(row, column, bool(best)), no_wrap=True))
        table.add_row(*line)
    out.print(table)


def _style(row: Row, column: Column, best: bool) -> str:
    if best:
        return "bold"
    if column.title == "state":
        return {"failed": "red", "diverged": "red", "running": "green"}.get(row.state, "")
    return ""


def _best(rows: Sequence[Row], metric: str) -> set[str]:
    """Ids of the runs with the best value; none where fewer than two have one."""
    found = {row.id: row.metrics[metric] for row in rows if metric in row.metrics}
    if len(found) < 2:
        return set()
    top = max(found.values())
    return {run_id for run_id, value in found.items() if value == top}


def _lines(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Tab-separated lines with a header."""
    print("\t".join(column.title for column in columns))
    for row in rows:
        print("\t".join(column.cell(row, True) for column in columns))


def _chosen(words: str, fields: Fields) -> list[Column]:
    """Columns for fields a person named; the run itself comes first.

    Raises:
        FilterError: A field nobody has.
    """
    found = [_ID]
    for word in (w.strip() for w in words.split(",")):
        if word:
            name = fields.find(word)
            found.append(Column(word, _value(name), right=name not in _TEXT))
    return found


def _value(name: str) -> Callable[[Row, bool], str]:
    def cell(row: Row, ascii: bool) -> str:
        import time

        from tlui.runs import format
        from tlui.runs.text import printable

        value: Any
        path = name.removeprefix("cfg.")
        if name == "age":
            value = time.time() - row.created
            return format.duration(value, ascii)
        if name == "seconds":
            return format.duration(row.seconds(time.time()), ascii)
        if name == "tag":
            value = row.config.get("tags")
        elif hasattr(row, name) and not name.startswith("cfg."):
            value = getattr(row, name)
        else:
            value = row.value(path)
        if name in ("created", "started", "ended"):
            return format.moment(value, ascii)
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None or value == "":
            return format.missing(ascii)
        if isinstance(value, int | float) and name.startswith("cfg."):
            return format.number(value, ascii)
        if isinstance(value, int | float):
            return format.named(name, value, ascii)
        return printable(value)

    return cell


def _run(row: Row, ascii: bool) -> str:
    from tlui.runs.text import printable

    return printable(row.title)


def _state(row: Row, ascii: bool) -> str:
    from tlui.runs.format import state_word

    return state_word(row.state, ascii)


def _curve(row: Row, ascii: bool) -> str:
    from tlui.runs.format import sparkline

    return sparkline(row.points, 5, ascii)


def _epochs(row: Row, ascii: bool) -> str:
    from tlui.runs.format import progress

    return progress(row.epoch, row.epochs, ascii)


_ID = Column("run", _run, keep=9)
_TEXT = ("name", "preset", "experiment", "state", "dataset", "backbone", "regime", "lr", "note")
USUAL = (
    _ID,
    Column("state", _state, keep=8),
    Column("dataset", _value("dataset"), keep=2),
    Column("backbone", _value("backbone"), keep=4),
    Column("regime", _value("regime"), keep=5),
    Column("lr", _value("lr"), keep=6),
    Column("curve", _curve, keep=3),
    Column("val acc", _value("val"), keep=7, right=True, best="val_accuracy"),
    Column("test", _value("test"), keep=6, right=True, best="test_accuracy"),
    Column("epoch", _epochs, keep=5, right=True),
    Column("time", _value("seconds"), keep=1, right=True),
    Column("device", _value("device"), keep=0),
    Column("created", _value("created"), keep=1),
)
PLAIN = (
    Column("id", _value("id")),
    Column("name", _value("name")),
    Column("state", _value("state")),
    Column("dataset", _value("dataset")),
    Column("backbone", _value("backbone")),
    Column("regime", _value("regime")),
    Column("lr", _value("lr")),
    Column("epoch", _epochs),
    Column("val_accuracy", _value("val")),
    Column("test_accuracy", _value("test")),
    Column("created", _value("created")),
)
