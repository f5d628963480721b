"""Lines of styled text, before any terminal: what panes build and widgets paint.

A line is a list of `(text, style)` where the style is a word the theme knows (`dim`, `accent`,
`s3` …) or `#rrggbb on #rrggbb`. Widths are terminal cells, so wide characters count two.
Text is taken literally: nothing here reads markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
Line = list[Span]


def width_of(text: str) -> int:
    """Cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def cells(line: Line) -> int:
    """Cells a line takes."""
    return sum(width_of(text) for text, _ in line)


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` cells, its end replaced by `…` where it does not fit."""
    if width_of(text) <= width:
        return text
    if width <= len(ellipsis):
        return set_cell_size(text, max(width, 0)).rstrip() if width > 0 else ""
    return set_cell_size(text, width - len(ellipsis)).rstrip() + ellipsis


def tail_of(text: str, width: int) -> str:
    """The end of a text, in at most `width` cells."""
    while text and width_of(text) > width:
        text = text[1:]
    return text


def pad(text: str, width: int, right: bool = False, ellipsis: str = "…") -> str:
    """`text` in exactly `width` cells, to the left or right of its column."""
    text = shorten(text, width, ellipsis)
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def clip(line: Line, width: int, ellipsis: str = "…") -> Line:
    """A line cut to `width` cells, with `…` where something was lost."""
    if cells(line) <= width:
        return line
    out: Line = []
    room = width
    for text, style in line:
        size = width_of(text)
        if size < room or (size == room and (text, style) == line[-1]):
            out.append((text, style))
            room -= size
            continue
        out.append((shorten(text + " ", room, ellipsis), style))
        break
    return out


def fill(line: Line, width: int, style: str = "") -> Line:
    """A line made exactly `width` cells wide."""
    line = clip(line, width)
    space = width - cells(line)
    return [*line, (" " * space, style)] if space > 0 else line


def ends(left: Line, right: Line, width: int) -> Line:
    """Two texts at the two ends of a line, at least a blank between; the left one gives way."""
    space = width - cells(right)
    if space <= 0:
        return clip(right, width)
    return [*fill(left, space - 1), (" ", ""), *right]


def side_by_side(blocks: Sequence[tuple[list[Line], int]], gap: int = 2) -> list[Line]:
    """Blocks of lines next to each other, each in its width."""
    height = max((len(lines) for lines, _ in blocks), default=0)
    out: list[Line] = []
    for row in range(height):
        line: Line = []
        for index, (lines, width) in enumerate(blocks):
            part = lines[row] if row < len(lines) else []
            last = index == len(blocks) - 1
            line += clip(part, width) if last else [*fill(part, width), (" " * gap, "")]
        out.append(line)
    return out


def wrap(text: str, width: int) -> list[str]:
    """Words of a sentence over lines of at most `width` cells; a longer word is cut."""
    out: list[str] = []
    line = ""
    for word in text.split():
        while width_of(word) > width > 0:
            if line:
                out.append(line)
                line = ""
            head = set_cell_size(word, width).rstrip()
            out.append(head)
            word = word[len(head) :]
        if line and width_of(line) + 1 + width_of(word) > width:
            out.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*out, line] if line else out or [""]


def plain(lines: list[Line]) -> str:
    """Lines as text, for tests and for copying."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
