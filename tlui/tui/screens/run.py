"""One run, live or ended: charts, log, tables, settings; stop, resume and clone from here."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from tlui.runs import format
from tlui.runs.row import dataset_word, lr_word, regime_word
from tlui.runs.status import LIVE
from tlui.runs.text import printable
from tlui.tui import describe, report
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.lines import Line, clip, ends, wrap
from tlui.tui.live import LiveRun, RunWatch
from tlui.tui.messages import RunChanged, WorkDone, WorkFailed
from tlui.tui.screens.framed import MEDIUM, Framed
from tlui.tui.widgets.run_charts import curves, plots
from tlui.tui.widgets.sheet import Sheet
from tlui.tui.widgets.text_pane import FollowPane, TextPane
from tlui.tui.wrong import Wrong, find_wrong

CHART_ROWS = 8
"""Fewest rows worth giving to a chart."""
NAMES = ("accuracy", "loss", "lr", "speed", "machine")


class TopLines(Sheet):
    """Which pane is in front, and how far the run is."""

    DEFAULT_CSS = "TopLines { height: 2; }"

    def __init__(self, screen: RunScreen) -> None:
        super().__init__()
        self.of = screen

    def build(self, width: int, height: int) -> list[Line]:
        return [self.of.tab_line(width), self.of.progress_line(width)]


class AlertLine(Sheet):
    """The newest warning, in two lines where one is too short for it."""

    DEFAULT_CSS = "AlertLine { display: none; } AlertLine.some { display: block; }"

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def say(self, text: str) -> None:
        """Show this from now on; nothing for an empty text."""
        self.text = text
        self.styles.height = 1 if len(text) <= self.app.size.width - 3 else 2
        self.set_class(bool(text), "some")
        self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        first, *rest = wrap(self.text, width - 3) or [""]
        lines = [first] if not rest else [first, " ".join(rest)]
        return [
            clip([(lead + part, "warn")], width) for lead, part in zip(_LEADS, lines, strict=False)
        ]


_LEADS = (" ! ", "   ")


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
        self.top_lines = TopLines(self)
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

    def on_mount(self) -> None:
        self.watch_run = RunWatch(self.tlui.home, [self.run_id], self.post_message)
        self.live = self.watch_run.runs[self.run_id]
        super().on_mount()
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
        self._show_alert(live)
        if live.result is not None and not self._wrong_asked:
            self._wrong_asked = True
            self.tlui.work_on("wrong", lambda: (find_wrong(live), ""))
        self.update_frame()

    def work_ended(self, message: WorkDone | WorkFailed) -> None:
        """Predictions have been read."""
        if isinstance(message, WorkDone) and message.what == "wrong":
            self.wrong = message.value
            self.tables.redraw()

    def _show_alert(self, live: LiveRun) -> None:
        text = ""
        alerts = live.history.alerts
        if alerts and live.state in LIVE and not _over(alerts[-1], live):
            text = printable(alerts[-1].get("message", ""))
        elif live.observed is not None and live.state in ("failed", "diverged", "interrupted"):
            parts = [live.observed.reason, live.observed.status.advice]
            text = printable("; ".join(p for p in parts if p))
        self.alert.say(text)

    def update_frame(self) -> None:
        live = self.live
        if live is not None and live.observed is not None:
            right: Line = [describe.state_span(live.state, self.tlui.look.ascii)]
            eta = live.observed.status.progress.get("eta_seconds")
            if live.state == "running" and isinstance(eta, int | float) and eta >= 1:
                right.append((f"  ETA {format.duration(eta)}", ""))
            self.header.right = right
        super().update_frame()
        self.top_lines.redraw()

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
        if not isinstance(self.focused, LineChart):
            hidden |= {"cursor_left", "log_y"}
        return hidden

    # -- the two lines on top

    def tab_line(self, width: int) -> Line:
        """`[1 charts]  2 log  3 tables  4 config`, the ones on screen in brackets."""
        line: Line = [(" ", "")]
        for number, name in enumerate(self.PANES, 1):
            shown = number in self._visible()
            text = f"[{number} {name}]" if shown else f" {number} {name} "
            front = number == self.pane
            line.append((text, "accent" if front else "" if shown else "dim"))
            line.append((" ", ""))
        if self.live is None:
            return line
        history, ascii = self.live.history, self.tlui.look.ascii
        words = []
        if self.live.state in LIVE and history.system:
            words.append(describe.machine_words(history.system[-1], ascii))
        if history.phases and (width >= MEDIUM or not words):
            learn = format.count(history.phases[-1].get("trainable_parameters"), ascii)
            total = format.count(history.phases[-1].get("total_parameters"), ascii)
            words.append(f"{learn} of {total} params learn")
        return ends(line, [(" · ".join(words) + " ", "dim")], width)

    def progress_line(self, width: int) -> Line:
        """`epoch 6/10 ████░░  step 14/24  148 img/s`."""
        live, ascii = self.live, self.tlui.look.ascii
        if live is None or live.observed is None:
            return [(" reading the run …", "dim")]
        progress = live.observed.status.progress
        doing = live.history.progress
        if live.state in LIVE and doing is not None and doing.get("total"):
            done, total = doing.get("done") or 0, doing["total"]
            text = f" {printable(doing.get('what'))} {done}/{total} "
            return [(text, ""), *describe.bar(done / total, max(min(width - len(text) - 2, 40), 4))]
        epochs = progress.get("epochs") or 0
        done_epochs = len(live.history.epochs)
        if not epochs:
            reason = live.observed.reason or "nothing trained yet"
            return [(f" {printable(reason)}", "dim")]
        first = f" epoch {done_epochs}/{epochs} "
        rest = [w for w in describe.progress_words(progress, ascii) if not w.startswith("epoch")]
        if live.state not in LIVE:
            rest = [w for w in rest if w.endswith("img/s")]
            best = live.history.best(live.monitor)
            if best is not None:
                value = format.named(live.monitor, best[live.monitor], ascii)
                rest.insert(0, f"best {live.monitor} {value} in epoch {best['epoch']}")
        else:
            rest = [w for w in rest if not w.startswith("ETA")]
        tail = "  " + "  ".join(rest)
        size = max(min(width - len(first) - len(tail) - 1, 40), 4)
        steps = progress.get("steps") or 0
        part = (progress.get("step") or 0) / steps if steps and live.state in LIVE else 0.0
        share = (done_epochs + min(part, 0.999)) / epochs
        return [(first, ""), *describe.bar(share, size), (tail, "dim")]

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
        self.top_lines.redraw()

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
        from tlui.tui.actions import resume_run

        self.tlui.work_on("resume", partial(resume_run, self.tlui.home, self.run_id))

    def do_clone(self) -> None:
        self.tlui.clone(self.run_id)

    def do_copy(self) -> None:
        self.tlui.copy_path(self.run_id)

    def do_pin(self) -> None:
        from tlui.tui.actions import pin_runs

        page = self.tlui.page
        found = next((r for r in page.rows if r.id == self.run_id), None) if page else None
        pinned = not (found.pinned if found else False)
        self.tlui.work_on("pin", partial(pin_runs, self.tlui.home, [self.run_id], pinned))

    def do_export(self) -> None:
        from tlui.tui.screens.export import ExportModal

        self.app.push_screen(ExportModal(1, ids=[self.run_id], epochs=True))


def _over(alert: dict[str, Any], live: LiveRun) -> bool:
    """Whether it has passed: another phase has begun since, or the validation is better again."""
    phases = live.history.phases
    if phases and phases[-1]["t"] > alert["t"]:
        return True
    if alert.get("kind") != "val_turning_up":
        return False
    best = live.history.best("val_loss")
    return best is not None and best["t"] > alert["t"]
