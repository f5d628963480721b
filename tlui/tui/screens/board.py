"""Leaderboard: the best (or mean) result in each cell of any two settings.

It ranks the runs that Runs shows, those of different datasets never against each other: where
neither setting is the dataset, each one has rows of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from textual.app import ComposeResult

from tlui.runs import format
from tlui.runs.directory import Home
from tlui.runs.history import lower_is_better
from tlui.runs.row import Row, phases
from tlui.runs.text import printable
from tlui.tui import describe
from tlui.tui.lines import Line, pad, width_of
from tlui.tui.messages import WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.watch import HIDDEN
from tlui.tui.widgets.listing import Listing

METRICS = ("test_accuracy", "val_accuracy", "test_f1", "val_f1", "test_roc_auc", "test_loss",
           "val_loss", "train_seconds")  # fmt: skip
WORDS = ("regime", "lr", "policy", "backbone", "dataset", "experiment", "preset")
CELL = 12


def field_value(row: Row, name: str) -> str:
    """What a run has in a field of the pivot, in words."""
    if name == "policy":
        found = [str(p.get("lr.policy") or "constant") for p in phases(row.config)]
        return " then ".join(dict.fromkeys(found))
    if name in WORDS:
        return str(getattr(row, name) or "")
    value = row.config.get(name)
    return "" if value is None else describe.setting(value)


@dataclass
class Cell:
    """The runs behind one cell."""

    rows: list[Row] = field(default_factory=list)

    def value(self, metric: str, mean: bool) -> float | None:
        """The best or mean of a metric over its runs; None where none has it."""
        found = [v for r in self.rows if isinstance(v := r.value(metric), int | float)]
        if not found:
            return None
        if mean:
            return sum(found) / len(found)
        return min(found) if lower_is_better(metric) else max(found)


@dataclass
class Pivot:
    """Runs by two fields."""

    across: list[str]
    down: list[tuple[str, str]]
    """Dataset ('' where there is only one, or it is a field) and value."""
    cells: dict[tuple[tuple[str, str], str], Cell]
    split: bool = False
    """Whether each dataset has rows of its own."""

    @classmethod
    def of(cls, rows: Sequence[Row], down: str, across: str) -> Pivot:
        """Sort runs into cells, in order of value."""
        split = "dataset" not in (down, across) and len({row.dataset for row in rows}) > 1
        found: dict[tuple[tuple[str, str], str], Cell] = {}
        for row in rows:
            place = (row.dataset if split else "", field_value(row, down))
            found.setdefault((place, field_value(row, across)), Cell()).rows.append(row)
        places = sorted({k[0] for k in found}, key=lambda place: (place[0], _order(place[1])))
        return cls(sorted({k[1] for k in found}, key=_order), places, found, split)

    def best(self, metric: str, mean: bool) -> dict[str, float]:
        """Dataset -> the best of its cells, where there are two or more."""
        values: dict[str, list[float]] = {}
        for cell in self.cells.values():
            if (value := cell.value(metric, mean)) is not None:
                values.setdefault(cell.rows[0].dataset, []).append(value)
        pick = min if lower_is_better(metric) else max
        return {dataset: pick(found) for dataset, found in values.items() if len(found) > 1}

    def label(self, index: int, ascii: bool) -> str:
        """What stands before a row."""
        dataset, value = self.down[index]
        text = printable(value) or format.missing(ascii)
        return f"{printable(dataset)} · {text}" if self.split else text


def _order(text: str) -> tuple[int, float, str]:
    word, _, number = text.rpartition(" ")
    try:
        return (0, float(number), word)
    except ValueError:
        return (1, 0.0, text)


class PivotTable(Listing):
    """The cells, with a cursor that also moves left and right."""

    def __init__(self, screen: BoardScreen) -> None:
        super().__init__(id="pivot")
        self.of = screen
        self.column = 0

    def act(self, action: str) -> bool:
        if action in ("cursor_left", "cursor_right"):
            most = max(len(self.of.pivot.across) - 1, 0)
            step = 1 if action == "cursor_right" else -1
            self.column = min(max(self.column + step, 0), most)
            self.redraw()
            return True
        return super().act(action)

    @property
    def head_label(self) -> str:
        return f"dataset · {self.of.down}" if self.of.pivot.split else self.of.down

    def shape(self, width: int) -> tuple[int, int, int]:
        """Width of the labels, first column shown, columns shown."""
        pivot = self.of.pivot
        ascii = self.look.ascii
        names = [self.head_label, *(pivot.label(i, ascii) for i in range(len(pivot.down)))]
        label = min(max(8, *(width_of(name) for name in names)), max(width // 3, 8))
        fits = max((width - label - 2) // (CELL + 1), 1)
        first = max(min(self.column, len(pivot.across) - 1) - fits + 1, 0)
        return label, first, min(fits, len(pivot.across) - first)

    def head_lines(self, width: int) -> list[Line]:
        board = self.of
        label, first, shown = self.shape(width)
        how = "mean" if board.mean else "best"
        mark = ("▌" if self.has_focus else " ", "accent")
        title: Line = [
            mark,
            (f"{how} {board.metric}", "accent" if self.has_focus else "title"),
            (f"   {printable(board.down)} by {printable(board.across)}", "dim"),
        ]
        if board.filter:
            title.append((f"   of {printable(board.filter)}", "value"))
        names = board.pivot.across[first : first + shown]
        heads: Line = [(" " + pad(self.head_label, label), "dim")]
        for index, name in enumerate(names, first):
            text = printable(name) or format.missing(self.look.ascii)
            style = "accent" if index == self.column else "dim"
            heads.append((" " + pad(text, CELL, True), style))
        more = len(board.pivot.across) - first - shown
        if more > 0:
            heads.append((f" +{more}", "dim"))
        return [title, [], heads]

    def row_line(self, index: int, width: int, here: bool) -> Line:
        board = self.of
        label, first, shown = self.shape(width)
        name = board.pivot.down[index]
        text = board.pivot.label(index, self.look.ascii)
        line: Line = [
            ("▌" if here else " ", "accent"),
            (pad(text, label), "title" if here else ""),
        ]
        for at in range(first, first + shown):
            cell = board.pivot.cells.get((name, board.pivot.across[at]))
            value = cell.value(board.metric, board.mean) if cell else None
            dataset = cell.rows[0].dataset if cell else ""
            best = value is not None and value == board.best.get(dataset)
            word = format.named(board.metric, value, self.look.ascii) + ("*" if best else " ")
            sel = " sel" if here and at == self.column else ""
            style = ("best" if best else "value" if value is not None else "dim") + sel
            line += [(" ", ""), (pad(word, CELL, True), style)]
        return line

    def empty_lines(self, width: int) -> list[Line]:
        if not self.of.read:
            return [[], [("  reading the runs …", "dim")]]
        if self.of.filter:
            return [[], [("  None of the runs that the filter in Runs shows can be ranked.", "")]]
        return [[], [("  No finished runs to rank yet.", "")]]


class BoardScreen(Framed):
    """A pivot of the runs that Runs shows.

    Args:
        filter: The one in Runs.
        show_hidden: Whether Runs shows hidden ones, too.
    """

    SCOPE = "board"
    SCOPES: ClassVar[tuple[str, ...]] = ("board", "compare", "list", "chart", "app")
    PANES: ClassVar[tuple[str, ...]] = ("pivot",)

    def __init__(self, filter: str = "", show_hidden: bool = False) -> None:
        super().__init__()
        self.filter = filter.strip()
        self.where = self.filter if show_hidden else f"{HIDDEN} {self.filter}"
        self.rows: list[Row] = []
        self.read = False
        self.down, self.across, self.metric, self.mean = "regime", "lr", "test_accuracy", False
        self.pivot = Pivot([], [], {})
        self.best: dict[str, float] = {}
        """By dataset."""
        self.table = PivotTable(self)
        self._stamp: Any = None

    def panes(self) -> ComposeResult:
        yield self.table

    def opened(self) -> None:
        super().opened()
        self.set_focus(self.table)
        self.refreshed()

    def place(self) -> Line:
        return [("leaderboard", "title")]

    def refreshed(self) -> None:
        page = self.tlui.page
        stamp = (page.total, dict(page.counts), dict(page.best)) if page else None
        if stamp != self._stamp or not self.read:
            self._stamp = stamp
            home, where = self.tlui.home, self.where
            self.tlui.work_on("board", lambda: (read_rows(home, where), ""))

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """The rows have been read."""
        if isinstance(message, WorkDone) and message.what == "board":
            self.rows, self.read = message.value, True
            self._sort()
        elif message.what == "board":
            self.read = True  # the footer says what is wrong with the filter
            self.table.redraw()

    def fields(self) -> list[str]:
        """What can stand on an axis: fields in which the runs differ."""
        keys = dict.fromkeys(key for row in self.rows for key in row.config)
        names = [*WORDS, *keys]
        found = []
        for name in names:
            values = {field_value(row, name) for row in self.rows}
            if len(values) > 1:
                found.append(name)
        return found or ["regime", "lr"]

    def _sort(self) -> None:
        have = [r for r in self.rows if r.value(self.metric) is not None]
        self.pivot = Pivot.of(have, self.down, self.across)
        self.table.total = len(self.pivot.down)
        self.table.column = min(self.table.column, max(len(self.pivot.across) - 1, 0))
        self.best = self.pivot.best(self.metric, self.mean)
        self.table.redraw()

    def do_metric(self) -> None:
        self._metric(1)

    def do_metric_back(self) -> None:
        self._metric(-1)

    def _metric(self, by: int) -> None:
        known = [m for m in METRICS if any(r.value(m) is not None for r in self.rows)] or METRICS
        at = known.index(self.metric) if self.metric in known else 0
        self.metric = known[(at + by) % len(known)]
        self._sort()

    def do_row_field(self) -> None:
        self.down = self._next(self.down, self.across)

    def do_column_field(self) -> None:
        self.across = self._next(self.across, self.down)

    def _next(self, now: str, other: str) -> str:
        fields = [f for f in self.fields() if f != other]
        chosen = fields[(fields.index(now) + 1) % len(fields)] if now in fields else fields[0]
        self.call_after_refresh(self._sort)
        return chosen

    def do_best_or_mean(self) -> None:
        self.mean = not self.mean
        self._sort()

    def on_listing_chosen(self, message: Listing.Chosen) -> None:
        from tlui.tui.screens.runs import RunsScreen

        key = (self.pivot.down[self.table.cursor], self.pivot.across[self.table.column])
        cell = self.pivot.cells.get(key)
        if cell is None:
            self.say("no run has these two settings", "warn")
            return
        ids = ",".join(row.id for row in cell.rows[:200])
        self.app.pop_screen()
        for screen in self.app.screen_stack:
            if isinstance(screen, RunsScreen):
                screen.show_filter(f"id:{ids}")

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal

        ids = [row.id for row in self.rows]
        self.app.push_screen(ExportModal(len(ids), ids=ids))


def read_rows(home: Home, where: str) -> list[Row]:
    """The runs of a filter; may block. Raises FilterError where it cannot be used."""
    from tlui.runs.index import open_index

    with open_index(home) as index:
        return index.rows(where, fresh=False)
