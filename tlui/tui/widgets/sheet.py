"""A widget that paints lines and repaints only the cells that changed.

Subclasses give `build`; callers say `redraw` when what it reads has changed. Nothing is painted,
and nothing goes over the wire, where the new lines equal the old ones. Textual's markup is never
involved.
"""

from __future__ import annotations

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from tlui.runs.text import PLAIN, printable
from tlui.tui.lines import Line, cells, fill, width_of
from tlui.tui.theme import Theme


class Sheet(Widget):
    """Lines of `(text, style)`; `theme_of` gives the style words their look."""

    DEFAULT_CSS = "Sheet { width: 1fr; height: 1fr; }"
    ALLOW_SELECT = False

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._fitted = Size()
        """The size that the lines were built for."""
        self._painted: dict[int, Strip] = {}

    @property
    def look(self) -> Theme:
        """The app's theme."""
        theme: Theme = getattr(self.app, "look", None) or Theme()
        return theme

    def build(self, width: int, height: int) -> list[Line]:
        """What to show now, at most `height` lines of `width` cells."""
        return []

    def redraw(self) -> None:
        """Build anew and repaint what differs."""
        if self.is_mounted and self.is_attached and self.app.screen is self.screen:
            self._rebuild()  # a change under another screen would paint all of it; resuming redraws

    def _built(self) -> list[Line]:
        self._fitted = self.size
        width, height = self.size
        lines = [fill(_safe(line), width) for line in self.build(width, height)[:height]]
        lines += [[(" " * width, "")]] * (height - len(lines))
        if self.look.ascii:
            lines = [[(_ascii(text), style) for text, style in line] for line in lines]
        return lines

    def _fit_lines(self) -> None:
        """Forget what was built for another size."""
        if self._fitted != self.size:
            self._lines = []
            self._painted.clear()

    def _rebuild(self) -> None:
        width, height = self.size
        if width <= 0 or height <= 0:
            return
        self._fit_lines()
        lines = self._built()
        old, self._lines = self._lines, lines
        regions = []
        for y, line in enumerate(lines):
            before = old[y] if y < len(old) else None
            if before != line:
                self._painted.pop(y, None)
                start, end = _changed(before, line, width)
                regions.append(Region(start, y, end - start, 1))
        if len(old) != len(lines):
            self._painted.clear()
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def repaint(self) -> None:
        """Paint everything again, as after a change of theme."""
        self._lines = []
        self._painted.clear()
        self.redraw()

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self._rebuild()  # also under a window, beside which it shows

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.redraw()  # events of focus come to a subclass before the widget knows of it

    def on_show(self) -> None:
        self.redraw()

    def render_line(self, y: int) -> Strip:
        self._fit_lines()
        if not self._lines:  # the first frame of this size comes before the event that tells of it
            self._lines = self._built()
        strip = self._painted.get(y)
        if strip is None:
            width = self.size.width
            line = self._lines[y] if y < len(self._lines) else [(" " * width, "")]
            back = self.rich_style
            look = self.look
            strip = Strip(
                [Segment(text, back + look.style(style)) for text, style in line if text]
            ).adjust_cell_length(width, back)
            self._painted[y] = strip
        return strip

    def notify_style_update(self) -> None:
        self._painted.clear()
        super().notify_style_update()


def _safe(line: Line) -> Line:
    """A line that only shows text, whoever it is from: builders that did not see to it are many."""
    if all(text.isprintable() for text, _ in line):
        return line
    return [(printable(text), style) for text, style in line]


def _ascii(text: str) -> str:
    return text if text.isascii() else text.translate(PLAIN)


def _changed(before: Line | None, after: Line, width: int) -> tuple[int, int]:
    """The columns between which two lines differ; the whole line where widths are not plain."""
    if before is None or cells(before) != cells(after):
        return 0, width
    start = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            if old[1] == new[1]:
                same = next(
                    (i for i, (a, b) in enumerate(zip(old[0], new[0], strict=False)) if a != b),
                    min(len(old[0]), len(new[0])),
                )
                start += width_of(new[0][:same])
            break
        start += width_of(new[0])
    end = width
    for old, new in zip(reversed(before), reversed(after), strict=False):
        if old != new:
            if old[1] == new[1]:
                pairs = zip(reversed(old[0]), reversed(new[0]), strict=False)
                same = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
                end -= width_of(new[0][len(new[0]) - same :]) if same else 0
            break
        end -= width_of(new[0])
    start, end = max(start - 1, 0), min(end + 1, width)
    return (start, end) if end > start else (0, width)
