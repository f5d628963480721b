"""The live screen of `tlui run` and `tlui watch`: drawn in place, four times a second at most.

Nothing is written while nothing changes. The terminal is left as it was found, whatever happens;
what stays (ended runs, messages, tables) is printed above. Text from files is never markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tlui.cli.follow import Watched
from tlui.cli.plain import tell_alerts
from tlui.cli.tables import comparison, conclusion
from tlui.runs import format
from tlui.runs.status import ENDED, LIVE
from tlui.runs.text import printable

COLOURS = {
    "running": "green",
    "starting": "cyan",
    "evaluating": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "diverged": "red",
    "stale": "yellow",
}
WAITING_SHOWN = 3
RUNNING_SHOWN = 4
BAR = 24
SPARK = 12


class LiveView:
    """A `follow.View` on a terminal."""

    def __init__(
        self, ascii: bool = False, console: Console | None = None, owned: bool = True
    ) -> None:
        self.ascii = ascii
        self.keys = "ctrl-c stop  ctrl-c twice kill" if owned else "ctrl-c leaves it going"
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._drawn = ""

    def say(self, message: str) -> None:
        self.console.print(Text(printable(message)), soft_wrap=True)

    def changed(self, one: Watched) -> None:
        pass  # the screen shows states as they are

    def draw(self, all_runs: Sequence[Watched]) -> None:
        for one in all_runs:
            tell_alerts(one, self._alert)
        size = self.console.size
        lines = frame(all_runs, size.width, size.height, self.ascii, self.keys)
        key = "\n".join(f"{line.plain}{line.spans}" for line in lines)
        if key == self._drawn and self._live is not None:
            return
        self._drawn = key
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Group(*lines), refresh=True)

    def ended(self, one: Watched) -> None:
        tell_alerts(one, self._alert)
        for line in conclusion(one, self.ascii, self.console.width):
            self.console.print(Text(line), soft_wrap=True)
        if _bell():
            self.console.bell()

    def done(self, all_runs: Sequence[Watched], code: int) -> None:
        self.close()
        for line in comparison(all_runs, self.ascii, self.console.width):
            self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _alert(self, one: Watched, event: dict[str, Any]) -> None:
        text = f"! {one.name} #{one.run.id}: {event.get('message', '')}"
        self.console.print(Text(printable(text), style="yellow"), soft_wrap=True)


def frame(
    all_runs: Sequence[Watched], width: int, height: int, ascii: bool = False, keys: str = ""
) -> list[Text]:
    """What is on the screen now: the lab's progress, the runs that live, the next ones."""
    live = [one for one in all_runs if one.state in LIVE or one.state == "stale"]
    waiting = [one for one in all_runs if one.state == "queued"]
    lines: list[Text] = []
    if len(all_runs) > 1:
        lines.append(_lab(all_runs, ascii))
    room = max((height - 6) // 6, 1)
    for one in live[: min(room, RUNNING_SHOWN)]:
        lines += _run(one, ascii)
    if len(live) > min(room, RUNNING_SHOWN):
        lines.append(Text(f"  and {len(live) - min(room, RUNNING_SHOWN)} more running"))
    for one in waiting[:WAITING_SHOWN]:
        text = f"{format.state_word('queued', ascii)}  {printable(one.name)}  {one.waits}"
        lines.append(Text(text, style="dim"))
    if len(waiting) > WAITING_SHOWN:
        lines.append(Text(f"  and {len(waiting) - WAITING_SHOWN} more queued", style="dim"))
    if live or waiting:
        lines.append(Text(keys, style="dim"))
    for line in lines:
        line.no_wrap = True
        line.overflow = "ellipsis" if not ascii else "crop"
        line.truncate(max(width - 1, 1))
    return lines


def _lab(all_runs: Sequence[Watched], ascii: bool) -> Text:
    counts: dict[str, int] = {}
    for one in all_runs:
        counts[one.state] = counts.get(one.state, 0) + 1
    ended = sum(counts.get(state, 0) for state in ENDED)
    text = Text(f"{ended}/{len(all_runs)} runs  {bar(ended, len(all_runs), ascii)}")
    for state, count in counts.items():
        text.append(f"  {format.glyph(state, ascii)} {count} {state}", COLOURS.get(state, ""))
    return text


def _run(one: Watched, ascii: bool) -> list[Text]:
    history, status = one.history, one.seen.status
    head = Text(format.state_word(one.state, ascii), COLOURS.get(one.state, ""))
    head.append(f"  {printable(one.name)}", "bold")
    head.append(f" #{one.run.id}  {printable(status.device)}", "dim")
    if one.seen.reason:
        head.append(f"  {printable(one.seen.reason)}", "yellow")
    lines = [head]
    told = status.progress
    step: dict[str, Any] = history.last_step or {}
    epochs = _whole(told.get("epochs")) or _total_epochs(one)
    done = len(history.epochs)
    if one.state == "starting":
        lines.append(Text("  loading TensorFlow", "dim"))
    if history.progress is not None:
        what = printable(history.progress.get("what", ""))
        part, total = _whole(history.progress.get("done")), _whole(history.progress.get("total"))
        lines.append(Text(f"  {what}  {bar(part, total, ascii)} {part}/{total}"))
    if done or step:
        line = Text(f"  epoch {format.progress(done, epochs, ascii):>9}  ")
        line.append(bar(done, epochs, ascii))
        if history.phases:
            freeze = printable(history.phases[-1].get("freeze", ""))
            phases = sum(k.startswith("phase.") and k.endswith(".epochs") for k in one.config)
            number = f"{len(history.phases)}/{max(phases, len(history.phases))}"
            line.append(f"  phase {number}, freeze {freeze}", "dim")
        lines.append(line)
    if step:
        at, steps = _whole(step.get("step")), _whole(step.get("steps"))
        line = Text(f"  step  {f'{at}/{steps}':>9}  {bar(at, steps, ascii)}")
        line.append(f"  {format.speed(step.get('images_per_second'), ascii)}")
        eta = told.get("eta_seconds")
        if isinstance(eta, int | float):
            line.append(f"  ETA {format.duration(eta, ascii)}")
        line.append(f"  lr {format.rate(step.get('lr'), ascii)}")
        lines.append(line)
    for metric in ("loss", "accuracy"):
        if history.epochs:
            lines.append(_curves(one, metric, ascii))
    return lines


def _curves(one: Watched, metric: str, ascii: bool) -> Text:
    line = Text(f"  {metric:9}")
    for split in ("train", "val"):
        name = f"{split}_{metric}"
        series = one.history.series(name)
        last = next((v for v in reversed(series) if math.isfinite(v)), None)
        if last is not None:
            spark = format.sparkline(series, SPARK, ascii)
            line.append(f"  {split} {spark:{SPARK}} {format.named(name, last, ascii):>7}")
    return line


def bar(done: int, total: int, ascii: bool, width: int = BAR) -> str:
    """A bar of `width` cells, filled as far as `done` of `total`."""
    filled = min(width, width * max(done, 0) // total) if total > 0 else 0
    full, empty = ("#", "-") if ascii else ("━", "╌")
    return full * filled + empty * (width - filled)


def _bell() -> bool:
    from tlui.errors import TluiError
    from tlui.recipe.config import load_config

    try:
        return load_config().notify.bell
    except TluiError:
        return False


def _total_epochs(one: Watched) -> int:
    return sum(
        _whole(value)
        for key, value in one.config.items()
        if key.startswith("phase.") and key.endswith(".epochs")
    )


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
