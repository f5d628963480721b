"""What threads tell the app: frozen facts, past tense. Newer ones replace older ones unread.

Blocking work happens in threads that only post these; handlers own all widget state. A slow
terminal therefore coalesces: of ten `RowsArrived` in a queue the last is handled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from tlui.runs.row import Row


class Replaced(Message):
    """A message whose newer sibling makes it moot."""

    bubble = False

    def can_replace(self, message: Message) -> bool:
        return type(message) is type(self)


@dataclass(frozen=True)
class Page:
    """A stretch of the run table."""

    serial: int
    """Of the query it answers."""
    offset: int
    rows: tuple[Row, ...]
    shown: int
    """Runs the filter lets through."""
    total: int
    """Runs in the store, hidden ones not counted unless they are shown."""
    counts: Mapping[str, int]
    """State -> runs, over the whole store."""
    best: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """`val` and `test` -> dataset -> the best among the runs the filter lets through."""
    error: str = ""
    """What is wrong with the filter."""
    reading: tuple[int, int] | None = None
    """(read, of how many) while a large store is read for the first time: these are the runs
    known by then, the newest of all."""


class RowsArrived(Replaced):
    """The watcher has rows of the table."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page


class DevicesSeen(Replaced):
    """What the host's devices do, in a few words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class RunChanged(Replaced):
    """A watched run has said more."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunChanged) and message.run_id == self.run_id


class WorkDone(Message):
    """Something a person asked for is done."""

    bubble = False

    def __init__(self, what: str, value: Any = None, text: str = "") -> None:
        super().__init__()
        self.what = what
        self.value = value
        self.text = text


class WorkFailed(Message):
    """Something a person asked for could not be done; `text` is the whole message."""

    bubble = False

    def __init__(self, what: str, text: str) -> None:
        super().__init__()
        self.what = what
        self.text = text
