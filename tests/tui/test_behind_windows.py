"""What stands behind a window stays drawn, as it was, whatever arrives meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from factory import write_epochs
from textual.pilot import Pilot
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.runs.directory import RunDirectory
from tlui.runs.events import EventWriter
from tlui.tui.screens.modals import Modal

SIZES = [(80, 24), (120, 40), (200, 60)]


def around(pilot: Pilot[Any]) -> list[str]:
    """The screen with blanks where the window is."""
    app = pilot.app
    width, _ = app.size
    lines = [line.ljust(width) for line in screen_text(app).splitlines()]
    if isinstance(app.screen, Modal):
        box = app.screen.query_one("#box").region
        for y in range(box.y, box.bottom):
            lines[y] = lines[y][: box.x] + " " * box.width + lines[y][box.right :]
    return [line.rstrip() for line in lines]


def cut(lines: list[str], pilot: Pilot[Any]) -> list[str]:
    """The same blanks in a screen that was taken before the window opened."""
    box = pilot.app.screen.query_one("#box").region
    wide = [line.ljust(box.right) for line in lines]
    for y in range(box.y, box.bottom):
        wide[y] = wide[y][: box.x] + " " * box.width + wide[y][box.right :]
    return [line.rstrip() for line in wide]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", ["?", ":", "q", "e", "x"])
async def test_the_list_of_runs(
    open_app: Open, store: list[RunDirectory], size: tuple[int, int], key: str
) -> None:
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        if size[0] == 200:
            await shows(pilot, "accuracy", "loss", "learning rate")
        before = around(pilot)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Modal))
        await until(pilot, lambda: pilot.app.screen.query_one("#box").region.area)
        assert around(pilot) == cut(before, pilot)
        assert sum(bool(line) for line in around(pilot)) > 5
        await pilot.press("escape")
        await until(pilot, lambda: around(pilot) == before)


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_that_goes_on(open_app: Open, make: Make, size: tuple[int, int]) -> None:
    run = make(name="live", state="running", epochs=10, done=4)
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 4/10")
        before = around(pilot)
        await pilot.press("?")
        await until(pilot, lambda: isinstance(pilot.app.screen, Modal))
        await until(pilot, lambda: pilot.app.screen.query_one("#box").region.area)
        screen: Any = pilot.app.screen_stack[-2]
        writer = EventWriter(run.events)
        write_epochs(writer, range(5, 8), 10)
        writer.close()
        await until(pilot, lambda: len(screen.live.history.epochs) == 7)
        assert around(pilot) == cut(before, pilot)
        await pilot.press("escape")
        await shows(pilot, "epoch 7/10")
