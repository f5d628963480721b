"""What every screen shares: header, footer, panes by width, and keys from the one table.

A screen names its `SCOPES` and its panes; keys become `do_ACTION` methods of the focused pane,
the screen or the app, in that order. At 80 columns one pane shows at a time, from 100 two, from
160 all three; `zoom` leaves one of them. Below 60x15 one line says how things stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from tlui.tui.lines import Line, clip
from tlui.tui.widgets.bars import FooterBar, HeaderBar, count_words
from tlui.tui.widgets.sheet import Sheet

if TYPE_CHECKING:
    from tlui.tui.app import TluiApp

MEDIUM, WIDE = 100, 160
LEAST_WIDTH, LEAST_HEIGHT = 60, 15


class StatusLine(Sheet):
    """All that shows on a terminal too small for anything else."""

    DEFAULT_CSS = "StatusLine { height: 1; display: none; }"

    def build(self, width: int, height: int) -> list[Line]:
        app = cast("TluiApp", self.app)
        words = count_words(app.counts) or "nothing runs"
        line: Line = [("tlui ", "accent"), (words, "")]
        line.append((f"  needs {LEAST_WIDTH}×{LEAST_HEIGHT}", "dim"))
        return [clip(line, width)]


class Framed(Screen[Any]):
    """A screen with a header, panes and a footer."""

    SCOPE: ClassVar[str] = "app"
    SCOPES: ClassVar[tuple[str, ...]] = ("app",)
    PANES: ClassVar[tuple[str, ...]] = ()
    """Ids of the panes, in order of their number."""
    AUTO_FOCUS = ""  # None would be Textual's own choice: the first field, shown or not
    DEFAULT_CSS = """
    Framed { layout: vertical; }
    Framed.tiny > * { display: none; }
    Framed.tiny > StatusLine { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.header = HeaderBar()
        self.footer = FooterBar()
        self.pane = 1
        """Number of the pane in front on a narrow screen, or while `zoom` is not 0."""
        self.zoom = 0
        """0: all panes that have room; 1: the one in front alone; a screen may know more."""
        self._focus_before: Widget | None = None

    @property
    def tlui(self) -> TluiApp:
        """The app."""
        return cast("TluiApp", self.app)

    # -- for subclasses

    @property
    def busy(self) -> bool:
        """Whether a thread is at what leads to another content or screen; keys wait for that."""
        return False

    def panes(self) -> ComposeResult:
        """The widgets between header and footer."""
        return iter(())

    def place(self) -> Line:
        """Where am I: what the header says after `tlui`."""
        return []

    def hidden_keys(self) -> set[str]:
        """Actions that the footer leaves out just now."""
        return set()

    def refreshed(self) -> None:
        """The store or the devices have changed."""

    # -- frame

    def compose(self) -> ComposeResult:
        self._classify(self.app.size.width)  # what is mounted is styled once
        yield self.header
        yield from self.panes()
        yield self.footer

    def on_mount(self) -> None:
        self.opened()

    def opened(self) -> None:
        """The screen stands for the first time."""
        self.fit_to(self.app.size.width, self.app.size.height)
        self.update_frame()

    def on_screen_resume(self) -> None:
        self.update_frame()
        for sheet in self.query(Sheet):
            sheet.redraw()

    def update_frame(self) -> None:
        """Header and footer as things stand."""
        if not self.is_mounted:
            return
        app = self.tlui
        self.header.place = self.place()
        self.header.counts = app.counts
        self.header.devices = app.devices
        self.header.redraw()
        self.footer.keys = app.keys.footer(self.SCOPE, self.hidden_keys())
        self.footer.redraw()
        for line in self.query(StatusLine):
            line.redraw()

    def on_descendant_focus(self) -> None:
        self.update_frame()

    def on_resize(self, event: events.Resize) -> None:
        self.fit_to(event.size.width, event.size.height)

    def fit_to(self, width: int, height: int) -> None:
        """Classes for the stylesheet, and which panes show."""
        tiny = width < LEAST_WIDTH or height < LEAST_HEIGHT
        self._classify(width)
        was_tiny = self.has_class("tiny")
        if tiny and not was_tiny:
            self._focus_before = self.focused  # what is hidden loses the focus
        if tiny and not self.query(StatusLine):
            self.mount(StatusLine())
        self.set_class(tiny, "tiny")
        self.show_panes()
        if was_tiny and not tiny and self._focus_before is not None:
            self.call_after_refresh(self.set_focus, self._focus_before)

    def _classify(self, width: int) -> None:
        kind = "narrow" if width < MEDIUM else "medium" if width < WIDE else "wide"
        self.update_classes({name: name == kind for name in ("narrow", "medium", "wide")})

    def show_panes(self) -> None:
        """Mark the pane in front; the stylesheet shows it alone on narrow screens or zoomed."""
        self.set_class(self.zoom > 0, "zoomed")
        for number, name in enumerate(self.PANES, 1):
            for widget in self.query(f"#{name}"):
                widget.set_class(number == self.pane, "front")

    # -- keys

    def on_key(self, event: events.Key) -> None:
        typing = isinstance(self.focused, Input) or getattr(self.focused, "typing", False)
        pressed = pressed_key(event)
        key = self.tlui.keys.find(pressed, self.scopes(), typing)
        self.footer.hush()
        if key is not None:
            event.stop()
            event.prevent_default()
            self.act(key.action)

    def scopes(self) -> tuple[str, ...]:
        """The scopes in force, the first one winning."""
        return self.SCOPES

    def act(self, action: str) -> bool:
        """Do an action: the focused pane may, else this screen, else the app."""
        focused = self.focused
        doer = getattr(focused, "act", None)
        if doer is not None and not isinstance(focused, Input) and doer(action):
            self.update_frame()
            return True
        for owner in (self, self.tlui):
            method = getattr(owner, f"do_{action}", None)
            if method is not None:
                method()
                return True
        return False

    def do_next_pane(self) -> None:
        self.focus_by(1)

    def do_previous_pane(self) -> None:
        self.focus_by(-1)

    def focus_by(self, by: int) -> None:
        """Tab: the next visible pane; on narrow screens the next pane comes to the front."""
        if (self.has_class("narrow") or self.zoom) and len(self.PANES) > 1:
            self.to_pane((self.pane - 1 + by) % len(self.PANES) + 1)
        elif by > 0:
            self.focus_next()
        else:
            self.focus_previous()
        self.update_frame()

    def to_pane(self, number: int) -> None:
        """Bring a pane to the front and give it the keyboard."""
        if not 1 <= number <= len(self.PANES):
            return
        self.pane = number
        self.show_panes()
        self.focus_pane()
        self.update_frame()

    def zooms(self) -> int:
        """How many steps the pane in front can grow: as long as something else shows."""
        return 0 if self.has_class("narrow") or len(self.PANES) < 2 else 1

    def do_enlarge(self) -> None:
        self._zoom_by(1)

    def do_reduce(self) -> None:
        self._zoom_by(-1)

    def _zoom_by(self, by: int) -> None:
        for number, name in enumerate(self.PANES, 1):
            if any(widget.has_focus_within for widget in self.query(f"#{name}")):
                self.pane = number
        most = self.zooms()
        wanted = min(self.zoom, most) + by
        if 0 <= wanted <= most:
            self.zoom = wanted
            self.show_panes()
            self.call_after_refresh(self.update_frame)
        elif by < 0:
            self.say("nothing was enlarged here", "dim")
        else:
            self.say("- brings the rest back" if self.zoom else "nothing else shows here", "dim")

    def focus_pane(self) -> None:
        """Focus the first thing in the pane in front that takes keys."""
        for widget in self.query(f"#{self.PANES[self.pane - 1]}"):
            if widget.can_focus:
                self.set_focus(widget)
                return
            for child in widget.query(Widget):
                if child.can_focus and child.display:
                    self.set_focus(child)
                    return

    def do_pane_1(self) -> None:
        self.to_pane(1)

    def do_pane_2(self) -> None:
        self.to_pane(2)

    def do_pane_3(self) -> None:
        self.to_pane(3)

    def do_pane_4(self) -> None:
        self.to_pane(4)

    def do_back(self) -> None:
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def say(self, text: str, style: str = "") -> None:
        """A sentence in the footer until the next key."""
        self.footer.say(text, style)


def pressed_key(event: events.Key) -> str:
    """A key as the table writes it: `?` rather than `question_mark`, `space` rather than ` `."""
    char = event.character
    if char is not None and len(char) == 1 and char.isprintable() and char != " ":
        return char
    return event.key
