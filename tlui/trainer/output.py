"""Standard streams of the trainer's processes.

What a training prints goes to trainer.log as far as the disk takes it: printing never ends it.
Processes that answer a front end keep stdout for the answers.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Lossy:
    """A text stream that drops what cannot be written; anything else is its stream's business."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return len(text)  # the disk is full, or the stream is closed

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Leave out what native libraries say on stderr, as TensorFlow does while it is loaded."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def make_lossy() -> None:
    """Let the standard streams lose text rather than raise."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Lossy):
            continue
        setattr(sys, name, cast(TextIO, Lossy(stream)))


@contextlib.contextmanager
def stdout_for_answers() -> Iterator[Any]:
    """The real stdout; what libraries print meanwhile goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers
