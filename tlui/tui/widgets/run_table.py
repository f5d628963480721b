"""The table of runs: rows come from the index as they show, ten thousand scroll like ten."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from tlui.runs import format
from tlui.runs.status import LIVE
from tlui.runs.text import printable
from tlui.tui.lines import Line, pad, width_of
from tlui.tui.messages import Page
from tlui.tui.widgets.listing import Listing

if TYPE_CHECKING:
    from tlui.runs.row import Row

STATE_STYLE = {
    "running": "accent",
    "evaluating": "accent",
    "starting": "accent",
    "finished": "good",
    "failed": "error",
    "diverged": "error",
    "interrupted": "warn",
    "stale": "warn",
    "queued": "dim",
    "stopped": "dim",
}
AHEAD = 40
"""Rows asked for beyond what shows, on either side."""

ARROW = {"now": time.time}


@dataclass(frozen=True)
class Column:
    """One column: how wide, what it says, in which order columns give way on narrow screens."""

    name: str
    title: str
    width: int
    rank: int
    """Lower stays longer."""
    text: Callable[[Row, bool], str]
    right: bool = False
    style: str = ""
    best: bool = False
    sort: str = ""


def _eta(row: Row, ascii: bool) -> str:
    eta = row.progress.get("eta_seconds")
    if row.state != "running" or not isinstance(eta, int | float) or eta < 1:
        return ""
    return format.duration(eta, ascii)


def _phrase(text: str, ascii: bool) -> str:
    return printable(text).replace(" then ", ">" if ascii else "→")


def _device(row: Row, ascii: bool) -> str:
    return printable(row.device.split(" (")[0].removeprefix("NVIDIA "))


COLUMNS: tuple[Column, ...] = (
    Column("dataset", "dataset", 10, 9, lambda r, a: printable(r.dataset), sort="dataset"),
    Column("backbone", "backbone", 12, 6, lambda r, a: printable(r.backbone), sort="backbone"),
    Column("regime", "regime", 9, 4, lambda r, a: _phrase(r.regime, a), sort="regime"),
    Column("lr", "lr", 8, 3, lambda r, a: _phrase(r.lr, a), sort="cfg.lr"),
    Column("curve", "", 5, 7, lambda r, a: format.sparkline(r.points, 5, a), style="s0"),
    Column("val", "val", 6, 1, lambda r, a: format.metric(r.val, a), True, best=True,
           sort="-val"),
    Column("test", "test", 6, 2, lambda r, a: format.metric(r.test, a), True, best=True,
           sort="-test"),
    Column("epoch", "epoch", 6, 0, lambda r, a: format.progress(r.epoch, r.epochs, a), True,
           style="dim", sort="-epoch"),
    Column("eta", "ETA", 6, 10, _eta, True),
    Column("took", "took", 6, 12, lambda r, a: format.duration(r.seconds(ARROW["now"]()), a), True,
           style="dim", sort="-seconds"),
    Column("device", "device", 8, 11, _device, style="dim", sort="device"),
    Column("created", "created", 16, 13, lambda r, a: format.moment(r.created, a), style="dim",
           sort="-created"),
)  # fmt: skip
STATE_WIDTH = 13
STATE_RANK = 8
NAME_LEAST, NAME_MOST = 16, 40
NAME_RANK = 7.5
"""Columns of a higher rank give way before names are cut."""
SETTINGS = ("dataset", "backbone", "regime", "lr", "device")
"""Columns that tell nothing where all runs agree: they give way before all others."""
SORTS: tuple[tuple[str, str], ...] = (
    ("created", "-created"),
    ("name", "name"),
    ("val", "-val"),
    ("test", "-test"),
    ("lr", "cfg.lr"),
    ("regime", "regime"),
    ("backbone", "backbone"),
    ("state", "state"),
    ("epoch", "-epoch"),
    ("took", "-seconds"),
)
"""What `o` goes through: word and sort key."""


class RunTable(Listing):
    """Rows of the store. `wanted` says which stretch the screen should ask the watcher for."""

    class Wanted(Message):
        """The table shows rows it does not hold."""

        def __init__(self, offset: int, limit: int) -> None:
            super().__init__()
            self.offset = offset
            self.limit = limit

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.loaded = False
        self.first = 0
        self.rows: tuple[Row, ...] = ()
        self.marked: Mapping[str, int] = {}
        """Run id -> colour."""
        self.best: Mapping[str, Mapping[str, float]] = {}
        self.sort = "-created"
        self.store_total = 0
        self.error = ""
        self.reading: tuple[int, int] | None = None
        """How far a large store is read, the first time."""
        self._asked: tuple[int, int] | None = None
        self._need = NAME_LEAST
        """Cells that the longest name at hand takes."""
        self._alike: frozenset[str] = frozenset()
        """`SETTINGS` in which the runs at hand agree."""

    def row(self, index: int) -> Row | None:
        """The row at an index, where it is at hand."""
        at = index - self.first
        return self.rows[at] if 0 <= at < len(self.rows) else None

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self.row(self.cursor) if self.total else None

    def take(self, page: Page, keep: bool = True, seek: str = "") -> bool:
        """Show a page; the cursor goes to the run `seek` or stays on its own, where that is at
        hand. Whether `seek` was."""
        before = self.current
        self.loaded = True
        self.first, self.rows, self.total = page.offset, page.rows, page.shown
        self.store_total, self.best, self.error = page.total, page.best, page.error
        self.reading = page.reading
        self._measure()
        sought = next((i for i, r in enumerate(self.rows) if r.id == seek), None) if seek else None
        if sought is not None:
            self.cursor = sought + self.first
        elif keep and before is not None:
            found = next((i for i, r in enumerate(self.rows) if r.id == before.id), None)
            if found is not None and found + self.first != self.cursor:
                shift = found + self.first - self.cursor
                self.cursor += shift
                self.top = max(self.top + shift, 0)
        self._asked = None
        self._fit()
        self.redraw()
        after = self.current
        if (before and before.id) != (after and after.id) or before != after:
            self.post_message(self.Moved(self))
        return sought is not None

    def _measure(self) -> None:
        names = (width_of("".join(self._name_parts(row))) for row in self.rows)
        self._need = min(max(names, default=NAME_LEAST), NAME_MOST)
        self._alike = frozenset(
            name
            for name in SETTINGS
            if len(self.rows) > 1 and len({getattr(row, name) for row in self.rows}) == 1
        )

    def build(self, width: int, height: int) -> list[Line]:
        lines = super().build(width, height)
        page = self.page
        low, high = self.top, min(self.top + page, self.total)
        if self.total and (low < self.first or high > self.first + len(self.rows)):
            offset = max(self.top - AHEAD, 0)
            asked = (offset, page + 2 * AHEAD)
            if asked != self._asked:
                self._asked = asked
                self.post_message(self.Wanted(*asked))
        return lines

    # -- columns

    def columns(self, width: int) -> tuple[int, bool, list[Column]]:
        """Width of the name, whether the state is spelled out, and the columns that fit."""
        name = NAME_LEAST
        room = width - 4 - name
        chosen: set[str] = set()
        parts: list[tuple[bool, float, str, int]] = [
            (False, NAME_RANK, "name", self._need - name),
            (False, STATE_RANK, "state", STATE_WIDTH - 1),
            *((c.name in self._alike, c.rank, c.name, c.width + 1) for c in COLUMNS),
        ]
        for _, _, part, need in sorted(parts):
            if part == "name":
                more = max(min(need, room), 0)
                name, room = name + more, room - more
            elif need > room:
                break
            else:
                room -= need
                chosen.add(part)
        name += min(room, NAME_MOST - name)
        return name, "state" in chosen, [c for c in COLUMNS if c.name in chosen]

    def head_lines(self, width: int) -> list[Line]:
        name, spelled, columns = self.columns(width)
        mark = ("▌", "accent") if self.has_focus else (" ", "")
        style = "accent" if self.has_focus else "dim"
        lead = pad("  state", STATE_WIDTH + 2) if spelled else "   "
        line: Line = [mark, (lead, "dim"), (pad("run", name), style)]
        for column in columns:
            title = column.title
            if column.sort and column.sort.lstrip("-") == self.sort.lstrip("-"):
                title += "↓" if self.sort.startswith("-") else "↑"
            # a star may follow a best value: titles end above the digits
            text = pad(title, column.width - 1, True) + " " if column.best else title
            line.append((" " + pad(text, column.width, column.right), "dim"))
        return [line]

    def empty_lines(self, width: int) -> list[Line]:
        if self.error:
            return [[]] + [[("  " + printable(t), "error")] for t in self.error.splitlines()]
        if not self.loaded or self.reading:
            return [[], [("  reading the runs …", "dim")]]
        if self.store_total:
            out = " / changes it, esc clears it." if self.has_focus else ""
            return [[], [("  No run matches the filter." + out, "")]]
        return [
            [],
            [("  No runs yet.", "title")],
            [],
            [("  n", "key"), (" starts one, or on the command line:", "")],
            [("  tlui run presets/quickstart.toml", "value")],
        ]

    def row_line(self, index: int, width: int, here: bool) -> Line:
        name, spelled, columns = self.columns(width)
        row = self.row(index)
        if row is None:
            return [("   …", "dim")]
        ascii = self.look.ascii
        colour = self.marked.get(row.id)
        sel = " sel" if here else ""
        mark = (" ", sel)
        if colour is not None:
            mark = (self._glyph(colour), f"s{colour}{sel}")
        style = STATE_STYLE.get(row.state, "")
        glyph = format.glyph(row.state, ascii)
        state = pad(f"{glyph} {row.state}", STATE_WIDTH) if spelled else glyph
        line: Line = [
            ("▌" if here else " ", "accent" + sel),
            mark,
            (state + " ", style + sel),
            (self.name_cell(row, name), ("title" if here else "") + sel),
        ]
        for column in columns:
            text = column.text(row, ascii)
            style = column.style
            if column.best:
                value = getattr(row, column.name)
                best = value is not None and value == self.best.get(column.name, {}).get(
                    row.dataset
                )
                text, style = text + ("*" if best else " "), "best" if best else style
            elif column.name in ("epoch",) and row.state in LIVE:
                style = "accent"
            line.append((" " + pad(text, column.width, column.right), style + sel))
        used = sum(len(text) for text, _ in line)
        if here and used < width:
            line.append((" " * (width - used), sel))
        return line

    def name_cell(self, row: Row, width: int) -> str:
        pin, name, sign, faint = self._name_parts(row)
        if len(pin + name + sign + faint) > width:
            faint = " (hid)" if row.hidden else ""
        from tlui.runs.text import shorten

        ellipsis = "~" if self.look.ascii else "…"
        room = width - len(sign) - len(pin) - len(faint)
        return pad(pin + shorten(name, room, ellipsis) + sign + faint, width)

    def _name_parts(self, row: Row) -> tuple[str, str, str, str]:
        pin = ("^" if self.look.ascii else "▴") if row.pinned else ""
        hidden = " (hidden)" if row.hidden else ""
        return pin, printable(row.name), f" #{row.short or row.id[:4]}", hidden

    def _glyph(self, colour: int) -> str:
        from tlui.tui.chart.glyphs import GLYPHS

        return GLYPHS["ascii" if self.look.ascii else "braille"][colour % 8]
