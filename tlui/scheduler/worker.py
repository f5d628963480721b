"""A supervisor's trainer: one process, which may train several runs of a kind one after another.

A run of a sweep shares most of its work with its neighbours: TensorFlow's start, decoded images,
features, traced graphs. So a trainer that finished a run says so on a socket and waits; its
supervisor hands it the next run of the queue if that is alike, or hangs up. Each run is claimed,
recorded and settled as if it had a process of its own: its status names the trainer before the
trainer hears of it, a trainer that dies takes only the run it is training with it, and a
supervisor that dies hangs up. On a GPU this goes for runs whose backbone is frozen throughout: of
others a trainer holds much memory, which only the end of a process frees.

Where a run needs a process of its own and more are to come, that process is a fork of one that
has imported TensorFlow (`forkserver`), once that is ready.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlui.runs.directory import RunDirectory
from tlui.runs.line import NextRun
from tlui.runs.process import Identity, identify
from tlui.scheduler.claims import CPU
from tlui.scheduler.launch import Gated, Line, spawn

if TYPE_CHECKING:
    from tlui.scheduler.forkserver import Forkserver

LEAVING_SECONDS = 10.0
WORTH_FORKING = 2
"""Runs to come that pay for a forkserver, which imports TensorFlow once more itself."""
SAME = ("dataset.", "backbone.", "train.devices", "train.mixed_precision")
"""Settings in which runs of one trainer agree."""
REGIME = re.compile(r"phase\.\d+\.freeze")


class Worker:
    """The trainer of a supervisor; at first there is none."""

    def __init__(self) -> None:
        self._child: Gated | None = None
        self._forkserver: Forkserver | None = None
        self._line: Line | None = None
        self._trainer: Identity | None = None
        self.waits = False
        """Whether it is done with its run and could take another."""

    @property
    def pid(self) -> int:
        assert self._trainer is not None
        return self._trainer.pid

    @property
    def identity(self) -> Identity:
        assert self._trainer is not None
        return self._trainer

    @property
    def handle(self) -> int:
        """What to wait on for its word; -1 where it has no line."""
        return self._line.ours.fileno() if self._line is not None else -1

    @property
    def forks(self) -> bool:
        """Whether any run could have a process at once that has imported TensorFlow."""
        try:
            return self._forkserver is not None and self._forkserver.ready
        except OSError:
            return False

    def foresee(self, others: int, env: Mapping[str, str], log: Path) -> None:
        """Keep a forkserver where runs are to come that need processes of their own.

        Args:
            others: Their number.
            env: What trainers of this device get.
            log: Gets what it says should it fail.
        """
        if not others:
            self._close_forkserver()
        elif others >= WORTH_FORKING and self._forkserver is None:
            from tlui.scheduler.forkserver import Forkserver

            try:
                self._forkserver = Forkserver(env, log)
            except OSError:
                pass  # no process to be had now: trainers import for themselves

    def prepare(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        goes_on: bool,
    ) -> None:
        """Make one that waits at its gate, unless there is one that waits for a run.

        Args:
            command: Of trainers, to which `arguments` are added.
            goes_on: Whether it may be handed another run when it is done.

        Raises:
            OSError: No log, no process.
        """
        if self.waits:
            return
        self._line = Line() if goes_on else None
        self._child = self._forked(arguments, env, log)
        if self._child is None:
            self._child = spawn([*command, *arguments], env, log, self._line)
        self._trainer = identify(self._child.pid)

    def _forked(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Gated | None:
        """From the forkserver; None where there is none, or none any more."""
        if self._forkserver is None or not self.forks:
            return None
        try:
            return self._forkserver.fork(arguments, env, log, self._line)
        except OSError:
            self._close_forkserver()
            return None

    def _close_forkserver(self) -> None:
        if self._forkserver is not None:
            self._forkserver.close()
            self._forkserver = None

    def go(self, run: NextRun) -> bool:
        """Let it train a run whose status and claim name it by now; False where it is gone."""
        if self.waits:
            self.waits = False
            return self._line is not None and self._line.send(run)
        if self._child is not None:
            self._child.go()
        return True

    def listen(self) -> bool:
        """Whether it has said that it is done, and waits."""
        if self._line is not None and select.select([self._line.ours], [], [], 0)[0]:
            self.waits = self._line.is_done()
            if not self.waits:
                self._hang_up()
        return self.waits

    def ended(self) -> int | None:
        """Its exit code (a signal's number negated) once it is dead and buried with its group."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill()  # what it left behind; the zombie keeps its number from being reused
        self._hang_up()
        self.waits = False
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """SIGKILL for all of its group."""
        kill_group(self.pid)

    def dismiss(self) -> None:
        """Send one that waits home, and see it off."""
        if self.waits:
            self.bury()

    def close(self) -> None:
        """Leave no process behind: nothing more is trained here."""
        self.dismiss()
        self._close_forkserver()

    def bury(self) -> None:
        """See one off that trains nothing, whatever it takes."""
        self._hang_up()
        handle = os.pidfd_open(self.pid)
        select.select([handle], [], [], LEAVING_SECONDS)
        os.close(handle)
        self.kill()
        while self.ended() is None:
            time.sleep(0.01)  # killed: a moment at most

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.ours.close()
            self._line = None


def kill_group(pid: int) -> None:
    """SIGKILL for a process group, if it is there still."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def alike(run: RunDirectory, other: RunDirectory) -> bool:
    """Whether one process may train both: same data, same backbone, one device, and all that learns
    a small head in both or in neither, for which the process is set up when it starts."""
    ours, theirs = (_kind(x.read_meta()) for x in (run, other))
    return ours is not None and ours == theirs and ours.get("train.devices", 1) == 1


def may_go_on(run: RunDirectory, devices: Sequence[str]) -> bool:
    """Whether a trainer on these devices may be handed another run after this one."""
    if tuple(devices) == (CPU,):
        return True
    kind = _kind(run.read_meta())
    return len(devices) == 1 and kind is not None and bool(kind["frozen"])


def _kind(meta: dict[str, Any]) -> dict[str, Any] | None:
    config = meta.get("config")
    if not isinstance(config, dict):
        return None
    kind = {key: value for key, value in config.items() if key.startswith(SAME)}
    regimes = {value for key, value in config.items() if REGIME.fullmatch(key)}
    return {**kind, "frozen": regimes == {"backbone"}, "little": meta.get("learns_little")}
