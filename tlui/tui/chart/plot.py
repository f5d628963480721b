"""A chart as lines of text: curves, axes, legend, zoom and crosshair. Knows nothing of Textual.

A `Plot` holds what a person chose (axes, smoothing, window, cursor) and the curves; `draw` gives
lines of `(text, style)` where the style is a word: `axis`, `title`, `s3` for the fourth series,
`s3-raw` for its unsmoothed curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tlui.tui.chart.axes import (
    Scale,
    calm,
    clock,
    linear_ticks,
    log_ticks,
    scale_for,
    tick_text,
    x_ticks,
)
from tlui.tui.chart.data import X_AXES, Pyramid, Series, XAxis
from tlui.tui.chart.glyphs import GLYPHS
from tlui.tui.chart.legend import COLOURS, legend_of
from tlui.tui.chart.raster import CELLS, EMPTY, RULE, Canvas, Kind, trace
from tlui.tui.lines import Line

SMOOTHINGS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97)
ZOOMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MARK_EVERY = 12


@dataclass
class Curve:
    """One line of a plot."""

    label: str
    series: Series
    colour: int = 0
    """0-7: the index of its colour and of its glyph."""
    quiet: bool = False
    """Drawn thin and dim, below the others (training beside validation)."""
    note: str = ""
    """Shown after its value in the legend, such as `(best)`."""


@dataclass
class Frame:
    """Where the last drawing put its canvas, for clicks and cursor moves."""

    left: int = 0
    top: int = 0
    width: int = 1
    height: int = 1
    x: Scale = field(default_factory=lambda: Scale(0.0, 1.0))


@dataclass
class Plot:
    """A chart's curves and everything that can be chosen about it."""

    title: str
    curves: list[Curve] = field(default_factory=list)
    kind: Kind = "braille"
    colour: bool = True
    """Without colour each curve carries its glyph."""
    axis: XAxis = "epoch"
    log_y: bool = False
    log_x: bool = False
    smoothing: float = 0.0
    zoom: int = 1
    """Shows 1/zoom of the x range."""
    centre: float = 1.0
    """Middle of the window as a fraction of the x range."""
    cursor: float | None = None
    """Crosshair, in units of x."""
    write: Callable[[float], str] = field(default=lambda v: f"{v:.4g}")
    """How a value of y is written in the legend."""
    floor: float | None = None
    """y never reaches below this (0 for what cannot be negative)."""
    frame: Frame = field(default_factory=Frame)

    # -- choices ------------------------------------------------------------

    def next_axis(self) -> None:
        """Epoch, then step, then time; the window and cursor start anew."""
        self.axis = X_AXES[(X_AXES.index(self.axis) + 1) % len(X_AXES)]
        self.zoom, self.centre, self.cursor = 1, 1.0, None

    def smooth(self, by: int) -> None:
        """More (`1`) or less (`-1`) smoothing."""
        near = min(range(len(SMOOTHINGS)), key=lambda i: abs(SMOOTHINGS[i] - self.smoothing))
        self.smoothing = SMOOTHINGS[min(max(near + by, 0), len(SMOOTHINGS) - 1)]

    def zoom_by(self, by: int) -> None:
        """Closer (`1`) or wider (`-1`) about the cursor, else about the newest points."""
        low, high = self._extent()
        if self.cursor is not None and high > low:
            whole = calm(self._whole(low, high), low=False)
            self.centre = float(whole.fraction(np.array([self.cursor]))[0])
        near = ZOOMS.index(self.zoom) + by
        self.zoom = ZOOMS[min(max(near, 0), len(ZOOMS) - 1)]

    def pan(self, by: int) -> None:
        """Move the window right (`1`) or left (`-1`) by half of what it shows."""
        half = 0.5 / self.zoom
        middle = min(max(self.centre, half), 1 - half)
        self.centre = min(max(middle + by * half, half), 1 - half)

    def move(self, by: int) -> None:
        """Move the crosshair by `by` cells, or to the next point where points are further apart."""
        frame = self.frame
        low, high = self._extent()
        if not self._points():
            return
        if self.cursor is None:
            self.cursor = frame.x.high if by < 0 else frame.x.low
            self.cursor = min(max(self.cursor, low), high)
            if abs(by) == 1:
                self._snap()
                return
        here = float(frame.x.fraction(np.array([self.cursor]))[0])
        aim = frame.x.value(here + by / max(frame.width, 1))
        ahead = self._nearest_beyond(aim, by > 0)
        if ahead is None:
            ahead = high if by > 0 else low
        if abs(by) > 1:
            ahead = min(max(aim, low), high)
        self.cursor = ahead
        self._snap()
        self._follow()

    def point(self, column: int) -> None:
        """Put the crosshair at a column of the drawing (a click)."""
        frame = self.frame
        if self._points() and 0 <= column - frame.left < frame.width:
            self.cursor = frame.x.value((column - frame.left + 0.5) / frame.width)
            self._snap()

    def _snap(self) -> None:
        cursor = self.cursor
        if cursor is None:
            return
        found = [point for c in self.curves if (point := c.series.at(self.axis, cursor))]
        if found:
            self.cursor = min((p[0] for p in found), key=lambda x: abs(x - cursor))

    def _nearest_beyond(self, x: float, forward: bool) -> float | None:
        best: list[float] = []
        for curve in self.curves:
            xs = curve.series.timeline.x(self.axis)[: len(curve.series)]
            at = int(np.searchsorted(xs, x, "left" if forward else "right"))
            at = at if forward else at - 1
            if 0 <= at < len(xs):
                best.append(float(xs[at]))
        if not best:
            return None
        return min(best) if forward else max(best)

    def _follow(self) -> None:
        """Pan so that the crosshair stays in the window."""
        if self.cursor is None or self.zoom == 1:
            return
        low, high = self._extent()
        at = float(calm(self._whole(low, high), low=False).fraction(np.array([self.cursor]))[0])
        half = 0.5 / self.zoom
        middle = min(max(self.centre, half), 1 - half)
        if at < middle - half:
            self.centre = at + half
        elif at > middle + half:
            self.centre = at - half

    # -- drawing ------------------------------------------------------------

    def _points(self) -> bool:
        return any(len(c.series) for c in self.curves)

    def _extent(self) -> tuple[float, float]:
        """Smallest and largest x of all curves."""
        low, high = math.inf, -math.inf
        for curve in self.curves:
            xs = curve.series.timeline.x(self.axis)[: len(curve.series)]
            if self.log_x:
                xs = xs[int(np.searchsorted(xs, 0, "right")) :]
            if len(xs):
                low, high = min(low, float(xs[0])), max(high, float(xs[-1]))
        return low, high

    def _whole(self, low: float, high: float) -> Scale:
        if self.axis == "epoch" and not self.log_x and low <= 1.5:
            low = min(low, 0.0) if low < 1 else 1.0
        return scale_for(low, high, self.log_x, pad=0.0)

    def window(self) -> Scale:
        """The part of x that is shown."""
        whole = calm(self._whole(*self._extent()), low=False)
        if self.zoom == 1:
            return whole
        half = 0.5 / self.zoom
        middle = min(max(self.centre, half), 1 - half)
        return replace(whole, low=whole.value(middle - half), high=whole.value(middle + half))

    def draw(self, width: int, height: int) -> list[Line]:
        """The chart in `height` lines of `width` cells; the title and legend come first."""
        legend = legend_of(self, width, height)
        rows = height - len(legend)
        axis_rows = 2 if rows >= 5 else 0
        rows -= axis_rows
        if rows < 1 or width < 12:
            return legend[:height]
        if not self._points():
            middle = rows // 2
            empty: list[Line] = [[] for _ in range(rows + axis_rows)]
            empty[middle] = [("  no points yet", "dim")]
            self.frame = Frame(0, len(legend), width, rows)
            return legend + empty
        x = self.window()
        spread = width * CELLS[self.kind].across
        pieces = [self._pieces(c, x, spread) for c in self.curves]
        y = self._y_scale(pieces)
        labels = self._y_ticks(y, rows)
        gutter = max((len(t) for t in labels.values()), default=0) + 2
        canvas = Canvas(width - gutter, rows, self.kind)
        self._paint(canvas, pieces, x, y)
        self.frame = Frame(gutter, len(legend), canvas.width, rows, x)
        if self.cursor is not None:
            at = float(x.fraction(np.array([self.cursor]))[0])
            column = int(at * canvas.width) if at < 1 else canvas.width - 1
            if 0 <= column < canvas.width:
                canvas.rule(column, "|" if self.kind == "ascii" else "│")
        body: list[Line] = []
        wall, tick = ("|", "+") if self.kind == "ascii" else ("│", "┤")
        for row, text in enumerate(canvas.rows()):
            label = labels.get(row)
            left = f"{label or '':>{gutter - 2}} {tick if label else wall}"
            spans: Line = [(left, "axis")]
            spans += [(part, self._style(owner)) for part, owner in canvas.spans(text, row)]
            body.append(spans)
        if axis_rows:
            body += self._x_axis(x, gutter, canvas.width)
        return legend + body

    def _style(self, owner: int) -> str:
        if owner == EMPTY:
            return ""
        if owner == RULE:
            return "cursor"
        curve = self.curves[owner // 2]
        faint = owner % 2 == 0 or curve.quiet
        return f"s{curve.colour % COLOURS}" + ("-raw" if faint else "")

    def _pieces(self, curve: Curve, x: Scale, most: int) -> list[tuple[int, _Piece]]:
        """What is drawn of a curve: its raw buckets, and its smoothed ones above them."""
        smooth = curve.series.smoothed(self.smoothing)
        out = []
        if self.smoothing > 0:
            out.append((0, _cut(curve.series.pyramid, curve.series, self.axis, x, most)))
        out.append((1, _cut(smooth, curve.series, self.axis, x, most)))
        return out

    def _y_scale(self, pieces: Sequence[list[tuple[int, _Piece]]]) -> Scale:
        low, high = math.inf, -math.inf
        for parts in pieces:
            for _, piece in parts:
                lows = piece.low[piece.low > 0] if self.log_y else piece.low
                if len(lows) and not np.isnan(lows).all():
                    low = min(low, float(np.nanmin(lows)))
                    high = max(high, float(np.nanmax(piece.high)))
        scale = calm(scale_for(low, high, self.log_y))
        if self.floor is not None and not self.log_y and scale.low < self.floor <= low:
            scale = replace(scale, low=self.floor)
        return scale

    def _y_ticks(self, y: Scale, rows: int) -> dict[int, str]:
        most = max(2, rows // 2 if rows <= 12 else rows // 3)
        make = log_ticks if self.log_y else linear_ticks
        ticks = make(y.low, y.high, most)
        labels: dict[int, str] = {}
        for value in ticks:
            at = float(y.fraction(np.array([value]))[0])
            up = CELLS[self.kind].up
            row = rows - 1 - int(at * (rows * up - 1) + 0.5) // up
            if 0 <= row < rows:
                labels[row] = tick_text(value, [value] if self.log_y else ticks)
        return labels

    def _paint(
        self, canvas: Canvas, pieces: Sequence[list[tuple[int, _Piece]]], x: Scale, y: Scale
    ) -> None:
        across, up = canvas.pixels
        order = sorted(range(len(self.curves)), key=lambda i: not self.curves[i].quiet)
        traces = []
        for level in (0, 1):
            for index in order:
                for bright, piece in pieces[index]:
                    if bright != level:
                        continue
                    curve = trace(
                        x.fraction(piece.x),
                        y.fraction(piece.low),
                        y.fraction(piece.high),
                        across,
                        up,
                    )
                    canvas.draw(curve, index * 2 + bright)
                    if bright:
                        traces.append((index, curve))
        if not self.colour and len(self.curves) > 1:
            glyphs = GLYPHS[self.kind]
            for index, curve in traces:
                colour = self.curves[index].colour % COLOURS
                offset = 2 + colour * 5
                canvas.mark(curve, index * 2 + 1, glyphs[colour], MARK_EVERY, offset)

    def _x_axis(self, x: Scale, gutter: int, width: int) -> list[Line]:
        plain = self.kind == "ascii"
        corner, dash, down = ("+", "-", "+") if plain else ("└", "─", "┬")
        name = {"step": "step", "epoch": "epoch", "time": "time"}[self.axis]
        if self.log_x:
            ticks = log_ticks(x.low, x.high, max(2, width // 9))
        else:
            ticks = x_ticks(x, self.axis, max(2, width // 9))
        rule = [dash] * width
        labels = [" "] * (gutter + width)
        labels[len(labels) - len(name) :] = name
        room = len(labels) - len(name) - 1
        used = 0
        for value in ticks:
            at = float(x.fraction(np.array([value]))[0])
            column = min(int(at * width), width - 1)
            rule[column] = down
            text = (
                clock(value)
                if self.axis == "time"
                else tick_text(value, [value] if self.log_x else ticks)
            )
            start = max(gutter + column - (len(text) - 1) // 2, used)
            if start + len(text) <= room and start - (gutter + column) <= 1:
                labels[start : start + len(text)] = text
                used = start + len(text) + 1
        return [
            [(" " * (gutter - 1) + corner + "".join(rule), "axis")],
            [("".join(labels), "axis")],
        ]


@dataclass(frozen=True)
class _Piece:
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _cut(pyramid: Pyramid, series: Series, axis: XAxis, x: Scale, most: int) -> _Piece:
    """The buckets of a curve in the window and one on each side, so that lines run off its edge."""
    xs = series.timeline.x(axis)[: len(pyramid)]
    start = int(np.searchsorted(xs, x.low, "left")) - 1
    stop = int(np.searchsorted(xs, x.high, "right")) + 1
    buckets = pyramid.buckets(start, stop, most)
    return _Piece(xs[buckets.first], buckets.low, buckets.high)
