"""A pane of lines with a title that scrolls and, where asked, stays at its end."""

from __future__ import annotations

from collections.abc import Callable

from textual import events

from tlui.tui import describe
from tlui.tui.lines import Line
from tlui.tui.widgets.sheet import Sheet

Writer = Callable[[int], list[Line]]


class TextPane(Sheet, can_focus=True):
    """Shows what `write(width)` gives; up and down scroll, a click focuses."""

    def __init__(self, title: str, write: Writer, follow: bool = False, id: str | None = None):
        super().__init__(id=id)
        self.title_text = title
        self.write = write
        self.follow = follow
        """Whether the end is kept in sight until somebody scrolls up."""
        self.top = 0
        self.note = ""
        self._count = 0

    def build(self, width: int, height: int) -> list[Line]:
        lines = self.write(width - 1)
        room = max(height - 1, 1)
        self._count = len(lines)
        last = max(len(lines) - room, 0)
        self.top = last if self.follow else min(self.top, last)
        note = self.note
        if last:
            note = f"{note}  {self.top + 1}-{min(self.top + room, len(lines))} of {len(lines)}"
        title = describe.heading(self.title_text, width, self.has_focus, note.strip())
        return [title, *lines[self.top : self.top + room]]

    def act(self, action: str) -> bool:
        """Do a scrolling action of the key table; False where it is none."""
        page = max(self.size.height - 2, 1)
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page}
        if action in steps:
            self.scroll_lines(steps[action])
        elif action == "first":
            self.scroll_lines(-self._count)
        elif action == "last":
            self.scroll_lines(self._count)
        else:
            return False
        return True

    def scroll_lines(self, by: int) -> None:
        """Scroll; reaching the end of a pane that follows makes it follow again."""
        last = max(self._count - max(self.size.height - 1, 1), 0)
        self.top = min(max(self.top + by, 0), last)
        if self.can_follow:
            self.follow = self.top >= last
        self.redraw()

    can_follow = False

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.scroll_lines(-3)


class FollowPane(TextPane):
    """A log: at its end until somebody scrolls up."""

    can_follow = True

    def __init__(self, title: str, write: Writer, id: str | None = None) -> None:
        super().__init__(title, write, follow=True, id=id)
