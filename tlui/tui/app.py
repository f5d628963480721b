"""The app: one store, a stack of screens, and whose message goes where.

It only reads run directories and leaves requests; closing it, or losing the connection, changes
nothing about what runs. It never imports TensorFlow.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from textual import events
from textual.app import App
from textual.driver import Driver
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen

from tlui.runs.directory import Home
from tlui.runs.status import ENDED
from tlui.tui import theme as themes
from tlui.tui.keys import KeyTable
from tlui.tui.messages import DevicesSeen, Page, RowsArrived, WorkDone, WorkFailed
from tlui.tui.screens.framed import Framed
from tlui.tui.watch import HIDDEN, Query, StoreWatch
from tlui.tui.widgets.sheet import Sheet

COLOURS = 8
KEY_SECONDS = 5.0
"""What the handling of one key may take before the next is taken all the same; a machine that
others use too may need long to open a screen for the first time."""
GLANCE_SECONDS = 0.05


class TluiApp(App[int]):
    """`tlui` without arguments."""

    TITLE = "tlui"
    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[Any]] = []

    def __init__(
        self,
        home: Home,
        *,
        look: themes.Theme | None = None,
        keys: KeyTable | None = None,
        clock: Callable[[], float] | None = None,
        count_parameters: bool = True,
        driver: type[Driver] | None = None,
    ) -> None:
        look = look or themes.choose()
        super().__init__(ansi_color=look.ansi, driver_class=driver)
        self.animation_level = "none"
        # neither is used: two widgets fewer on every screen, and one painting of all of it
        self._disable_notifications = self._disable_tooltips = True
        self.home = home
        self.look = look
        self.count_parameters = count_parameters
        """Whether the form asks the trainer for exact counts (which takes it seconds)."""
        self.configured = keys is None
        self.rings = False
        """Whether the bell is rung when a run has ended."""
        self.keys = keys or KeyTable()
        self.counts: Mapping[str, int] = {}
        self.devices = ""
        self.page: Page | None = None
        self.marked: dict[str, int] = {}
        """Marked run id -> colour, kept as long as the app."""
        self._keys: deque[events.Key] = deque()
        """Pressed and not handled yet, the first one being handled."""
        self.watch_store = StoreWatch(home, self._post)
        if clock is not None:
            from tlui.tui.widgets import run_table

            run_table.ARROW["now"] = clock
        for kind in ("dark", "light"):
            self.register_theme(themes.textual_theme(kind))
        light = look.look == "light"
        # before anything is styled: assigning it would parse every stylesheet a second time
        self.set_reactive(App.theme, f"tlui-{'light' if light else 'dark'}")
        self.update_classes({"-light-mode": light, "-dark-mode": not light}, update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    def _post(self, message: Message) -> None:
        """From any thread; nothing is posted to an app that has ended."""
        if self.is_running:
            self.post_message(message)

    def get_default_screen(self) -> Screen[Any]:
        from tlui.tui.screens.runs import RunsScreen

        return RunsScreen()

    @property
    def framed(self) -> Framed | None:
        """The screen in front, where it has a header and a footer and the app is not being left."""
        screen = self.screen if self.is_running else None
        return screen if isinstance(screen, Framed) else None

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """What can wait until the first screen stands: reading the store."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        self.watch_store.start()

    def _configure(self) -> None:
        """Once: what can wait until the first runs stand, for it takes longer than they do."""
        if self.configured:
            self.configured = False
            self.work_on("configuration", _configuration)

    def on_unmount(self) -> None:
        if self.watch_store._thread.is_alive():
            self.watch_store.stop()

    async def on_event(self, event: events.Event) -> None:
        """Take keys one by one: those that come in one packet, as over a slow line, are each for
        the screen or field that the one before led to."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        self._keys.append(event)
        if len(self._keys) == 1:
            self.run_worker(self._take_keys(), group="keys")

    async def _take_keys(self) -> None:
        while self._keys:
            await self._at_rest()
            screen = self.screen
            target = screen.focused or screen
            await super().on_event(self._keys[0])
            for _ in range(2):  # a list hands on what was chosen by a message of its own
                if self.screen is screen:
                    await self._settled(target.ancestors_with_self)
            if self.screen is not screen:
                await self._settled([self.screen])
            self._keys.popleft()

    async def _at_rest(self) -> None:
        """Wait until a thread has what the key before asked for, and the next is meant for."""
        end = time.monotonic() + KEY_SECONDS
        while (framed := self.framed) and framed.busy and time.monotonic() < end:
            await asyncio.sleep(GLANCE_SECONDS)

    async def _settled(self, nodes: Sequence[MessagePump]) -> None:
        """Wait until widgets, one after the other, have handled what they were sent so far, or
        another screen stands."""
        screen, done = self.screen, asyncio.Event()

        def next_of(rest: Sequence[MessagePump]) -> None:
            if not rest:
                done.set()
            elif not rest[0].call_later(next_of, rest[1:]):
                next_of(rest[1:])  # it is gone, and what it was sent with it

        next_of(nodes)
        end = time.monotonic() + KEY_SECONDS
        while self.screen is screen and not done.is_set() and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), GLANCE_SECONDS)

    # -- the store

    def ask(self, query: Query) -> None:
        """What the run table wants to see from now on."""
        self.watch_store.ask(query)

    def on_rows_arrived(self, message: RowsArrived) -> None:
        counts = message.page.counts
        if self.rings and self.page is not None and _ended(counts) > _ended(self.counts):
            self.bell()
        self.page = message.page
        self.counts = counts
        self.call_after_refresh(self._configure)
        for screen in self.screen_stack:
            if isinstance(screen, Framed):
                screen.refreshed()
        if framed := self.framed:
            framed.update_frame()

    def on_devices_seen(self, message: DevicesSeen) -> None:
        self.devices = message.text
        if framed := self.framed:
            framed.update_frame()

    def on_work_done(self, message: WorkDone) -> None:
        if message.what == "configuration":
            self.keys, self.rings = message.value
            if framed := self.framed:
                framed.update_frame()
            return
        self.watch_store.nudge()
        self._hand_over(message)
        if message.text and (framed := self.framed):
            framed.say(message.text)

    def on_work_failed(self, message: WorkFailed) -> None:
        self._configure()
        self.watch_store.nudge()
        self._hand_over(message)
        if framed := self.framed:
            framed.say(message.text.splitlines()[0], "error")

    def _hand_over(self, message: WorkDone | WorkFailed) -> None:
        for screen in self.screen_stack:
            taker = getattr(screen, "work_ended", None)
            if taker is not None:
                taker(message)

    def work_on(self, what: str, work: Callable[[], tuple[Any, str]]) -> None:
        """Do something that may block in a thread; its outcome comes as a message."""
        from tlui.tui.actions import attempt

        self.run_worker(
            lambda: self._post(attempt(what, work)),
            thread=True,
            exit_on_error=False,
            group=what,
        )

    # -- marks

    def toggle_mark(self, run_id: str) -> None:
        """Mark a run with the first free colour, or unmark it."""
        if run_id in self.marked:
            del self.marked[run_id]
            return
        taken = set(self.marked.values())
        free = [c for c in range(COLOURS) if c not in taken]
        self.marked[run_id] = free[0] if free else len(self.marked) % COLOURS

    # -- actions on one run, from the list or from its own screen

    def resume(self, run_id: str) -> None:
        """Queue a run again; of one that waits, start what fits."""
        from tlui.tui.actions import resume_run

        self.work_on("resume", partial(resume_run, self.home, run_id))

    def clone(self, run_id: str) -> None:
        """Set up a new run with the settings of another."""
        from tlui.tui.screens.new import NewScreen

        self.push_screen(NewScreen(clone=run_id))

    def ask_to_stop(self, run_id: str, title: str, state: str) -> None:
        """Ask, then ask the run to stop."""
        from tlui.tui.actions import stop_run
        from tlui.tui.screens.modals import ConfirmModal

        if state not in ("queued", "starting", "running", "evaluating", "stale"):
            if framed := self.framed:
                framed.say(f"{title} is {state}: there is nothing to stop", "warn")
            return
        text = ["It stops at its next step, keeps the best weights and evaluates them."]
        if state == "queued":
            text = ["It leaves the queue and stays in the list as stopped; R resumes it."]
        work = partial(stop_run, self.home, run_id)
        self.push_screen(
            ConfirmModal(f"Stop {title}?", text, "stop"),
            lambda yes: self.work_on("stop", work) if yes else None,
        )

    def pin(self, run_id: str) -> None:
        """Pin a run to the top of the list, or unpin it."""
        from tlui.tui.actions import pin_runs

        found = next((r for r in self.page.rows if r.id == run_id), None) if self.page else None
        pinned = not (found.pinned if found else False)
        self.work_on("pin", partial(pin_runs, self.home, [run_id], pinned))

    def copy_path(self, run_id: str) -> None:
        """Put the run's folder on the clipboard of the terminal (OSC 52)."""
        path = str(self.home.run(run_id).path)
        self.copy_to_clipboard(path)
        if framed := self.framed:
            framed.say(f"copied {path}")

    # -- actions of every screen

    def do_help(self) -> None:
        from tlui.tui.screens.modals import HelpModal

        scopes = self.screen.scopes() if isinstance(self.screen, Framed) else ("app",)
        self.push_screen(HelpModal(scopes))

    def do_palette(self) -> None:
        from tlui.tui.screens.modals import PaletteModal

        if not isinstance(self.screen, Framed):
            return
        screen = self.screen

        def chosen(action: str | None) -> None:
            if action:
                screen.act(action)

        self.push_screen(PaletteModal(screen.scopes()), chosen)

    def do_quit(self) -> None:
        from tlui.tui.screens.modals import ConfirmModal
        from tlui.tui.widgets.bars import count_words

        running = sum(self.counts.get(s, 0) for s in ("starting", "running", "evaluating"))
        if not running:
            self.exit(0)
            return
        text = f"{count_words(self.counts)}: all of it goes on without this window."
        sentences = [text, "tlui opens it again where it stands."]
        self.push_screen(
            ConfirmModal("Leave tlui?", sentences, "leave", enter=True),
            lambda yes: self.exit(0) if yes else None,
        )

    async def action_quit(self) -> None:
        self.do_quit()

    def action_help_quit(self) -> None:
        self.do_quit()

    def do_new(self) -> None:
        from tlui.tui.screens.new import NewScreen

        self.push_screen(NewScreen())

    def do_leaderboard(self) -> None:
        from tlui.tui.screens.board import BoardScreen

        if not isinstance(self.screen, BoardScreen):
            query = self.watch_store.asked
            self.push_screen(BoardScreen(query.filter, query.show_hidden))

    def do_queue(self) -> None:
        from tlui.tui.screens.queue import QueueScreen

        if not isinstance(self.screen, QueueScreen):
            self.push_screen(QueueScreen())

    def do_start(self) -> None:
        from tlui.tui.actions import start_waiting

        self.work_on("start", partial(start_waiting, self.home))

    def do_export(self) -> None:
        """Every run of the store; screens that show fewer export what they show."""
        from tlui.tui.screens.export import ExportModal

        self.push_screen(ExportModal(self.page.total if self.page else 0, filter=HIDDEN))

    def do_theme(self) -> None:
        if self.look.ansi:
            return
        look = "light" if self.look.look == "dark" else "dark"
        self.look = themes.Theme(look, self.look.ascii)  # type: ignore[arg-type]
        self.theme = f"tlui-{look}"
        for sheet in self.screen.query(Sheet):
            sheet.repaint()

    def on_resize(self, event: events.Resize) -> None:
        if framed := self.framed:
            framed.update_frame()


def _configuration() -> tuple[tuple[KeyTable, bool], str]:
    """What the person's configuration says: the key table, and whether to ring the bell."""
    from tlui.recipe.place import config_path

    if not config_path().exists():
        return (KeyTable(), False), ""
    from tlui.recipe.config import load_config

    config = load_config()
    return (KeyTable(config.keys), config.notify.bell), ""


def _ended(counts: Mapping[str, int]) -> int:
    """How many runs of a store have ended."""
    return sum(count for state, count in counts.items() if state in ENDED)


def run(home: Home, *, ascii: bool = False, mouse: bool = True) -> int:
    """Open the app on a store; returns the exit code.

    A terminal that is gone ends the app, and nothing else, even where it was started by something
    that ignores SIGHUP: reading from it for ever would keep a core busy.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    from tlui.tui.driver import SteadyDriver

    app = TluiApp(home, look=themes.choose(ascii), driver=SteadyDriver)
    result = app.run(mouse=mouse)
    return result if isinstance(result, int) else app.return_code or 0
