"""A trainer that takes another run when it has finished one.

The supervisor that owns it may leave it a line (`runs.line`). A trainer that finished a run in good
health says so there and waits; the supervisor answers with the next run, which by then is claimed
and named as this process's, or closes its end. A supervisor that dies
closes it too, so a trainer never outlives its last run. Requests and signals that come between
two runs were meant for the one that is over and are dropped with it.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from tlui.runs.directory import RunDirectory
from tlui.runs.files import FILE_MODE
from tlui.runs.line import COMING, DONE, NEXT, NextRun
from tlui.trainer.failure import FINISHED

MOST_RUNS = 100
MOST_GROWTH = 512 * 2**20
"""Bytes this process may grow after its first run before a fresh one takes its place."""


class Relay:
    """This process's line to its supervisor; without one there is never a next run."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._first_size = 0
        self._runs = 0
        number = os.environ.pop(NEXT, "")
        if number.isdigit():
            try:
                self._socket = socket.socket(fileno=int(number))
                self._socket.set_inheritable(False)
            except OSError:
                self._socket = None

    @property
    def open(self) -> bool:
        """Whether another run may come."""
        return self._socket is not None

    def next(self, code: int) -> RunDirectory | None:
        """The next run to train, after one that ended with `code`; None when there is none."""
        if self._socket is None:
            return None
        self._runs += 1
        size = _resident()
        self._first_size = self._first_size or size
        healthy = self._runs < MOST_RUNS and size - self._first_size < MOST_GROWTH
        if code != FINISHED or not healthy:
            return None
        try:
            self._socket.sendall(DONE)
            found = NextRun.receive(self._socket)
            if found is None:
                return None
            os.environ[COMING] = " ".join(found.coming)
            run = RunDirectory(found.folder)
            _print_to(run)
            return run
        except OSError:
            return None


def coming() -> list[str]:
    """Ids of runs that this process may be handed; a guess, for they may go elsewhere."""
    return os.environ.get(COMING, "").split()


def _print_to(run: RunDirectory) -> None:
    """Send what this process prints to the run's own log; count its peak memory anew."""
    sys.stdout.flush()
    sys.stderr.flush()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    log = os.open(run.log, flags, FILE_MODE)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # then the peak is that of all its runs


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
