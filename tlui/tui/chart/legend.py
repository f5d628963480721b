"""The line above a chart: its title, what was chosen of it, and what every curve reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlui.tui.chart.axes import clock
from tlui.tui.chart.glyphs import GLYPHS
from tlui.tui.lines import Line, Span, cells, clip

if TYPE_CHECKING:
    from tlui.tui.chart.plot import Curve, Plot

COLOURS = 8


def legend_of(plot: Plot, width: int, height: int) -> list[Line]:
    """The title with what each curve reads at the cursor, or last; wrapped where many."""
    items = [_entry(plot, c) for c in plot.curves]
    flags = _flags(plot)
    title: Line = [(plot.title, "title"), *((f"  {f}", "dim") for f in flags)]
    used = cells(title)
    need = sum(cells(item) + 2 for item in items)
    if not items:
        return [clip(title, width)]
    if used + need <= width:
        gap = width - used - need + 2
        line: Line = [*title, (" " * gap, "")]
        for index, item in enumerate(items):
            line += ([("  ", "")] if index else []) + item
        return [line]
    # read at a crosshair, every value counts more than the height of the curves
    most = max(1, (height - 4) // 4 if plot.cursor is None else height - 6)
    lines: list[Line] = [title]
    row: Line = []
    for index, item in enumerate(items):
        if row and cells(row) + 2 + cells(item) > width:
            if len(lines) == most:
                left = f"  +{len(items) - index}"
                lines.append([*clip(row, width - len(left)), (left, "dim")])
                return lines
            lines.append(row)
            row = []
        row += ([("  ", "")] if row else []) + item
    return [*lines, clip(row, width)] if row else lines


def _flags(plot: Plot) -> list[str]:
    flags = []
    if plot.log_y:
        flags.append("log")
    if plot.log_x:
        flags.append("log x")
    if plot.smoothing:
        flags.append(f"smooth {plot.smoothing:g}".replace("0.", "."))
    if plot.zoom > 1:
        flags.append(f"×{plot.zoom}" if plot.kind != "ascii" else f"x{plot.zoom}")
    if plot.cursor is not None:
        where = clock(plot.cursor) if plot.axis == "time" else f"{plot.cursor:.6g}"
        flags.append(f"{plot.axis} {where}")
    return flags


def _entry(plot: Plot, curve: Curve) -> Line:
    style = f"s{curve.colour % COLOURS}" + ("-raw" if curve.quiet else "")
    sign: list[Span] = []
    if len(plot.curves) > 1:
        glyph = GLYPHS[plot.kind][curve.colour % COLOURS]
        line = "-" if plot.kind == "ascii" else "━"
        sign = [((glyph if not plot.colour else line) + " ", style)]
    elsewhere = ""
    if plot.cursor is None:
        known = np.flatnonzero(np.isfinite(curve.series.values[-64:]))
        value = float(curve.series.values[-64:][known[-1]]) if len(known) else None
    else:
        point = curve.series.at(plot.axis, plot.cursor)
        value = point[1] if point else None
        cell = (plot.frame.x.high - plot.frame.x.low) / max(plot.frame.width, 1)
        if point and not plot.log_x and abs(point[0] - plot.cursor) > max(cell, 1e-9):
            where = clock(point[0]) if plot.axis == "time" else f"{point[0]:.6g}"
            elsewhere = f" @{where}"  # it has no point there: the nearest one is said to be one
    text = ("-" if plot.kind == "ascii" else "–") if value is None else plot.write(value)
    note = f" {curve.note}" if curve.note and plot.cursor is None else elsewhere
    return [
        *sign,
        *([(f"{curve.label} ", "dim")] if curve.label != text else []),
        (text, "value"),
        *([(note, "dim")] if note else []),
    ]
