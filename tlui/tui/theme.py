"""What the style words of lines look like: dark, light, the terminal's own 16 colours, or none.

One accent, dim for the secondary, eight series colours that survive colour blindness (Okabe and
Ito, Color Universal Design, 2008), darkened where they must be read on white. Nothing is said by
colour alone: states carry glyph and word, the best value its `*`, curves their glyph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from rich.style import Style
from textual.theme import Theme as TextualTheme

from tlui.runs.charset import ascii_only

Look = Literal["dark", "light", "ansi", "none"]
LOOKS: tuple[Look, ...] = ("dark", "light", "ansi", "none")

_DARK: dict[str, str] = {
    "": "#d4d8df",
    "title": "bold #d4d8df",
    "value": "#f2f4f8",
    "dim": "#8b94a3",
    "axis": "#737d8c",
    "faint": "#4a5260",
    "accent": "bold #7fb2ff",
    "key": "#7fb2ff",
    "best": "bold #f2f4f8",
    "error": "#ff8f80",
    "warn": "#f0c674",
    "good": "#7fd1a0",
    "cursor": "#aab4c4",
    "sel": "on #232a36",
    "caret": "#12151a on #7fb2ff",
    "bar": "#7fb2ff",
    "rest": "#3a4250",
    "s0": "#56b4e9",
    "s1": "#e69f00",
    "s2": "#009e73",
    "s3": "#cc79a7",
    "s4": "#f0e442",
    "s5": "#d55e00",
    "s6": "#4f8fe0",
    "s7": "#b8bec8",
    "s0-raw": "#2f6a8c",
    "s1-raw": "#845f0b",
    "s2-raw": "#0a5c47",
    "s3-raw": "#764a63",
    "s4-raw": "#8a842c",
    "s5-raw": "#7c3c08",
    "s6-raw": "#30568a",
    "s7-raw": "#6d727a",
}
_LIGHT: dict[str, str] = {
    "": "#22262d",
    "title": "bold #22262d",
    "value": "#0b0d10",
    "dim": "#5c6470",
    "axis": "#6b7480",
    "faint": "#b4bac4",
    "accent": "bold #1b5fc1",
    "key": "#1b5fc1",
    "best": "bold #0b0d10",
    "error": "#b3261e",
    "warn": "#8a5a00",
    "good": "#1a7a46",
    "cursor": "#4a525e",
    "sel": "on #dfe6f1",
    "caret": "#ffffff on #1b5fc1",
    "bar": "#1b5fc1",
    "rest": "#c3cad4",
    "s0": "#1f86be",
    "s1": "#b87a00",
    "s2": "#00805d",
    "s3": "#b0578a",
    "s4": "#8f8500",
    "s5": "#c04f00",
    "s6": "#0060a0",
    "s7": "#3c424b",
    "s0-raw": "#9cc8e2",
    "s1-raw": "#dcc089",
    "s2-raw": "#8cc6b4",
    "s3-raw": "#dab2ca",
    "s4-raw": "#cdc98c",
    "s5-raw": "#e2ad8a",
    "s6-raw": "#8cb4d2",
    "s7-raw": "#a8acb2",
}
_ANSI: dict[str, str] = {
    "": "default",
    "title": "bold",
    "value": "default",
    "dim": "bright_black",
    "axis": "bright_black",
    "faint": "bright_black",
    "accent": "bold cyan",
    "key": "cyan",
    "best": "bold",
    "error": "red",
    "warn": "yellow",
    "good": "green",
    "cursor": "default",
    "sel": "reverse",
    "caret": "black on cyan",
    "bar": "cyan",
    "rest": "bright_black",
    "s0": "bright_cyan",
    "s1": "bright_yellow",
    "s2": "bright_green",
    "s3": "bright_magenta",
    "s4": "yellow",
    "s5": "bright_red",
    "s6": "bright_blue",
    "s7": "default",
    "s0-raw": "cyan",
    "s1-raw": "yellow",
    "s2-raw": "green",
    "s3-raw": "magenta",
    "s4-raw": "bright_black",
    "s5-raw": "red",
    "s6-raw": "blue",
    "s7-raw": "bright_black",
}
_NONE: dict[str, str] = {
    "title": "bold",
    "accent": "bold",
    "best": "bold",
    "error": "bold",
    "sel": "reverse",
    "caret": "not reverse bold underline",
}

BACKGROUND: Mapping[Look, str] = {"dark": "#12151a", "light": "#fbfbfa"}


@dataclass(frozen=True)
class Theme:
    """How this terminal is drawn on."""

    look: Look = "dark"
    ascii: bool = False

    @property
    def colour(self) -> bool:
        """Whether series differ by colour; without it they carry glyphs."""
        return self.look != "none"

    @property
    def ansi(self) -> bool:
        """Whether the terminal's own colours and background are used."""
        return self.look in ("ansi", "none")

    def style(self, words: str) -> Style:
        """The style of one or more words, or of `#rrggbb on #rrggbb`."""
        return _style(self.look, words)


@cache
def _style(look: Look, words: str) -> Style:
    table = {"dark": _DARK, "light": _LIGHT, "ansi": _ANSI, "none": _NONE}[look]
    base = Style.parse(table.get("", "none"))
    if words.startswith("#"):
        return base if look == "none" else Style.parse(words)
    for word in words.split():
        base += Style.parse(table.get(word, "none"))
    return base


def choose(ascii: bool = False, look: str | None = None) -> Theme:
    """The theme this terminal and its user ask for.

    `NO_COLOR` and TERM=dumb give none; $TLUI_THEME or `look` (dark, light, ansi) win over what
    is found out: 16 colours or fewer give ansi, $COLORFGBG with a light background gives light.
    """
    plain = ascii_only(ascii)
    if "NO_COLOR" in os.environ or os.environ.get("TERM") in ("dumb", "unknown"):
        return Theme("none", plain)
    asked = look or os.environ.get("TLUI_THEME")
    for known in LOOKS:
        if asked == known:
            return Theme(known, plain)
    term = os.environ.get("TERM", "")
    rich_colour = os.environ.get("COLORTERM") or "256" in term or term.endswith("-direct")
    if not rich_colour and term.split("-")[0] not in (
        "tmux",
        "kitty",
        "alacritty",
        "foot",
        "iterm",
    ):
        return Theme("ansi", plain)
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return Theme("light" if background in ("7", "15") else "dark", plain)


def textual_theme(kind: str) -> TextualTheme:
    """What Textual's own widgets look like, `dark` or `light`."""
    dark = kind == "dark"
    background = BACKGROUND["dark" if dark else "light"]
    accent = "#7fb2ff" if dark else "#1b5fc1"
    text = "#d4d8df" if dark else "#22262d"
    surface = "#1b2028" if dark else "#eef1f5"
    return TextualTheme(
        name=f"tlui-{kind}",
        primary=accent,
        accent=accent,
        foreground=text,
        background=background,
        surface=surface,
        panel=surface,
        dark=dark,
    )
