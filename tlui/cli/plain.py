"""Runs as lines: plain text for logs and pipes, JSON for programs.

JSON lines (`tlui run --json`, `tlui watch --json`), one object a line, flushed:

`run`    {type, t, id, name, state, reason, device, attempt}: at first, and at every change of state
         or of what is wrong with a live one
`epoch`  {type, t, id, name, phase, epoch, epochs, seconds, lr, images_per_second, train_loss, …,
         val_f1}: the trainer's epoch record
`alert`  {type, t, id, name, kind, message}
`note`   {type, t, message}: what tlui says besides
`end`    {type, t, id, name, state, reason, advice, exit_code, metrics}: a run is over
`done`   {type, t, exit_code, runs: {id: state}}: the last line
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from tlui.cli.follow import Watched
from tlui.cli.terminal import columns, print_json_line
from tlui.runs import format
from tlui.runs.status import ENDED
from tlui.runs.text import printable

SHOWN = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


WAIT_SECONDS = 3.0
"""How long a reason to wait must stand before it is told: between two runs there is always one."""


class Waiting:
    """Why nothing of ours goes on, once for each reason."""

    def __init__(self) -> None:
        self._reason = ""
        self._since = 0.0
        self._told = False

    def news(self, all_runs: Sequence[Watched]) -> str:
        """A reason that stands and was not told yet, as a line; else empty."""
        left = [one for one in all_runs if not one.over]
        idle = bool(left) and all(one.state == "queued" for one in left)
        reason = left[0].waits if idle else ""
        if reason != self._reason:
            self._reason, self._since, self._told = reason, time.monotonic(), False
        if not reason or self._told or time.monotonic() - self._since < WAIT_SECONDS:
            return ""
        self._told = True
        return f"{label(left[0])}  {printable(reason)}"


class PlainView:
    """One line an epoch, one a change of state; the tables at the end."""

    def __init__(self, ascii: bool = False) -> None:
        self.ascii = ascii
        self._waiting = Waiting()

    def say(self, message: str) -> None:
        self._print(printable(message))

    def changed(self, one: Watched) -> None:
        status = one.seen.status
        if status.state in ENDED:
            return  # its conclusion says so
        tell_before(one, self._epoch)
        words = [format.state_word(one.state, self.ascii)]
        if one.state == "starting":
            words.append(f"on {status.device}")
        if one.seen.reason:
            words.append(one.seen.reason)
        self._print(f"{label(one)}  {printable('  '.join(words))}")

    def draw(self, all_runs: Sequence[Watched]) -> None:
        for one in all_runs:
            tell_epochs(one, self._epoch)
            tell_alerts(one, self._alert)
        if line := self._waiting.news(all_runs):
            self._print(line)

    def ended(self, one: Watched) -> None:
        from tlui.cli.tables import conclusion

        tell_epochs(one, self._epoch)
        tell_alerts(one, self._alert)
        for line in conclusion(one, self.ascii, columns()):
            print(line)
        sys.stdout.flush()

    def done(self, all_runs: Sequence[Watched], code: int) -> None:
        from tlui.cli.tables import comparison

        for line in comparison(all_runs, self.ascii, columns()):
            print(line)
        sys.stdout.flush()

    def _epoch(self, one: Watched, event: dict[str, Any]) -> None:
        parts = [f"epoch {format.progress(event.get('epoch'), event.get('epochs'), self.ascii)}"]
        parts += [
            f"{name} {format.named(name, event.get(name), self.ascii)}"
            for name in SHOWN
            if event.get(name) is not None
        ]
        parts.append(f"lr {format.rate(event.get('lr'), self.ascii)}")
        parts.append(format.speed(event.get("images_per_second"), self.ascii))
        parts.append(format.duration(event.get("seconds"), self.ascii))
        self._print(f"{label(one)}  {'  '.join(parts)}")

    def _alert(self, one: Watched, event: dict[str, Any]) -> None:
        self._print(f"{label(one)}  ! {printable(event.get('message', ''))}")

    def _print(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


class JsonView:
    """The records of this module's header."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._waiting = Waiting()

    def say(self, message: str) -> None:
        self._print("note", message=message)

    def changed(self, one: Watched) -> None:
        status = one.seen.status
        self._told.add(one.run.id)
        tell_before(one, self._epoch)
        self._print(
            "run",
            id=one.run.id,
            name=one.name,
            state=one.state,
            reason=one.seen.reason,
            device=status.device,
            attempt=status.attempt,
        )

    def draw(self, all_runs: Sequence[Watched]) -> None:
        for one in all_runs:
            if one.run.id not in self._told:
                self.changed(one)
            tell_epochs(one, self._epoch)
            tell_alerts(one, self._alert)
        if line := self._waiting.news(all_runs):
            self.say(line)

    def ended(self, one: Watched) -> None:
        if one.run.id not in self._told:
            self.changed(one)
        tell_epochs(one, self._epoch)
        tell_alerts(one, self._alert)
        status = one.seen.status
        self._print(
            "end",
            id=one.run.id,
            name=one.name,
            state=one.state,
            reason=one.seen.reason,
            advice=status.advice,
            exit_code=status.exit_code,
            metrics=(one.run.read_result() or {}).get("metrics") or {},
        )

    def done(self, all_runs: Sequence[Watched], code: int) -> None:
        self._print("done", exit_code=code, runs={one.run.id: one.state for one in all_runs})

    def _epoch(self, one: Watched, event: dict[str, Any]) -> None:
        rest = {k: v for k, v in event.items() if k not in ("type", "t", "elapsed")}
        self._print("epoch", id=one.run.id, name=one.name, **rest)

    def _alert(self, one: Watched, event: dict[str, Any]) -> None:
        kind, message = event.get("kind", ""), event.get("message", "")
        self._print("alert", id=one.run.id, name=one.name, kind=kind, message=message)

    def _print(self, type: str, **fields: Any) -> None:
        print_json_line({"type": type, "t": round(time.time(), 3), **fields})


def tell_epochs(one: Watched, tell: Any) -> None:
    """Call `tell(one, record)` for every epoch record not told yet; a resume tells anew."""
    epochs = one.history.epochs
    one.epochs_told = min(one.epochs_told, len(epochs))
    for event in epochs[one.epochs_told :]:
        tell(one, event)
    one.epochs_told = len(epochs)


def tell_before(one: Watched, tell: Any) -> None:
    """The epochs that came before a change of state, when training is what has ended."""
    if one.seen.status.state not in ("queued", "starting", "running"):
        tell_epochs(one, tell)


def tell_alerts(one: Watched, tell: Any) -> None:
    """The same for alerts."""
    alerts = list(one.history.alerts)
    for event in alerts[one.alerts_told :]:
        tell(one, event)
    one.alerts_told = len(alerts)


def label(one: Watched) -> str:
    """`head-1e-4 #a1b2c3d4`."""
    return f"{printable(one.name)} #{one.run.id}"
