"""Compare: one metric of several runs in one chart, and below it only what differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from tlui.runs import format
from tlui.runs.directory import Home
from tlui.runs.history import lower_is_better
from tlui.runs.row import Row
from tlui.runs.text import printable, shorten
from tlui.tui import describe
from tlui.tui.chart.glyphs import GLYPHS
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.chart.plot import Curve, Plot
from tlui.tui.lines import Line, pad, width_of
from tlui.tui.live import RunWatch
from tlui.tui.messages import RunChanged, WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.widgets.text_pane import TextPane

FIRST = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "val_f1")
MEASURES = ("train_seconds", "test_inference_seconds", "trainable_parameters", "peak_memory_mb")
INDIFFERENT = ("trainable_parameters", "total_parameters")
SPLITS = ("test", "val", "train")
METRICS = ("accuracy", "top5_accuracy", "precision", "recall", "f1", "roc_auc", "loss")
CELL, CELL_MOST, LABEL = 12, 28, 26
NAME_LINES = 4


class CompareScreen(Framed):
    """Marked runs beside each other."""

    SCOPE = "compare"
    SCOPES: ClassVar[tuple[str, ...]] = ("chart", "compare", "app")
    PANES: ClassVar[tuple[str, ...]] = ("overlay", "differences")
    DEFAULT_CSS = """
    CompareScreen #body { height: 1fr; }
    CompareScreen.narrow #body > *, CompareScreen.zoomed #body > * { display: none; }
    CompareScreen.narrow #body > .front, CompareScreen.zoomed #body > .front { display: block; }
    CompareScreen.medium #body { layout: grid; grid-size: 1 2; grid-gutter: 1; }
    CompareScreen.wide #body { layout: grid; grid-size: 1 2; grid-rows: 3fr 2fr; grid-gutter: 1; }
    CompareScreen.zoomed #body { layout: vertical; }
    """

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__()
        self.ids = list(ids)
        self.metric = "val_accuracy"
        self.chart = LineChart(Plot("val_accuracy", write=format.metric), id="overlay")
        self.differences = TextPane("what differs", self._table, id="differences")
        self.rows: list[Row] = []
        self.watch_runs: RunWatch | None = None

    def panes(self) -> ComposeResult:
        with Container(id="body"):
            yield self.chart
            yield self.differences

    def opened(self) -> None:
        super().opened()
        self.set_focus(self.chart)
        home = self.tlui.home
        self.watch_runs = RunWatch(home, self.ids, self.post_message)
        self.watch_runs.start()
        self._read()

    def on_unmount(self) -> None:
        if self.watch_runs is not None:
            self.watch_runs.stop()

    def place(self) -> Line:
        return [("compare", "title"), (f"  {len(self.ids)} runs", "dim")]

    def hidden_keys(self) -> set[str]:
        return {"cursor_left", "log_y"} if self.focused is self.differences else set()

    def scopes(self) -> tuple[str, ...]:
        if self.focused is self.differences:
            return ("list", "compare", "app")
        return self.SCOPES

    # -- what the runs say

    def _read(self) -> None:
        home, ids = self.tlui.home, self.ids
        self.tlui.work_on("compare", lambda: (read_rows(home, ids), ""))

    def refreshed(self) -> None:
        self._read()

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """The rows have been read."""
        if isinstance(message, WorkDone) and message.what == "compare":
            self.rows = in_groups(message.value)
            self.differences.redraw()
            self._draw()

    def on_run_changed(self, message: RunChanged) -> None:
        if self.watch_runs is not None:
            self.watch_runs.runs[message.run_id].fold()
            self._draw()

    def _draw(self) -> None:
        watch = self.watch_runs
        if watch is None:
            return
        names = {row.id: row for row in self.rows}
        found = []
        for index, run_id in enumerate(self.ids):
            live = watch.runs[run_id]
            series = live.epochs.series.get(self.metric)
            if series is not None:
                row = names.get(run_id)
                label = describe.shortened(row, 24, self.tlui.look.ascii) if row else run_id[:4]
                found.append(Curve(label, series, self.tlui.marked.get(run_id, index)))
        plot = self.chart.plot
        plot.title = self.metric
        plot.write = lambda value: format.named(self.metric, value)
        plot.floor = 0.0 if self.metric.endswith("loss") else None
        self.chart.show(found)

    # -- the table

    def _table(self, width: int) -> list[Line]:
        if not self.rows:
            return [[(" reading the runs …", "dim")]]
        ascii = self.tlui.look.ascii
        lines: list[Line] = []
        label = min(LABEL, width // 3)
        longest = max(len(describe.shortened(row, CELL_MOST, ascii)) for row in self.rows) + 2
        cell = min(max(CELL, longest), max((width - label - 1) // len(self.rows) - 1, CELL))
        fits = max((width - label - 1) // (cell + 1), 1)
        keys = differing(self.rows)
        self.differences.note = f"in groups of {keys[0]}" if keys else ""
        for start in range(0, len(self.rows), fits):
            lines += self._block(self.rows[start : start + fits], keys, label, cell, ascii)
            lines.append([])
        return lines[:-1]

    def _block(
        self, rows: Sequence[Row], keys: Sequence[str], label: int, cell: int, ascii: bool
    ) -> list[Line]:
        glyphs = GLYPHS["ascii" if ascii else "braille"]
        colour = {i: self.tlui.marked.get(i, n) % 8 for n, i in enumerate(self.ids)}
        firsts = [row.config.get(keys[0]) if keys else None for row in rows]
        walls = [
            ("│" if n and value != firsts[n - 1] else " ", "faint")
            for n, value in enumerate(firsts)
        ]  # a wall where another group begins

        def across(name: str, parts: Sequence[Line]) -> Line:
            line: Line = [(" " + pad(name, label), "dim")]
            for wall, part in zip(walls, parts, strict=True):
                line += [wall, *part]
            return line

        names = [stacked(row, cell - 2, ascii) for row in rows]
        height = max(len(parts) for parts in names)
        lines = []
        for at in range(height):
            heads: list[Line] = []
            for row, parts in zip(rows, names, strict=True):
                first = height - len(parts)
                text = parts[at - first] if at >= first else ""
                sign = glyphs[colour.get(row.id, 0)] if at == first else " "
                blank = " " * (cell - 2 - width_of(text))
                heads.append([(f"{blank}{sign} ", f"s{colour.get(row.id, 0)}"), (text, "title")])
            lines.append(across("", heads))
        states = [describe.state_span(row.state, ascii) for row in rows]
        lines.append(across("state", [[(pad(w, cell, True), style)] for w, style in states]))
        for key in keys:
            values = [row.config.get(key) for row in rows]
            texts = [format.missing(ascii) if v is None else describe.setting(v) for v in values]
            lines.append(across(key, [[(pad(text, cell, True), "")] for text in texts]))
        for name in metric_names(self.rows):
            top = best(name, self.rows)
            found: list[Line] = []
            for row in rows:
                value = row.value(name)
                number = value if isinstance(value, int | float) else None
                mine = top is not None and number == top
                text = format.named(name, number, ascii) + ("*" if mine else " ")
                found.append([(pad(text, cell, True), "best" if mine else "value")])
            lines.append(across(name, found))
        return lines

    # -- actions

    def do_metric(self) -> None:
        self._next_metric(1)

    def do_metric_back(self) -> None:
        self._next_metric(-1)

    def _next_metric(self, by: int) -> None:
        watch = self.watch_runs
        found: dict[str, None] = dict.fromkeys(FIRST)
        for live in watch.runs.values() if watch else ():
            found |= dict.fromkeys(live.history.metrics())
        names = [n for n in found if self._known(n)] or list(FIRST)
        at = names.index(self.metric) if self.metric in names else 0
        self.metric = names[(at + by) % len(names)]
        self._draw()

    def _known(self, name: str) -> bool:
        watch = self.watch_runs
        return watch is not None and any(name in r.epochs.series for r in watch.runs.values())

    def do_back(self) -> None:
        if self.chart.plot.cursor is not None and self.focused is self.chart:
            self.chart.act("cursor_off")
            return
        self.app.pop_screen()

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal

        self.app.push_screen(ExportModal(len(self.ids), ids=self.ids))


def read_rows(home: Home, ids: Sequence[str]) -> list[Row]:
    """The rows of some runs; may block."""
    from tlui.runs.index import open_index

    with open_index(home) as index:
        return index.get(ids)


def stacked(row: Row, width: int, ascii: bool) -> list[str]:
    """A run's name and id on as many lines as they take, broken behind `-`, `_`, `.` and blanks,
    so that names which begin and end alike can be told apart."""
    lines = [""]
    whole = shorten(printable(row.name), NAME_LINES * width, "~" if ascii else "…")
    for part in [*re.findall(r"[^-_. ]*[-_. ]?", whole), f" #{row.short or row.id[:4]}"]:
        if lines[-1] and width_of(lines[-1] + part) > width:
            lines.append("")
            part = part.lstrip()
        while width_of(part) > width:
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return lines


def differing(rows: Sequence[Row]) -> list[str]:
    """Settings that are not the same in all runs, phases' first."""
    keys = dict.fromkeys(key for row in rows for key in row.config)
    found = [key for key in keys if len({repr(row.config.get(key)) for row in rows}) > 1]
    return sorted(found, key=lambda key: (not key.startswith("phase."), key))


def in_groups(rows: Sequence[Row]) -> list[Row]:
    """Rows ordered by the settings that differ, so that a sweep's points stand together."""
    keys = differing(rows)

    def order(row: Row) -> list[tuple[int, Any]]:
        values = (row.config.get(key) for key in keys)
        return [(0, v) if isinstance(v, int | float) else (1, str(v)) for v in values]

    return sorted(rows, key=order)


def metric_names(rows: Sequence[Row]) -> list[str]:
    """The metrics any of the runs has, by split, then what training cost."""
    names = [f"{split}_{name}" for split in SPLITS for name in METRICS]
    return [n for n in (*names, *MEASURES) if any(row.value(n) is not None for row in rows)]


def best(name: str, rows: Sequence[Row]) -> float | None:
    """The best value of a metric; None where fewer than two differ."""
    values = [v for row in rows if isinstance(v := row.value(name), int | float)]
    if len(values) < 2 or len(set(values)) == 1 or name in INDIFFERENT:
        return None
    return min(values) if lower_is_better(name) else max(values)
