"""The chart as a widget: a `Plot` painted as strips, the same keys on every chart.

Arrow keys read values (shift ×10), `y` `Y` log axes, `s` `S` smoothing, `z` `Z` zoom, `[` `]` pan,
`t` the x axis; a click puts the crosshair, the wheel zooms.
Only rows whose characters changed are painted again.
"""

from __future__ import annotations

from textual import events

from tlui.tui.chart.plot import Curve, Plot
from tlui.tui.lines import Line
from tlui.tui.widgets.sheet import Sheet


class LineChart(Sheet, can_focus=True):
    """One chart. Callers change `plot` or call `show`, then `redraw`."""

    def __init__(self, plot: Plot, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.plot = plot

    def show(self, curves: list[Curve]) -> None:
        """Draw these curves from now on."""
        self.plot.curves = curves
        self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        look = self.look
        self.plot.kind = "ascii" if look.ascii else "braille"
        self.plot.colour = look.colour
        lines = self.plot.draw(width - 1, height)
        mark = ("▌", "accent") if self.has_focus else (" ", "")
        if lines and self.has_focus and lines[0]:
            first = lines[0]
            lines[0] = [(first[0][0], "accent"), *first[1:]]
        return [[mark if row == 0 else (" ", ""), *line] for row, line in enumerate(lines)]

    def act(self, action: str) -> bool:
        """Do a chart action of the key table; False where it is none."""
        plot = self.plot
        match action:
            case "cursor_left":
                plot.move(-1)
            case "cursor_right":
                plot.move(1)
            case "cursor_left_far":
                plot.move(-10)
            case "cursor_right_far":
                plot.move(10)
            case "cursor_off":
                plot.cursor = None
            case "log_y":
                plot.log_y = not plot.log_y
            case "log_x":
                plot.log_x = not plot.log_x
            case "smooth_more":
                plot.smooth(1)
            case "smooth_less":
                plot.smooth(-1)
            case "zoom_in":
                plot.zoom_by(1)
            case "zoom_out":
                plot.zoom_by(-1)
            case "pan_left":
                plot.pan(-1)
            case "pan_right":
                plot.pan(1)
            case "x_axis":
                plot.next_axis()
            case _:
                return False
        self.redraw()
        return True

    def on_click(self, event: events.Click) -> None:
        self.plot.point(event.x - 1)
        self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.act("zoom_in")

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.act("zoom_out")
