"""Small photos in half-blocks: two pixels a cell, the upper in the ink, the lower in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlui.runs.text import printable
from tlui.tui.lines import Line, pad, shorten


def half_blocks(pictures: Sequence[tuple[str, Any]], width: int, side: int = 8) -> list[Line]:
    """As many photos side by side as fit, each with its name below.

    Args:
        pictures: Name and uint8 (size, size, 3), size a multiple of `side`.
        width: Cells there are.
        side: Cells across one photo; half as many lines.
    """
    chosen = pictures[: max((width + 1) // (side + 1), 1)]
    small = [shrink(picture, side) for _, picture in chosen]
    lines: list[Line] = []
    for row in range(0, side, 2):
        line: Line = []
        for image in small:
            for top, bottom in zip(image[row], image[row + 1], strict=True):
                line.append(("▀", f"#{_hex(top)} on #{_hex(bottom)}"))
            line.append((" ", ""))
        lines.append(line)
    names: Line = [(pad(shorten(printable(n), side), side + 1), "dim") for n, _ in chosen]
    return [*lines, names]


def shrink(picture: Any, side: int) -> Any:
    """The mean of each square of pixels: uint8 (side, side, 3)."""
    step = max(len(picture) // side, 1)
    cut = picture[: side * step, : side * step].astype(float)
    return cut.reshape(side, step, side, step, 3).mean(axis=(1, 3)).astype("uint8")


def _hex(pixel: Any) -> str:
    return f"{int(pixel[0]):02x}{int(pixel[1]):02x}{int(pixel[2]):02x}"
