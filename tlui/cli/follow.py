"""Staying with runs from the command line: the loop, the signals, the exit code.

What is shown is a `View`'s business (plain lines, JSON lines, the live screen). The loop reads
files and keeps the queue going; runs never depend on it. For runs the caller owns (`tlui run`),
Ctrl-C once stops them and drops what has not started, twice kills; SIGTERM and SIGUSR1 interrupt
them, to be resumed; SIGHUP leaves them alone. A mere watcher (`tlui watch`) leaves on Ctrl-C.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from tlui.cli.interrupt import presses
from tlui.errors import TluiError, no_space
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.history import History, Tail
from tlui.runs.status import ENDED, LIVE, Observed

TICK_SECONDS = 0.25
GLANCE_SECONDS = 0.05
TEND_SECONDS = 1.0
CODES = {"failed": 1, "diverged": 3, "stopped": 130, "interrupted": 130}
HUNG_UP = 129
ASTRAY = "is not in the queue; tlui resume {} puts it there"
EXPLAINED = 3
"""How many of the runs that wait are asked why; the screen shows no more."""


@dataclass
class Watched:
    """One run as it is followed."""

    run: RunDirectory
    name: str
    tail: Tail
    seen: Observed
    waits: str = ""
    """Why it is queued still."""
    over: bool = False
    epochs_told: int = 0
    """Epoch records a view has already shown."""
    alerts_told: int = 0
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return self.seen.state

    @property
    def history(self) -> History:
        return self.tail.history

    @property
    def monitor(self) -> str:
        return str(self.config.get("train.monitor") or "val_accuracy")


class View(Protocol):
    """How it is shown. Every call may come many times; `ended` once a run."""

    def say(self, message: str) -> None:
        """A line that stays."""

    def changed(self, one: Watched) -> None:
        """A run's state changed, or what is wrong with it while it lives."""

    def draw(self, all_runs: Sequence[Watched]) -> None:
        """Four times a second at most; nothing may have changed."""

    def ended(self, one: Watched) -> None:
        """A run has ended; its result, if any, is on disk."""

    def done(self, all_runs: Sequence[Watched], code: int) -> None:
        """Nothing more will come."""


class Heard:
    """Signals as they came in."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.ends = False
        self.hung_up = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.interrupts += 1
        elif number == signal.SIGHUP:
            self.hung_up = True
        else:
            self.ends = True


@contextmanager
def listening() -> Iterator[Heard]:
    """Collect SIGINT, SIGTERM, SIGUSR1 and SIGHUP for the length of a `with`."""
    heard = Heard()
    heard.interrupts = presses()  # before this began
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def watched(run: RunDirectory) -> Watched:
    """A run to be followed, read up to now."""
    meta = run.read_meta()
    config = meta.get("config")
    return Watched(
        run,
        str(meta.get("name") or run.id),
        Tail(run),
        run.observe(),
        config=config if isinstance(config, dict) else {},
    )


def follow(
    home: Home,
    runs: Sequence[RunDirectory],
    view: View,
    *,
    owned: bool = True,
    trainer: Sequence[str] = (),
) -> int:
    """Show runs until all of them have ended.

    Args:
        home: The store.
        runs: What to follow.
        view: How it is shown.
        owned: Whether Ctrl-C and SIGTERM mean the runs, or just this viewer.
        trainer: The trainer's command in place of tlui's own; for tests.

    Returns:
        The exit code: 1 where one failed, else 3 where one diverged, else 130 where one was
        stopped or interrupted, else 0; 0 for a watcher that left, 129 after SIGHUP.
    """
    all_runs = [watched(run) for run in runs]
    with listening() as heard:
        session = Session(home, all_runs, view, owned, tuple(trainer))
        try:
            code = session.stay(heard)
        except BrokenPipeError:
            raise
        except OSError as error:
            if heard.hung_up or error.errno == 5:  # EIO: the terminal is gone
                return HUNG_UP
            raise
    return code


@dataclass
class Session:
    """One `follow`: who asked for what so far."""

    home: Home
    runs: list[Watched]
    view: View
    owned: bool
    trainer: tuple[str, ...]
    stage: int = 0
    """0 going, 1 interrupting, 2 stopping, 3 killing."""
    asked: dict[str, int] = field(default_factory=dict)
    """Run -> the stage it was asked for."""
    tended: float = 0.0
    trouble: str = ""
    """Why the queue does not go on, as last said."""
    full: bool = False
    """Whether that is a full disk."""
    _tends: bool = False
    """Whether this round looks at the queue, too."""
    _abandoned: set[str] = field(default_factory=set)
    """Queued runs that their cluster refused or lost."""

    def stay(self, heard: Heard) -> int:
        while True:
            if heard.hung_up:
                return HUNG_UP
            if heard.interrupts and not self.owned:
                self.view.say("left; the runs go on")
                self.view.done(self.runs, 0)
                return 0
            self._escalate(heard)
            if self.stage:
                self._end_runs()
            self._look()
            self.view.draw(self.runs)
            if all(one.over for one in self.runs) or self._stuck():
                stuck = bool(self._abandoned) or self.full
                code = exit_code([one.state for one in self.runs]) or int(stuck)
                self.view.done(self.runs, code)
                return code
            self._rest()

    def _rest(self) -> None:
        """Until the next round: until something in the status of a live run changes, if earlier."""
        live = [one.run.status for one in self.runs if one.state in LIVE]
        before = [_modified(path) for path in live]
        until = time.monotonic() + TICK_SECONDS
        while time.monotonic() < until:
            time.sleep(GLANCE_SECONDS)
            if [_modified(path) for path in live] != before:
                return

    def _look(self) -> None:
        tend = self._tends = time.monotonic() - self.tended > TEND_SECONDS
        if tend:
            self.tended = time.monotonic()
            if not self.stage:
                self._keep_queue_going()
        left = [one for one in self.runs if not one.over]
        # What starts or fails after another is looked at first: it is never told before that one.
        seen = {one.run.id: one.run.observe() for one in reversed(left)}
        for one in left:
            before, one.seen = one.seen, seen[one.run.id]
            one.tail.poll()
            news = one.state in LIVE and one.seen.reason != before.reason
            if one.state != before.state or news:
                self.view.changed(one)
            over = one.seen.status.state in ENDED or self._never_settled(one)
            if over and not self._goes_on(one):
                one.tail.poll(portions=64)
                one.over = True
                self.view.ended(one)
        if tend:
            self._explain([one for one in self.runs if one.state == "queued"][:EXPLAINED])

    def _keep_queue_going(self) -> None:
        from tlui.scheduler.start import start

        try:
            start(self.home, trainer=self.trainer)
        except (TluiError, OSError) as error:
            if str(error) != self.trouble:
                self.view.say(f"the queue does not go on: {error}")
            self.trouble, self.full = str(error), no_space(error)
        else:
            self.trouble, self.full = "", False

    def _never_settled(self, one: Watched) -> bool:
        """Whether it is dead, nobody holds it and nobody could write so: a full disk."""
        from tlui.scheduler.claims import Claims

        if one.state != "interrupted" or not one.run.exists():
            return False
        if Claims(self.home).of_run(one.run.id) is not None:
            return False
        one.seen = one.run.observe()  # whoever held it may have settled it just now
        return one.state == "interrupted"

    def _goes_on(self, one: Watched) -> bool:
        """Whether an interrupted run is about to be continued by its cluster's scheduler."""
        from tlui.scheduler.backends import placed_on
        from tlui.scheduler.backends.handover import lost

        on_cluster = one.state == "interrupted" and placed_on(one.run) != "local"
        return on_cluster and not self.stage and lost(one.run) is None

    def _explain(self, waiting: Sequence[Watched]) -> None:
        """Find out why runs wait still."""
        from tlui.scheduler.queue import places

        try:
            found = places(self.home, only=[one.run.id for one in waiting])
        except (TluiError, OSError):
            return
        reasons = {place.run.id: place.reason for place in found}
        for one in waiting:
            one.waits = reasons.get(one.run.id, ASTRAY.format(one.run.id))

    def _stuck(self) -> bool:
        """Whether what is left waits for something that will not happen by itself."""
        from tlui.scheduler import order
        from tlui.scheduler.backends.handover import abandoned

        left = [one for one in self.runs if not one.over]
        if any(one.state != "queued" for one in left) or not self._tends:
            return False
        held = {entry.run for entry in order.entries(self.home) if entry.held}
        blocked: set[str] = {one.run.id for one in left if one.run.id in held}
        blocked |= {one.run.id for one in self.runs if one.state == "interrupted"}
        self._abandoned = abandoned([one.run for one in left])
        blocked |= self._abandoned
        if self.full:
            blocked |= {one.run.id for one in left}
        for one in left:  # parents come before their children
            parents = [str(p) for p in one.run.read_meta().get("parents") or []]
            states = {p: self.home.run(p).observe().state for p in parents}
            if any(p in blocked or states[p] == "interrupted" for p in parents):
                blocked.add(one.run.id)
        if not all(one.run.id in blocked for one in left):
            return False
        self._explain(left)
        if self.full:
            self.view.say("with space free again, tlui queue starts what waits")
        for one in left:
            if self.full:
                one.waits = "the disk is full"
            self.view.say(f"{one.name} ({one.run.id}) stays queued: {one.waits or 'it waits'}")
        return True

    def _escalate(self, heard: Heard) -> None:
        if not self.owned:
            if heard.ends:
                heard.interrupts += 1
            return
        wanted = 3 if heard.interrupts > 1 else 2 if heard.interrupts else 1 if heard.ends else 0
        if wanted <= self.stage:
            return
        self.stage = wanted
        self.view.say(
            {
                1: "interrupting: runs write a checkpoint and end, tlui resume continues them",
                2: "stopping at the next step, then evaluating; Ctrl-C again kills",
                3: "killing",
            }[wanted]
        )

    def _end_runs(self) -> None:
        """Ask what lives to end, as hard as was asked for; nothing of ours starts any more."""
        from tlui.scheduler import control, order

        for one in self.runs:
            if one.over:
                continue
            state = one.run.observe().state
            try:
                if state == "queued" and self.stage == 1:
                    entry = order.find(self.home, one.run.id)
                    if entry is not None and not entry.held:
                        order.hold(self.home, one.run.id)
                        self.view.say(f"{one.name} ({one.run.id}) stays in the queue, held back")
                elif state == "queued":
                    control.drop(self.home, one.run)
                    self.view.say(f"{one.name} ({one.run.id}) was dropped from the queue")
                elif (state in LIVE or state == "stale") and (
                    self.asked.get(one.run.id, 0) < self.stage
                ):
                    self.asked[one.run.id] = self.stage
                    modes: dict[int, control.Mode] = {1: "interrupt", 2: "stop", 3: "kill"}
                    control.stop(self.home, one.run, modes[self.stage])
            except TluiError as error:
                if one.run.observe().state in (LIVE | {"stale"}) and self.stage < 3:
                    self.view.say(str(error))


def exit_code(states: Sequence[str]) -> int:
    """The documented exit code for the states runs ended in."""
    for state in ("failed", "diverged", "stopped", "interrupted"):
        if state in states:
            return CODES[state]
    return 0
