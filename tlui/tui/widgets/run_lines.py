"""The lines above and below the panes of a run: where it stands, and its newest warning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlui.runs import format
from tlui.runs.row import shown_epoch
from tlui.runs.status import LIVE
from tlui.runs.text import printable
from tlui.tui import describe
from tlui.tui.lines import Line, clip, ends, wrap
from tlui.tui.live import LiveRun
from tlui.tui.widgets.sheet import Sheet

ROOMY = 100
"""Columns that have room for the machine and the size of the network side by side."""


class TopLines(Sheet):
    """Which panes are on screen, and how far the run is.

    Args:
        panes: Names of all panes in order.
    """

    DEFAULT_CSS = "TopLines { height: 2; }"

    def __init__(self, panes: Sequence[str]) -> None:
        super().__init__()
        self.panes = panes
        self.front = 1
        self.on_screen: set[int] = set()
        self.live: LiveRun | None = None

    def show(self, live: LiveRun | None, front: int, visible: set[int]) -> None:
        """The run, the number of the pane in front and those of all on screen."""
        self.live, self.front, self.on_screen = live, front, visible
        self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        ascii = self.look.ascii
        return [self._panes(width, ascii), progress_line(self.live, width, ascii)]

    def _panes(self, width: int, ascii: bool) -> Line:
        """`[1 charts]  2 log  3 tables  4 config`, the ones on screen in brackets."""
        line: Line = [(" ", "")]
        for number, name in enumerate(self.panes, 1):
            shown = number in self.on_screen
            text = f"[{number} {name}]" if shown else f" {number} {name} "
            front = number == self.front
            line.append((text, "accent" if front else "" if shown else "dim"))
            line.append((" ", ""))
        if self.live is None:
            return line
        return ends(line, [(_machine_and_size(self.live, width, ascii) + " ", "dim")], width)


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


def progress_line(live: LiveRun | None, width: int, ascii: bool) -> Line:
    """`epoch 6/10 ████░░  step 14/24  148 img/s`."""
    if live is None or live.observed is None:
        return [(" reading the run …", "dim")]
    progress = live.observed.status.progress
    doing = live.history.progress
    if live.state in LIVE and doing is not None and doing.get("total"):
        done, total = doing.get("done") or 0, doing["total"]
        text = f" {printable(doing.get('what'))} {done}/{total} "
        return [(text, ""), *describe.bar(done / total, max(min(width - len(text) - 2, 40), 4))]
    epochs = progress.get("epochs") or 0
    epoch = shown_epoch(live.state, progress, len(live.history.epochs))
    if not epochs:
        reason = live.observed.reason or "nothing trained yet"
        return [(f" {printable(reason)}", "dim")]
    first = f" epoch {epoch}/{epochs} "
    rest = describe.progress_words(progress, ascii)
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
    share = describe.done_share(live.state, progress, epoch, epochs)
    return [(first, ""), *describe.bar(share, size), (tail, "dim")]


def alert_text(live: LiveRun) -> str:
    """What a person should know of it now: the newest warning, or why it ended; "" for nothing."""
    alerts = live.history.alerts
    if alerts and live.state in LIVE and not _over(alerts[-1], live):
        return printable(alerts[-1].get("message", ""))
    if live.observed is not None and live.state in ("failed", "diverged", "interrupted"):
        parts = [live.observed.reason, live.observed.status.advice]
        return printable("; ".join(p for p in parts if p))
    return ""


def _over(alert: dict[str, Any], live: LiveRun) -> bool:
    """Whether it has passed: another phase has begun since, or the validation is better again."""
    phases = live.history.phases
    if phases and phases[-1]["t"] > alert["t"]:
        return True
    if alert.get("kind") != "val_turning_up":
        return False
    best = live.history.best("val_loss")
    return best is not None and best["t"] > alert["t"]


def _machine_and_size(live: LiveRun, width: int, ascii: bool) -> str:
    history = live.history
    words = []
    if live.state in LIVE and history.system:
        words.append(describe.machine_words(history.system[-1], ascii))
    if history.phases and (width >= ROOMY or not words):
        learn = format.count(history.phases[-1].get("trainable_parameters"), ascii)
        total = format.count(history.phases[-1].get("total_parameters"), ascii)
        words.append(f"{learn} of {total} params learn")
    return " · ".join(words)
