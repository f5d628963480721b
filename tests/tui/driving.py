"""Driving the app in tests: press keys, wait for what threads bring, read the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from tlui.runs.directory import RunDirectory
from tlui.tui.app import TluiApp

NOW = 1_772_500_000.0
HOSTILE = "[red]x[/red]\x1b[31m\u202e"
Make = Callable[..., RunDirectory]
Open = Callable[..., TluiApp]


async def until(
    pilot: Pilot[Any], found: Callable[[], Any], what: str = "it", seconds: float = 30
) -> Any:
    """Let the app work until something is the case; fails when it takes longer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            await pilot.pause()
            return found() or value
        await pilot.pause(0.02)
    raise AssertionError(f"{what} did not come about; the screen:\n{screen_text(pilot.app)}")


async def ready(pilot: Pilot[Any]) -> None:
    """The first page of runs is shown."""
    app = pilot.app
    assert isinstance(app, TluiApp)
    await until(pilot, lambda: app.page is not None, "the first page")
    await pilot.pause()


def screen_text(app: Any) -> str:
    """What is on the screen, as text."""
    lines = []
    for strip in app.screen._compositor.render_strips():
        lines.append("".join(segment.text for segment in strip).rstrip())
    return "\n".join(lines)


async def shows(pilot: Pilot[Any], *texts: str) -> str:
    """Wait until all texts are on the screen; the screen."""
    await until(pilot, lambda: all(t in screen_text(pilot.app) for t in texts), " and ".join(texts))
    return screen_text(pilot.app)


async def type_text(pilot: Pilot[Any], text: str) -> None:
    """Type characters, spaces included."""
    names = {" ": "space"}
    await pilot.press(*[names.get(c, c) for c in text])
