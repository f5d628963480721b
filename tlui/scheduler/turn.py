"""Turns among processes that know nothing of each other: who came first goes first.

A turn is a file in `<home>/queue`, named by the instant at which it was taken and locked until its
holder is done or dead. Its holder may hand it on to a child, which inherits the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from tlui.runs.directory import Home
from tlui.runs.files import FILE_MODE
from tlui.scheduler import order

PREFIX = ".turn-"
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Turn:
    """One of this process's; without a place in the order where it has no file."""

    def __init__(self, path: Path | None = None, handle: int = -1) -> None:
        self.path = path
        self.handle = handle

    def wait(self) -> None:
        """Until everybody who came before is done."""
        if self.path is not None:
            for other in _taken(self.path.parent):
                if other.name < self.path.name:
                    _is_over(other, patiently=True)

    def hand_on(self) -> None:
        """Leave it to a child that has inherited it."""
        if self.path is not None:
            os.close(self.handle)
            self.path = None

    def end(self) -> None:
        """Give it up."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self.hand_on()


def take(home: Home) -> Turn:
    """The next turn. A disk that is full or knows no locks gives one without a place."""
    path = order.folder(home) / f"{PREFIX}{time.time_ns():020d}-{os.getpid()}"
    aside = path.with_name(f".{path.name}")  # nobody sees it before it is locked
    try:
        handle = os.open(aside, FLAGS | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except OSError:
        return Turn()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside.rename(path)
    except OSError:
        os.close(handle)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        return Turn()
    return Turn(path, handle)


def anybodys(home: Home) -> bool:
    """Whether a process that lives has a turn."""
    return any(not _is_over(path) for path in _taken(order.folder(home)))


def _taken(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(PREFIX))
    except OSError:
        return []


def _is_over(path: Path, *, patiently: bool = False) -> bool:
    """Whether a turn's holder is done or dead, by now or at last; what a dead one left goes."""
    try:
        handle = os.open(path, FLAGS)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    except OSError:
        pass  # what cannot be locked nobody waits for
    finally:
        os.close(handle)
    return True
