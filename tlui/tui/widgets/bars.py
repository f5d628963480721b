"""The first and the last line of every screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlui.tui.lines import Line, cells, clip, ends
from tlui.tui.widgets.sheet import Sheet


class HeaderBar(Sheet):
    """Where am I, devices in five words, what is running."""

    DEFAULT_CSS = "HeaderBar { dock: top; height: 1; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.place: Line = []
        self.right: Line | None = None
        """Shown in place of devices and counts, such as the state of the run on screen."""
        self.devices = ""
        self.counts: Mapping[str, int] = {}

    def build(self, width: int, height: int) -> list[Line]:
        left: Line = [(" tlui", "accent"), ("  ", ""), *self.place]
        right = self.right if self.right is not None else self._store(width)
        return [ends(left, [*right, (" ", "")], width)]

    def _store(self, width: int) -> Line:
        parts = count_words(self.counts)
        line: Line = [(self.devices, "dim")] if self.devices and width >= 60 else []
        if parts:
            line += [("    " if line else "", ""), (parts, "")]
        return line


def count_words(counts: Mapping[str, int]) -> str:
    """`1 running  2 queued`; empty where nothing is going on."""
    running = sum(counts.get(s, 0) for s in ("starting", "running", "evaluating"))
    words = [
        f"{n} {word}"
        for n, word in (
            (running, "running"),
            (counts.get("queued", 0), "queued"),
            (counts.get("stale", 0), "stale"),
        )
        if n
    ]
    return "  ".join(words)


class FooterBar(Sheet):
    """The keys that matter here and now; or the outcome of what was just done."""

    DEFAULT_CSS = "FooterBar { dock: bottom; height: 1; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.keys: Sequence[tuple[str, str]] = ()
        self.word: tuple[str, str] | None = None

    def say(self, text: str, style: str = "") -> None:
        """Show a sentence until the next key."""
        self.word = (text, style)
        self.redraw()

    def hush(self) -> None:
        if self.word is not None:
            self.word = None
            self.redraw()

    def build(self, width: int, height: int) -> list[Line]:
        if self.word is not None:
            return [clip([(" ", ""), self.word], width)]
        line: Line = [(" ", "")]
        last: Line = []
        if self.keys:
            last = [(self.keys[-1][0], "key"), (f" {self.keys[-1][1]}", "dim")]
        for key, word in self.keys[:-1]:
            part: Line = [(key, "key"), (f" {word}  ", "dim")]
            if cells(line) + cells(part) + cells(last) > width:
                break
            line += part
        return [[*line, *last]]
