"""A queue with stand-in trainers in real processes; nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.process import liveness, start_time
from tlui.runs.status import ENDED
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes
from tlui.scheduler.start import start

STAND_IN = str(Path(__file__).with_name("stand_in.py"))
TRAINER = (sys.executable, "-S", STAND_IN)
DEADLINE = 30.0


def wait_for(condition: Callable[[], Any], what: str = "", seconds: float = DEADLINE) -> Any:
    """The first true value of a condition, polled; fails the test after a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    pytest.fail(f"not within {seconds:.0f} s: {what or condition}")


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is dead (reaped or not)."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: start_time(pid) is None, f"the end of {pid}")


def waits_for_lock(pid: int | None) -> bool:
    """Whether a process waits for a kernel lock that another one holds."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and f" {pid} " in line for line in lines)


class Bench:
    """A store and its queue, with what tests ask of them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.trainer = TRAINER

    def add(self, name: str, wishes: Wishes | None = None, **meta: Any) -> RunDirectory:
        """A queued run that will do what its name says."""
        known = {"name": name, "preset": "p", "experiment": name, "config": {}, **meta}
        run = self.home.create("", known)
        order.append(self.home, [run.id], wishes or Wishes())
        return run

    def start(self) -> list[str]:
        return start(self.home, trainer=self.trainer)

    def go(self, name: str | None = None) -> None:
        """Let the runs that wait (or one of them) go on to their end."""
        (self.home.path / (f"go-{name}" if name else "go")).touch()

    def state(self, run: RunDirectory) -> str:
        return run.observe().state

    def until(self, run: RunDirectory, *states: str) -> None:
        wait_for(
            lambda: run.observe().state in states,
            f"{run.read_meta().get('name')} {states}, it is {run.observe()}",
        )

    def running(self, run: RunDirectory) -> None:
        """Wait until its trainer has said something."""
        self.until(run, "running")
        wait_for(lambda: run.events.exists() and run.events.stat().st_size > 0, "events")

    def ended(self, *runs: RunDirectory) -> None:
        for run in runs:
            self.until(run, *ENDED)

    def starts(self) -> list[str]:
        """Ids in the order in which trainers started."""
        path = self.home.path / "starts"
        return path.read_text().split() if path.exists() else []

    def holders(self, run: RunDirectory) -> tuple[int, int]:
        """Pids of the supervisor and the trainer of a run."""
        claim = Claims(self.home).of_run(run.id)
        assert claim is not None and claim.supervisor and claim.trainer
        return claim.supervisor.pid, claim.trainer.pid

    def quiet(self) -> None:
        """Wait until nobody claims anything, and nobody is left who starts what follows."""
        wait_for(lambda: not Claims(self.home).all() and not self.supervisors(), "no claims")

    def supervisors(self) -> list[str]:
        """The process numbers of those at work here."""
        words = f"\0tlui.scheduler.supervisor\0{self.home.path}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if words in (folder / "cmdline").read_bytes():
                    found.append(folder.name)
            except OSError:
                pass  # it has just ended
        return found


@contextmanager
def opened(home: Home) -> Iterator[Bench]:
    """A bench; whatever the test left running is killed at the end."""
    found = Bench(home)
    try:
        yield found
    finally:
        for entry in order.entries(home):
            entry.path.unlink(missing_ok=True)
        for claim in Claims(home).runs():
            for who in claim.holders:
                if liveness(who) == "alive" and who.pid != os.getpid():
                    kill(who.pid)
