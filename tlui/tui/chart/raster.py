"""From curves to characters: braille, half-block and ASCII canvases.

A trace is a curve cut into pixel columns, each with the lowest and highest pixel row it touches
(rows count upwards from the bottom). Neighbouring columns are joined where no gap lies between
them. Pure functions over arrays; nothing here knows of colours or of Textual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tlui.tui.chart.data import Floats

Ints = NDArray[np.int64]
Kind = Literal["braille", "half", "ascii"]

FAR = 1 << 30
EMPTY = -1
RULE = 1 << 20
"""Owner of cells that hold nothing but the crosshair."""


@dataclass(frozen=True)
class Cell:
    """How a canvas cell is divided: pixels across and up, and the character for each pattern."""

    across: int
    up: int
    characters: str
    """Indexed by the sum of 2**(row_from_top * across + column) over lit pixels."""


def _braille() -> str:
    dots = {
        (0, 0): 1,
        (1, 0): 2,
        (2, 0): 4,
        (0, 1): 8,
        (1, 1): 16,
        (2, 1): 32,
        (3, 0): 64,
        (3, 1): 128,
    }
    out = []
    for code in range(256):
        bits = sum(dots[divmod(i, 2)] for i in range(8) if code >> i & 1)
        out.append(chr(0x2800 + bits) if bits else " ")
    return "".join(out)


CELLS: dict[Kind, Cell] = {
    "braille": Cell(2, 4, _braille()),
    "half": Cell(1, 2, " ▀▄█"),
    # three heights a cell: top ', middle -, bottom _ ; anything steeper is a bar
    "ascii": Cell(1, 3, " '-|_|||"),
}
_POINTS = {
    kind: np.array([ord(c) for c in cell.characters], dtype="<u4") for kind, cell in CELLS.items()
}


@dataclass(frozen=True)
class Trace:
    """Lowest and highest lit row of each pixel column; `low > high` where there is nothing."""

    low: Ints
    high: Ints


def trace(x: Floats, low: Floats, high: Floats, width: int, height: int) -> Trace:
    """A curve as pixel columns.

    Args:
        x: Position of each bucket as a fraction of the width, rising; may lie outside 0..1.
        low: Lower end of each bucket as a fraction of the height; NaN for a gap.
        high: Upper end, likewise.
        width: Pixels across.
        height: Pixels up.
    """
    nothing = Trace(np.full(width, height + 1), np.full(width, EMPTY))
    gap = np.isnan(low) | np.isnan(high) | np.isnan(x)
    if not len(x) or gap.all():
        return nothing
    stretch = np.cumsum(gap)
    keep = ~gap
    stretch = stretch[keep]
    at = np.clip(np.floor(x[keep] * width), -FAR, FAR).astype(np.int64)
    at[(at == width) & (x[keep] <= 1.0)] = width - 1
    bottom = np.clip(low[keep] * (height - 1), -FAR, FAR)
    top = np.clip(high[keep] * (height - 1), -FAR, FAR)

    starts = np.flatnonzero(np.r_[True, np.diff(at) != 0])
    ends = np.r_[starts[1:], len(at)] - 1
    column = at[starts]
    middle = (bottom + top) / 2
    first, last = middle[starts], middle[ends]
    joined = stretch[ends[:-1]] == stretch[starts[1:]]

    lows, highs = np.full(width, np.nan), np.full(width, np.nan)
    inside = (column >= 0) & (column < width)
    lows[column[inside]] = np.minimum.reduceat(bottom, starts)[inside]
    highs[column[inside]] = np.maximum.reduceat(top, starts)[inside]
    taken = np.zeros(width, dtype=bool)
    taken[column[inside]] = True

    free = np.flatnonzero(~taken)
    right = np.searchsorted(column, free)
    between = (right > 0) & (right < len(column))
    between[between] = joined[right[between] - 1]
    free, right = free[between], right[between]
    left = right - 1
    along = (free - column[left]) / (column[right] - column[left])
    lows[free] = highs[free] = last[left] + (first[right] - last[left]) * along

    some = ~np.isnan(lows)
    low_row = np.where(some, np.floor(np.where(some, lows, 0) + 0.5), height + 1).astype(np.int64)
    high_row = np.where(some, np.floor(np.where(some, highs, 0) + 0.5), EMPTY).astype(np.int64)
    linked = some[:-1] & some[1:]
    broken = column[:-1][~joined & (np.diff(column) == 1)]
    linked[broken[(broken >= 0) & (broken < width - 1)]] = False
    return _join(low_row, high_row, linked)


def _join(low: Ints, high: Ints, linked: NDArray[np.bool_]) -> Trace:
    """Lengthen linked neighbours towards each other until they touch."""
    new_low, new_high = low.copy(), high.copy()
    left, right = slice(None, -1), slice(1, None)
    rising = linked & (low[right] - high[left] > 1)
    middle = (high[left] + low[right]) // 2
    new_high[left] = np.where(rising, np.maximum(new_high[left], middle), new_high[left])
    new_low[right] = np.where(rising, np.minimum(new_low[right], middle + 1), new_low[right])
    falling = linked & (low[left] - high[right] > 1)
    middle = (low[left] + high[right]) // 2
    new_low[left] = np.where(falling, np.minimum(new_low[left], middle + 1), new_low[left])
    new_high[right] = np.where(falling, np.maximum(new_high[right], middle), new_high[right])
    return Trace(new_low, new_high)


class Canvas:
    """A grid of cells that traces are drawn on; each cell remembers who drew on it last."""

    def __init__(self, width: int, height: int, kind: Kind = "braille") -> None:
        self.kind: Kind = kind
        self.cell = CELLS[kind]
        self.width, self.height = width, height
        self._codes = np.zeros((height, width), dtype=np.int64)
        self.owner = np.full((height, width), EMPTY, dtype=np.int64)
        self._glyphs: dict[tuple[int, int], str] = {}

    @property
    def pixels(self) -> tuple[int, int]:
        """Pixels across and up."""
        return self.width * self.cell.across, self.height * self.cell.up

    def draw(self, curve: Trace, owner: int) -> None:
        """Light a trace's pixels and take the cells it touches for `owner` (≥ 0)."""
        across, up = self.cell.across, self.cell.up
        rows = np.arange(self.height * up - 1, -1, -1)[:, None]
        lit = (rows >= curve.low) & (rows <= curve.high)
        blocks = lit.reshape(self.height, up, self.width, across)
        codes = np.zeros((self.height, self.width), dtype=np.int64)
        for row in range(up):
            for column in range(across):
                codes += blocks[:, row, :, column].astype(np.int64) << (row * across + column)
        self._codes |= codes
        self.owner[codes > 0] = owner

    def mark(self, curve: Trace, owner: int, glyph: str, every: int, offset: int) -> None:
        """Put a glyph on a trace every few cells, so that it is told apart without colour."""
        for x in range(offset % every, self.width, every):
            pixel = x * self.cell.across
            low, high = int(curve.low[pixel]), int(curve.high[pixel])
            if low > high:
                continue
            row = self.height - 1 - ((low + high) // 2) // self.cell.up
            if 0 <= row < self.height:
                self._glyphs[row, x] = glyph
                self.owner[row, x] = owner

    def rule(self, column: int, glyph: str) -> None:
        """A vertical line through the cells of a column that are still empty."""
        for row in range(self.height):
            if self._codes[row, column] == 0 and (row, column) not in self._glyphs:
                self._glyphs[row, column] = glyph
                self.owner[row, column] = RULE

    def rows(self) -> list[str]:
        """The canvas as text, top row first, blanks as spaces."""
        points = _POINTS[self.kind][self._codes]
        rows = [row.tobytes().decode("utf-32-le") for row in points]
        for (y, x), glyph in self._glyphs.items():
            rows[y] = rows[y][:x] + glyph + rows[y][x + 1 :]
        return rows

    def spans(self, row: str, y: int) -> list[tuple[str, int]]:
        """A row cut where its owner changes; blanks go with what is left of them."""
        owner = self.owner[y]
        drawn = np.flatnonzero(owner != EMPTY)
        if not len(drawn):
            return [(row, EMPTY)]
        changes = np.flatnonzero(np.diff(owner[drawn])) + 1
        starts = drawn[np.r_[0, changes]]
        if starts[0] > 0 and row[: starts[0]].strip():
            cuts = [(0, EMPTY), *((int(s), int(owner[s])) for s in starts)]
        else:
            cuts = [(0 if i == 0 else int(s), int(owner[s])) for i, s in enumerate(starts)]
        ends = [start for start, _ in cuts[1:]] + [len(row)]
        return [(row[start:end], who) for (start, who), end in zip(cuts, ends, strict=True)]
