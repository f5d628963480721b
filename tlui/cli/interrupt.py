"""Ctrl-C while a command imports, prepares and makes runs; once it follows them, `follow` listens.

Python raises KeyboardInterrupt wherever it is, and code written in C may pass that on as another
error, or drop it. So it is kept in mind here that it was pressed, and while runs are made that is
all: what is half made is taken back or seen through, never left behind.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_presses = 0
_deferred = False


def presses() -> int:
    """How often Ctrl-C was pressed since this command began."""
    return _presses


@contextmanager
def remembered() -> Iterator[None]:
    """Keep Ctrl-C in mind for the length of a `with`, where it is Python's own to handle."""
    global _presses, _deferred
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        leave()
        _presses, _deferred = 0, False


def leave() -> None:
    """Give Ctrl-C back to Python, for who handles it in ways of its own."""
    if signal.getsignal(signal.SIGINT) is _press:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def defer() -> None:
    """From now on nothing is interrupted; whoever can stop asks `presses` or `heed`."""
    global _deferred
    _deferred = True
    heed()


def heed() -> None:
    """Raise KeyboardInterrupt where Ctrl-C was pressed."""
    if _presses:
        raise KeyboardInterrupt


def _press(number: int, frame: FrameType | None) -> None:
    global _presses
    _presses += 1
    if not _deferred:
        raise KeyboardInterrupt
