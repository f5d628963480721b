"""Every key of the table, pressed on every screen where it is in force, does something one can see.

The walk takes its keys from the table: a key that nobody answers fails it, and so does a new one
that shows no effect. What each key does is tested beside its screen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.recipe.preset import parse_preset
from tlui.runs.directory import Home
from tlui.scheduler import start
from tlui.scheduler.create import create_runs
from tlui.tui.keys import KEYS, SCOPES, Key
from tlui.tui.screens.framed import Framed
from tlui.tui.screens.modals import PaletteModal
from tlui.tui.screens.new import NewScreen
from tlui.tui.screens.runs import RunsScreen

LAB = """
name = "lab"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
epochs = 3
lr = {policy = "constant", initial = 1e-3}
[sweep]
"head.dropout" = [0.0, 0.2, 0.5]
"""
Stage = Callable[[Pilot[Any]], Awaitable[None]]


async def runs(pilot: Pilot[Any]) -> None:
    await pilot.press("home")


async def run(pilot: Pilot[Any]) -> None:
    await pilot.press("end", "enter")
    await shows(pilot, "epoch 20/20", "val .")


async def log(pilot: Pilot[Any]) -> None:
    await run(pilot)
    await pilot.press("2")
    await shows(pilot, "[2 log]", "epoch 20 in")


async def compare(pilot: Pilot[Any]) -> None:
    await pilot.press("end", "space", "up", "up", "space", "=")
    await shows(pilot, "compare", "val_accuracy", "done-a")


async def board(pilot: Pilot[Any]) -> None:
    await pilot.press("b")
    await shows(pilot, "best test_accuracy", "regime by lr", ".8900*")


async def queue(pilot: Pilot[Any]) -> None:
    await pilot.press("Q")
    await shows(pilot, "lab-0.5", "CPU")


async def form(pilot: Pilot[Any]) -> None:
    pilot.app.push_screen(NewScreen())  # its data is missing: launching is refused
    await shows(pilot, "1 to mend", "learning rate")


STAGES: dict[str, tuple[Stage, tuple[str, ...]]] = {
    "runs": (runs, ("runs", "run", "list")),
    "run": (run, ("app", "run", "chart")),
    "log": (log, ("list",)),
    "compare": (compare, ("compare", "chart")),
    "board": (board, ("board", "compare", "list")),
    "queue": (queue, ("queue", "run", "list")),
    "new": (form, ("new",)),
}
"""Screen -> how to get there from the list of runs, and the scopes walked on it."""

BEFORE: dict[str, tuple[str, ...]] = {
    "up": ("end",), "page_up": ("end",), "first": ("end",), "last": ("home",),
    "down": ("home",), "page_down": ("home",),
    "back": ("2",), "pane_1": ("2",), "pane_2": ("3",),
    "unmark_all": ("space",), "compare": ("space", "space"),
    "smooth_less": ("s",), "zoom_out": ("z",), "pan_left": ("z",), "pan_right": ("z", "["),
    "reduce": ("+",),
    "cursor_right": ("left", "left", "left"), "cursor_right_far": ("left", "shift+left"),
    "sooner": ("end",), "later": ("home", "down"), "hold": ("end",), "drop": ("end",),
    "enqueue": ("x",),  # a change takes the last refusal away
    "choice_next": ("down",), "choice_back": ("down",),
}  # fmt: skip
"""Action -> what makes it have something to do."""
NOTHING = {("log", "open")}
"""Screen and action with nothing to do by nature: lines of text open nothing."""


def look(app: Any) -> tuple[object, ...]:
    """What a person sees: the words, the window, which pane has the keyboard."""
    focused = app.screen.focused
    return screen_text(app), len(app.screen_stack), focused.id if focused is not None else None


async def back_to_the_runs(pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    while not isinstance(app.screen, RunsScreen):
        app.pop_screen()
        await pilot.pause()
    if isinstance(app.focused, Input):
        await pilot.press("escape")  # out of the filter
    app.marked.clear()
    app.screen.ask(filter="", show_hidden=False, offset=0)
    app.screen.table.redraw()
    app.screen.say("")


@pytest.fixture
def full(make: Make, home: Home) -> None:
    """Runs that ended, more than a page of them, one that runs, and a queue."""
    create_runs(home, parse_preset(LAB))
    make(name="live", state="running", epochs=9, done=3)
    for i in range(28):
        make(name=f"old-{i}", state="stopped", epochs=4, done=2)
    rates = {"phase.0.lr.initial": 1e-3}
    make(name="done-b", state="finished", epochs=20, top=0.8, config=rates, created=2e9 - 2)
    make(name="done-c", state="finished", epochs=20, top=0.7, created=2e8)
    make(name="done-a", state="finished", epochs=20, top=0.9, created=1e8,
         config={"phase.0.freeze": "none"})  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
async def test_every_key_does_something_here(
    open_app: Open, full: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "start", lambda home: [])  # nothing trains meanwhile
    stage, scopes = STAGES[name]
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await shows(pilot, "35 runs")
        for scope in scopes:
            depth = 0
            for key, pressed in [(k, p) for k in KEYS if k.scope == scope for p in k.keys]:
                app: Any = pilot.app
                if len(app.screen_stack) != depth or isinstance(app.focused, Input):
                    await back_to_the_runs(pilot)
                    await stage(pilot)
                    depth = len(app.screen_stack)
                await pilot.press(*BEFORE.get(key.action, ()))
                await settled(pilot)
                typing = isinstance(app.focused, Input) or name == "new"
                found = app.keys.find(pressed, app.screen.scopes(), typing)
                assert found is not None, f"{pressed} ({key.action}) is not known on {name}"
                if found.action != key.action or (name, key.action) in NOTHING:
                    continue  # another scope of this screen has the key and comes first
                before = look(app)
                await pilot.press(pressed)
                what = f"effect of {pressed} ({key.action}) on {name}"
                await until(pilot, lambda b=before: look(pilot.app) != b, what)  # type: ignore[misc]


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until threads have brought what was asked for: two looks in a row are alike."""
    seen: list[object] = []

    def still() -> bool:
        seen.append(look(pilot.app))
        return len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]

    await until(pilot, still, "a screen that stays")


def test_the_walk_covers_every_scope() -> None:
    assert {scope for _, scopes in STAGES.values() for scope in scopes} == set(SCOPES)


@pytest.mark.parametrize("name", STAGES)
async def test_the_palette_has_every_action(open_app: Open, full: None, name: str) -> None:
    stage, _ = STAGES[name]
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await shows(pilot, "35 runs")
        await stage(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, Framed)
        await pilot.press("ctrl+p")
        palette: Any = await until(pilot, lambda: pilot.app.screen, "palette")
        assert isinstance(palette, PaletteModal)

        def wanted(key: Key) -> bool:
            return key.scope in screen.scopes() and key.action != "palette"

        assert {k.action for k in palette.listing.found} == {k.action for k in KEYS if wanted(k)}
