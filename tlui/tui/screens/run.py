"""One run, live or ended: charts, log, tables, settings; stop, resume and clone from here."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from tlui.runs import format
from tlui.runs.row import dataset_word, lr_word, regime_word
from tlui.runs.status import LIVE
from tlui.runs.text import printable
from tlui.tui import describe, report
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.lines import Line
from tlui.tui.live import LiveRun, RunWatch
from tlui.tui.messages import RunChanged, WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.widgets.run_charts import curves, plots
from tlui.tui.widgets.run_lines import AlertLine, TopLines, alert_text
from tlui.tui.widgets.sheet import Sheet
from tlui.tui.widgets.text_pane import FollowPane, TextPane
from tlui.tui.wrong import Wrong, find_wrong

CHART_ROWS = 8
"""Fewest rows worth giving to a chart."""
NAMES = ("accuracy", "loss", "lr", "speed", "machine")


class RunScreen(Framed):
    """One run by its id."""

    SCOPE = "run"
    SCOPES: ClassVar[tuple[str, ...]] = ("list", "run", "app")
    PANES: ClassVar[tuple[str, ...]] = ("charts", "log", "tables", "config")
    DEFAULT_CSS = """
    RunScreen #body { height: 1fr; }
    RunScreen #charts { layout: grid; grid-size: 1; grid-gutter: 0 2; }
    RunScreen #body > * { display: none; width: 1fr; height: 1fr; }
    RunScreen #body > .shown { display: block; }
    RunScreen.medium #body {
        layout: grid; grid-size: 2 1; grid-columns: 3fr 2fr; grid-gutter: 0 1;
    }
    RunScreen.wide #body {
        layout: grid; grid-size: 2 2; grid-columns: 2fr 1fr; grid-rows: 2fr 1fr; grid-gutter: 1 2;
    }
    RunScreen.wide #charts { grid-size: 2; grid-gutter: 1 2; }
    RunScreen.zoomed #body { layout: vertical; }
    RunScreen.alone #charts { grid-size: 1; }
    RunScreen LineChart { display: none; }
    RunScreen LineChart.shown { display: block; }
    """

    def __init__(self, run_id: str, pane: int = 1) -> None:
        super().__init__()
        self.run_id = run_id
        self.pane = pane
        self.side = pane if pane > 1 else 0
        """The pane beside the charts on medium screens; 0 until the run's state is known."""
        self.top_lines = TopLines(self.PANES)
        self.alert = AlertLine()
        made = plots()
        self.charts = {name: LineChart(made[name], id=f"chart-{name}") for name in NAMES}
        self.log_pane = FollowPane("log", self._log, id="log")
        self.tables = TextPane("tables", self._tables, id="tables")
        self.config = TextPane("configuration", self._config, id="config")
        self.first_chart = 0
        self.wrong: list[Wrong] | None = None
        self._wrong_asked = False
        self.watch_run: RunWatch | None = None
        self.live: LiveRun | None = None

    def fit_to(self, width: int, height: int) -> None:
        super().fit_to(width, height)
        self.alert.say(self.alert.text)

    def panes(self) -> ComposeResult:
        yield self.top_lines
        with Container(id="body"):
            yield Container(*self.charts.values(), id="charts")
            yield self.tables
            yield self.log_pane
            yield self.config
        yield self.alert

    def opened(self) -> None:
        self.watch_run = RunWatch(self.tlui.home, [self.run_id], self.post_message)
        self.live = self.watch_run.runs[self.run_id]
        super().opened()
        self.watch_run.start()
        self.focus_pane()

    def on_unmount(self) -> None:
        if self.watch_run is not None:
            self.watch_run.stop()

    # -- what the run says

    def on_run_changed(self, message: RunChanged) -> None:
        live = self.live
        if live is None or message.run_id != self.run_id:
            return
        live.fold()
        if self.side == 0 and live.observed is not None:
            self.side = 3 if live.state in ("finished", "stopped") else 2
            self.show_panes()
        for name, chart in self.charts.items():
            if chart.display:
                chart.show(curves(live, name))
            else:
                chart.plot.curves = curves(live, name)
        for pane in (self.log_pane, self.tables, self.config):
            pane.redraw()
        self.alert.say(alert_text(live))
        if live.result is not None and not self._wrong_asked:
            self._wrong_asked = True
            self.tlui.work_on("wrong", lambda: (find_wrong(live), ""))
        self.update_frame()

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """Predictions have been read."""
        if isinstance(message, WorkDone) and message.what == "wrong":
            self.wrong = message.value
            self.tables.redraw()

    def update_frame(self) -> None:
        live = self.live
        if live is not None and live.observed is not None:
            right: Line = [describe.state_span(live.state, self.tlui.look.ascii)]
            eta = live.observed.status.progress.get("eta_seconds")
            if live.state == "running" and isinstance(eta, int | float) and eta >= 1:
                right.append((f"  ETA {format.duration(eta)}", ""))
            self.header.right = right
        super().update_frame()
        self._show_top()

    def place(self) -> Line:
        live = self.live
        if live is None or not live.meta:
            return [(f"#{self.run_id}", "title")]
        parts = [dataset_word(live.config), str(live.config.get("backbone.name") or "")]
        parts += [regime_word(live.config), lr_word(live.config)]
        words = " · ".join(printable(p) for p in parts if p)
        return [(f"{printable(live.name)} #{self.short}", "title"), ("  " + words, "dim")]

    @property
    def short(self) -> str:
        """The shortest id that tells it from others, where the list knows it."""
        page = self.tlui.page
        found = next((r for r in page.rows if r.id == self.run_id), None) if page else None
        return found.short if found and found.short else self.run_id[:4]

    def hidden_keys(self) -> set[str]:
        state = self.live.state if self.live else ""
        hidden = set()
        if state not in LIVE and state not in ("queued", "stale"):
            hidden.add("stop")
        if state not in ("interrupted", "failed", "stopped"):
            hidden.add("resume")
        if state != "queued":
            hidden.add("start")
        if not isinstance(self.focused, LineChart):
            hidden |= {"cursor_left", "log_y"}
        return hidden

    # -- panes

    def _visible(self) -> set[int]:
        if self.has_class("narrow") or self.zoom:
            return {self.pane}
        if self.has_class("medium"):
            return {1, self.side or 2}
        return {1, 2, 3, 4}

    def show_panes(self) -> None:
        self.set_class(self.zoom > 0, "zoomed")
        if self.pane > 1:
            self.side = self.pane
        visible = self._visible()
        widgets = {1: "#charts", 2: "#log", 3: "#tables", 4: "#config"}
        for number, selector in widgets.items():
            for widget in self.query(selector):
                widget.set_class(number in visible, "shown")
        self._show_charts()
        self._show_top()

    def _show_top(self) -> None:
        self.top_lines.show(self.live, self.pane, self._visible())

    def _show_charts(self) -> None:
        """As many charts as have room, the focused one among them."""
        alone = self._alone()
        self.set_class(alone, "alone")
        fits = 1 if alone else self._room()
        first = min(self.first_chart, max(len(NAMES) - fits, 0))
        for index, chart in enumerate(self.charts.values()):
            chart.set_class(first <= index < first + fits, "shown")
        self._fits = fits

    _fits = 2

    def _room(self) -> int:
        """How many charts can be read at this size."""
        wide, height = self.has_class("wide"), self.app.size.height - 4
        if wide and not self.zoom:
            height = height * 2 // 3
        fits = max(height // CHART_ROWS, 1) * (2 if wide else 1)
        return min(fits, len(NAMES) if self.zoom else 4 if wide else 3)

    def _alone(self) -> bool:
        """Whether one chart has the whole screen."""
        return self.pane == 1 and self.zoom > (0 if self.has_class("narrow") else 1)

    def zooms(self) -> int:
        """The pane in front alone, then one chart of it alone."""
        panes = 0 if self.has_class("narrow") else 1
        return panes + (1 if self.pane == 1 else 0)

    def chain(self) -> list[Sheet]:
        """What tab goes through: every chart, then the other panes."""
        others: list[Sheet] = [self.log_pane, self.tables, self.config]
        return [*self.charts.values(), *others]

    def focus_by(self, by: int) -> None:
        chain = self.chain()
        now = chain.index(self.focused) if self.focused in chain else -1
        target = chain[(now + by) % len(chain)]
        if isinstance(target, LineChart):
            index = list(self.charts.values()).index(target)
            if not target.has_class("shown"):
                self.first_chart = index if by < 0 else max(index - self._fits + 1, 0)
            self.pane = 1
        else:
            self.pane = {"log": 2, "tables": 3, "config": 4}[str(target.id)]
        self.show_panes()
        self.set_focus(target)
        self.update_frame()

    def focus_pane(self) -> None:
        if self.pane == 1:
            shown = [c for c in self.charts.values() if c.has_class("shown")]
            self.set_focus(shown[0] if shown else None)
        else:
            self.set_focus({2: self.log_pane, 3: self.tables, 4: self.config}[self.pane])

    def to_pane(self, number: int) -> None:
        self.pane = number
        self.show_panes()
        self.focus_pane()
        self.update_frame()

    def scopes(self) -> tuple[str, ...]:
        if isinstance(self.focused, LineChart):
            return ("chart", "run", "app")
        return self.SCOPES

    def _log(self, width: int) -> list[Line]:
        return report.log_lines(self.live, width, self.tlui.look) if self.live else []

    def _tables(self, width: int) -> list[Line]:
        if self.live is None:
            return []
        return report.table_lines(self.live, self.wrong, width, self.tlui.look)

    def _config(self, width: int) -> list[Line]:
        return report.config_lines(self.live, width, self.tlui.look) if self.live else []

    # -- actions

    def do_enlarge(self) -> None:
        if isinstance(self.focused, LineChart):
            self.first_chart = list(self.charts.values()).index(self.focused)
        super().do_enlarge()

    def do_back(self) -> None:
        chart = self.focused
        if isinstance(chart, LineChart) and chart.plot.cursor is not None:
            chart.act("cursor_off")
            return
        self.app.pop_screen()

    def do_log(self) -> None:
        self.to_pane(2)

    def do_stop(self) -> None:
        if self.live is not None:
            title = f"{printable(self.live.name)} #{self.short}"
            self.tlui.ask_to_stop(self.run_id, title, self.live.state)

    def do_resume(self) -> None:
        self.tlui.resume(self.run_id)

    def do_clone(self) -> None:
        self.tlui.clone(self.run_id)

    def do_copy(self) -> None:
        self.tlui.copy_path(self.run_id)

    def do_pin(self) -> None:
        self.tlui.pin(self.run_id)

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal

        self.app.push_screen(ExportModal(1, ids=[self.run_id], epochs=True))
