"""A list with a cursor that scrolls over rows it does not hold: it asks for what it shows."""

from __future__ import annotations

from textual import events
from textual.message import Message

from tlui.tui.lines import Line
from tlui.tui.widgets.sheet import Sheet


class Listing(Sheet, can_focus=True):
    """A cursor over `total` rows, of which `height - head` are shown.

    Subclasses give `head_lines` and `row_line`.
    """

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, listing: Listing) -> None:
            super().__init__()
            self.listing = listing

        @property
        def control(self) -> Listing:
            return self.listing

    class Chosen(Message):
        """Enter or a second click on a row."""

        def __init__(self, listing: Listing) -> None:
            super().__init__()
            self.listing = listing

        @property
        def control(self) -> Listing:
            return self.listing

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = 0
        self.top = 0
        self.total = 0

    def head_lines(self, width: int) -> list[Line]:
        """Lines above the rows."""
        return []

    def row_line(self, index: int, width: int, here: bool) -> Line:
        """One row; `here` when the cursor is on it."""
        return []

    def empty_lines(self, width: int) -> list[Line]:
        """What is shown where there are no rows."""
        return []

    @property
    def head(self) -> int:
        return len(self.head_lines(max(self.size.width, 1)))

    @property
    def page(self) -> int:
        """Rows that fit."""
        return max(self.size.height - self.head, 1)

    def build(self, width: int, height: int) -> list[Line]:
        lines = self.head_lines(width)
        if not self.total:
            return lines + self.empty_lines(width)
        self._fit()
        for index in range(self.top, min(self.top + height - len(lines), self.total)):
            lines.append(self.row_line(index, width, index == self.cursor))
        return lines

    def _fit(self) -> None:
        self.cursor = min(max(self.cursor, 0), max(self.total - 1, 0))
        page = self.page
        if self.cursor < self.top:
            self.top = self.cursor
        elif self.cursor >= self.top + page:
            self.top = self.cursor - page + 1
        self.top = min(self.top, max(self.total - page, 0))

    def go(self, index: int) -> None:
        """Put the cursor on a row."""
        before = self.cursor
        self.cursor = min(max(index, 0), max(self.total - 1, 0))
        self._fit()
        if self.cursor != before:
            self.post_message(self.Moved(self))
        self.redraw()

    def act(self, action: str) -> bool:
        """Do a list action of the key table; False where it is none."""
        match action:
            case "up":
                self.go(self.cursor - 1)
            case "down":
                self.go(self.cursor + 1)
            case "page_up":
                self.go(self.cursor - self.page)
            case "page_down":
                self.go(self.cursor + self.page)
            case "first":
                self.go(0)
            case "last":
                self.go(self.total - 1)
            case "open":
                if self.total:
                    self.post_message(self.Chosen(self))
            case _:
                return False
        return True

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - self.head
        if event.y < self.head or index >= self.total:
            return
        again = index == self.cursor
        self.go(index)
        if again:
            self.post_message(self.Chosen(self))

    def on_mouse_scroll_down(self) -> None:
        self.go(self.cursor + 3)

    def on_mouse_scroll_up(self) -> None:
        self.go(self.cursor - 3)
