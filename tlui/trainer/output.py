"""What is printed goes to trainer.log as far as the disk takes it: printing never ends training."""

from __future__ import annotations

import sys
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


def make_lossy() -> None:
    """Let the standard streams lose text rather than raise."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Lossy):
            continue
        setattr(sys, name, cast(TextIO, Lossy(stream)))
