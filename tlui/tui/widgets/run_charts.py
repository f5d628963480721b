"""The charts of one run: accuracy, loss, learning rate, throughput, machine."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container

from tlui.runs import format
from tlui.runs.directory import Home
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.chart.plot import Curve, Plot
from tlui.tui.live import LiveRun, RunWatch
from tlui.tui.messages import RunChanged

TRAIN, VAL = 1, 0
"""Colours: validation bright and first, training second and dim."""


def plots() -> dict[str, Plot]:
    """The plots of a run by the name of what they show."""
    return {
        "accuracy": Plot("accuracy", write=format.metric),
        "loss": Plot("loss", write=format.loss, floor=0.0),
        "lr": Plot("learning rate", write=format.rate, floor=0.0),
        "speed": Plot("images/s", write=lambda v: f"{v:,.0f}", floor=0.0),
        "machine": Plot("machine %", write=lambda v: f"{v:.0f}", axis="time", floor=0.0),
    }


def curves(live: LiveRun, name: str) -> list[Curve]:
    """The curves of one plot of a run, as far as there are points for them."""
    found: list[Curve] = []
    if name in ("accuracy", "loss"):
        best = _best_note(live, f"val_{name}")
        for split, colour in (("train", TRAIN), ("val", VAL)):
            series = live.epochs.series.get(f"{split}_{name}")
            if series is not None:
                quiet = split == "train"
                note = best if split == "val" else ""
                found.append(Curve(split, series, colour, quiet=quiet, note=note))
        if not found and name in live.steps.series:
            found.append(Curve("train", live.steps.series[name], TRAIN, quiet=True))
        return found
    if name == "machine":
        for label, key, colour in (
            ("gpu", "gpu_percent", 0),
            ("cpu", "cpu_percent", 1),
        ):
            series = live.system.series.get(key)
            if series is not None:
                found.append(Curve(label, series, colour))
        return found
    key = {"lr": "lr", "speed": "images_per_second"}[name]
    source = live.steps if len(live.steps) else live.epochs
    series = source.series.get(key)
    return [] if series is None else [Curve("", series, 2 if name == "lr" else 3)]


def _best_note(live: LiveRun, metric: str) -> str:
    """`(best)` where the newest value is the best of its metric so far."""
    best = live.history.best(metric)
    rows = live.history.epochs
    return "(best)" if best is not None and rows and best is rows[-1] and len(rows) > 1 else ""


class RunCharts(Container):
    """Charts of the run under a cursor; follows it by itself."""

    DEFAULT_CSS = """
    RunCharts { layout: grid; grid-size: 1; grid-gutter: 1 0; width: 1fr; height: 1fr; }
    """
    NAMES = ("accuracy", "loss", "lr")

    def __init__(self) -> None:
        super().__init__()
        self.charts = {name: LineChart(plots()[name]) for name in self.NAMES}
        for chart in self.charts.values():
            chart.can_focus = False
        self._watch: RunWatch | None = None
        self._run: str | None = None

    def compose(self) -> ComposeResult:
        yield from self.charts.values()

    def watch_run(self, home: Home, run_id: str | None) -> None:
        """Follow another run; None for none."""
        if run_id == self._run:
            return
        self._run = run_id
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if run_id is None:
            for chart in self.charts.values():
                chart.show([])
            return
        self._watch = RunWatch(home, [run_id], self.post_message)
        self._watch.start()

    def on_run_changed(self, message: RunChanged) -> None:
        message.stop()
        if self._watch is None or message.run_id != self._run:
            return
        live = self._watch.runs[message.run_id]
        live.fold()
        for name, chart in self.charts.items():
            chart.show(curves(live, name))

    def on_unmount(self) -> None:
        if self._watch is not None:
            self._watch.stop()
