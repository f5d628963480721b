"""Small windows over a screen: help, palette, confirm. Each paints only its own box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from tlui.errors import TluiError
from tlui.recipe.place import expanded
from tlui.runs.text import printable
from tlui.tui.keys import SCOPES, Key, shown_key
from tlui.tui.lines import Line, cells, ends, pad, wrap
from tlui.tui.screens.framed import pressed_key
from tlui.tui.widgets.listing import Listing
from tlui.tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tlui.tui.app import TluiApp


class Modal(ModalScreen[Any]):
    """A box in the middle; escape closes it with nothing chosen."""

    AUTO_FOCUS = None
    SCOPES: ClassVar[tuple[str, ...]] = ("list",)
    DEFAULT_CSS = """
    Modal { align: center middle; }
    Modal > #box {
        width: 64; max-width: 96%; height: auto; max-height: 90%; padding: 0 1;
        border: round $accent; background: $background;
    }
    Modal.ascii > #box { border: ascii $accent; }
    App:ansi Modal > #box { background: ansi_default; border: round ansi_cyan; }
    App:ansi Modal.ascii > #box { border: ascii ansi_cyan; }
    App:nocolor Modal > #box { border: round ansi_default; }
    App:nocolor Modal.ascii > #box { border: ascii ansi_default; }
    Modal Input { margin: 0; }
    """

    @property
    def tlui(self) -> TluiApp:
        """The app."""
        return cast("TluiApp", self.app)

    def on_mount(self) -> None:
        self.set_class(self.tlui.look.ascii, "ascii")
        self.opened()

    def opened(self) -> None:
        """For subclasses: what is focused first."""

    def on_key(self, event: events.Key) -> None:
        typing = isinstance(self.focused, Input)
        pressed = pressed_key(event)
        if pressed == "escape" or (not typing and pressed in ("q", "?")):
            event.stop()
            self.dismiss(None)
            return
        if self.pressed(pressed, typing):
            event.stop()
            event.prevent_default()
            return
        key = self.tlui.keys.find(pressed, self.SCOPES)
        if key is not None and not (typing and event.is_printable):
            target = next(iter(self.query(Listing)), None)
            if target is not None and target.act(key.action):
                event.stop()
                event.prevent_default()

    def pressed(self, key: str, typing: bool) -> bool:
        """A key of this window; True where it was one."""
        return False


class Lines(Sheet):
    """Fixed lines in a box, as high as they are many."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, lines: Sequence[Line], id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = list(lines)
        self.styles.height = max(len(self.text), 1)

    def build(self, width: int, height: int) -> list[Line]:
        return self.text


def taken(name: str) -> str:
    """Why no new file can be written under a name; '' where one can."""
    try:
        exists = expanded(name).exists()
    except (OSError, TluiError) as error:
        return getattr(error, "strerror", None) or str(error)
    return "exists already; choose another name" if exists else ""


class Answers(Lines):
    """The last line of a question; a click on an answer gives it."""

    class Clicked(Message):
        """Yes or no was clicked."""

        def __init__(self, yes: bool) -> None:
            super().__init__()
            self.yes = yes

    def __init__(self, word: str, enter: bool) -> None:
        also: Line = [(" or ", "dim"), ("enter", "key")] if enter else []
        yes: Line = [("y", "key"), *also, (f" {word}", "")]
        no: Line = [("n", "key"), (" no", "dim")]
        super().__init__([[*yes, ("   ", ""), *no]])
        self.yes_ends = cells(yes)
        self.no_begins = self.yes_ends + 3

    def on_click(self, event: events.Click) -> None:
        if event.x < self.yes_ends:
            self.post_message(self.Clicked(True))
        elif self.no_begins <= event.x < cells(self.text[0]):
            self.post_message(self.Clicked(False))


class ConfirmModal(Modal):
    """A question; True when it was answered with yes.

    Enter, which also opens a row, answers nothing that cannot be undone: only where `enter` says
    so, and then the window does.
    """

    def __init__(
        self, question: str, text: Sequence[str], word: str, *, enter: bool = False
    ) -> None:
        super().__init__()
        self.question, self.word = printable(question), word
        self.text = [printable(sentence) for sentence in text]
        self.enter = enter

    def compose(self) -> ComposeResult:
        lines: list[Line] = [[(part, "title")] for part in wrap(self.question, 58)]
        lines += [[(part, "")] for sentence in self.text for part in wrap(sentence, 58)]
        with Vertical(id="box"):
            yield Lines([*lines, []])
            yield Answers(self.word, self.enter)

    def pressed(self, key: str, typing: bool) -> bool:
        if key in ("y", "Y") or (key == "enter" and self.enter):
            self.dismiss(True)
        elif key in ("n", "N"):
            self.dismiss(False)
        else:
            return False
        return True

    @on(Answers.Clicked)
    def _clicked(self, message: Answers.Clicked) -> None:
        self.dismiss(message.yes)


class TextList(Listing):
    """Lines to scroll through; the cursor is only a place."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self.text = list(lines)
        self.total = len(self.text)

    def build(self, width: int, height: int) -> list[Line]:
        self.top = min(self.top, max(self.total - height, 0))
        return self.text[self.top : self.top + height]

    def act(self, action: str) -> bool:
        step = {"up": -1, "down": 1, "page_up": -self.page, "page_down": self.page}.get(action)
        if action in ("first", "last"):
            step = -self.total if action == "first" else self.total
        if step is None:
            return False
        self.top = min(max(self.top + step, 0), max(self.total - self.size.height, 0))
        self.redraw()
        return True


class HelpModal(Modal):
    """Every key that works here, from the key table."""

    DEFAULT_CSS = """
    HelpModal > #box { width: 76; height: 90%; }
    """

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__()
        self.scopes = tuple(scopes)

    def compose(self) -> ComposeResult:
        lines: list[Line] = []
        table = self.tlui.keys
        for scope in self.scopes:
            for title, rows in table.help((scope,)):
                lines.append([(title, "accent")])
                for keys, text in rows:
                    for part in wrap(text, 50):
                        lines.append([(" " + pad(keys, 20) + " ", "key"), (part, "")])
                        keys = ""
                lines.append([])
        with Vertical(id="box"):
            yield Lines([ends([("Keys", "title")], [("esc closes  ↑↓ scroll", "dim")], 72)])
            yield TextList(lines)

    def opened(self) -> None:
        self.set_focus(self.query_one(TextList))


class CommandList(Listing):
    """Actions that match what was typed."""

    DEFAULT_CSS = "CommandList { height: 14; }"

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Key] = []
        self.can_focus = False

    def row_line(self, index: int, width: int, here: bool) -> Line:
        key = self.found[index]
        sel = " sel" if here else ""
        name = key.action.replace("_", " ")
        return [
            ("▌" if here else " ", "accent" + sel),
            (pad(name, 18), ("title" if here else "") + sel),
            (pad(shown_key(key), 9), "key" + sel),
            (pad(key.help, max(width - 28, 0)), "dim" + sel),
        ]

    def empty_lines(self, width: int) -> list[Line]:
        return [[(" nothing by that name", "dim")]]


class PaletteModal(Modal):
    """Every action that works here, found by a few letters; gives the action's name."""

    DEFAULT_CSS = """
    PaletteModal > #box { width: 78; }
    """

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__()
        self.scopes = tuple(scopes)
        self.listing = CommandList()

    def compose(self) -> ComposeResult:
        field = Input(placeholder="what to do", id="command")
        field.cursor_blink = False
        with Vertical(id="box"):
            yield field
            yield self.listing

    def opened(self) -> None:
        self._match("")
        self.set_focus(self.query_one(Input))

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self._match(message.value)

    def _match(self, text: str) -> None:
        order = {scope: i for i, scope in enumerate(self.scopes)}
        keys = [k for k in self.tlui.keys.keys if k.scope in order and k.action != "palette"]
        words = text.lower().split()
        found = []
        for key in keys:
            name = key.action.replace("_", " ")
            hay = f"{name} {key.label} {key.help} {SCOPES[key.scope]}".lower()
            if all(word in hay for word in words):
                first = bool(words) and name.startswith(words[0])
                found.append((not first, order[key.scope], key))
        self.listing.found = [key for _, _, key in sorted(found, key=lambda f: f[:2])]
        self.listing.total = len(self.listing.found)
        self.listing.go(0)
        self.listing.redraw()

    def pressed(self, key: str, typing: bool) -> bool:
        if key in ("up", "down", "pageup", "pagedown"):
            action = {"pageup": "page_up", "pagedown": "page_down"}.get(key, key)
            return self.listing.act(action)
        if key == "enter":
            found = self.listing.found
            self.dismiss(found[self.listing.cursor].action if found else None)
            return True
        return False

    @on(Listing.Chosen)
    def _clicked(self) -> None:
        self.pressed("enter", False)
