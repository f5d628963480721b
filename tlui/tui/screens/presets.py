"""Choosing a preset to start from, and saving the form as one."""

from __future__ import annotations

import os
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from tlui.recipe.place import expanded
from tlui.runs.text import printable
from tlui.tui.draft import Draft
from tlui.tui.lines import Line, pad, shorten
from tlui.tui.screens.modals import Lines, Modal, taken
from tlui.tui.widgets.listing import Listing


class PresetList(Listing):
    """Preset files at hand."""

    DEFAULT_CSS = "PresetList { height: 10; }"

    def __init__(self, paths: list[Path]) -> None:
        super().__init__()
        self.can_focus = False
        self.every = paths
        self.paths = paths
        self.total = len(paths)

    def match(self, text: str) -> None:
        """Show only those whose path holds the text."""
        self.paths = [p for p in self.every if text.lower() in str(p).lower()]
        self.total = len(self.paths)
        self.go(0)
        self.redraw()

    def row_line(self, index: int, width: int, here: bool) -> Line:
        path = self.paths[index]
        sel = " sel" if here else ""
        return [
            ("▌" if here else " ", "accent" + sel),
            (pad(printable(path.stem), 24), ("title" if here else "") + sel),
            (pad(printable(shorten(str(path.parent), width - 26)), width - 26), "dim" + sel),
        ]

    def empty_lines(self, width: int) -> list[Line]:
        return [[(" no preset by that name at hand; enter opens it as a file", "dim")]]


class PresetModal(Modal):
    """Gives the path of the chosen preset."""

    DEFAULT_CSS = "PresetModal > #box { width: 78; }"

    def __init__(self) -> None:
        super().__init__()
        self.listing = PresetList(presets_at_hand())

    def compose(self) -> ComposeResult:
        field = Input(placeholder="part of a name, or a file", id="preset")
        field.cursor_blink = False
        with Vertical(id="box"):
            yield Lines([[("Start from a preset", "title")]])
            yield field
            yield self.listing

    def opened(self) -> None:
        self.set_focus(self.query_one(Input))

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self.listing.match(message.value)

    def pressed(self, key: str, typing: bool) -> bool:
        if key in ("up", "down", "pageup", "pagedown"):
            return self.listing.act({"pageup": "page_up", "pagedown": "page_down"}.get(key, key))
        if key == "enter":
            typed = self.query_one(Input).value.strip()
            if self.listing.paths:
                self.dismiss(str(self.listing.paths[self.listing.cursor]))
            elif typed:
                self.dismiss(os.path.expanduser(typed))  # noqa: PTH111 - never fails
            return True
        return False

    @on(Listing.Chosen)
    def _clicked(self) -> None:
        self.pressed("enter", False)


def presets_at_hand() -> list[Path]:
    """Presets in the current folder and its `presets`, then those that came with tlui."""
    from tlui.recipe.bundled import bundled_presets

    here = [*sorted(Path.cwd().glob("*.toml")), *sorted(Path("presets").absolute().glob("*.toml"))]
    here = [path for path in here if path.name not in ("pyproject.toml", "config.toml")]
    found = [*here, *bundled_presets()]
    return list({path.resolve(): path for path in found}.values())


class SaveModal(Modal):
    """Asks for a file name and writes the form to it."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft

    def compose(self) -> ComposeResult:
        field = Input(value=f"{self.draft.text('name') or 'preset'}.toml", id="file")
        field.cursor_blink = False
        with Vertical(id="box"):
            yield Lines([[("Save as a preset", "title")]])
            yield field
            yield Lines([[]], id="problem")
            yield Lines([[("enter", "key"), (" save   ", "dim"), ("esc", "key"), (" no", "dim")]])

    def opened(self) -> None:
        field = self.query_one(Input)
        self.set_focus(field)
        field.cursor_position = len(field.value)

    @on(Input.Submitted)
    def _save(self, message: Input.Submitted) -> None:
        name = message.value.strip()
        problem = taken(name) if name else "name a file"
        if not problem:
            path, toml = expanded(name), self.draft.toml()
            self.tlui.work_on("save", lambda: save(path, toml))
            self.dismiss(None)
            return
        shown = self.query_one("#problem", Lines)
        shown.text = [[(problem, "error")]]
        shown.redraw()


def save(path: Path, toml: str) -> tuple[str, str]:
    """Write a preset; may block.

    Raises:
        TluiError: It cannot be written, or such a file is there by now.
    """
    from tlui.runs import export

    export.save(str(path), False, lambda out: out.write(toml))
    return str(path), f"saved {path}"
