"""Every screen as a picture: three sizes, plain ASCII, no colours, light, and the windows.

`pytest tests/tui/test_snapshots.py --snapshot-update` draws them anew; look at them before
committing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from tui.driving import Make, Open, shows

from tlui.recipe.preset import parse_preset
from tlui.runs.directory import Home, RunDirectory
from tlui.scheduler.create import create_runs
from tlui.tui.app import TluiApp
from tlui.tui.draft import Draft
from tlui.tui.screens.new import NewScreen
from tlui.tui.theme import Theme

SIZES = [(80, 24), (120, 40), (200, 60)]
LAB = """
name = "digits-lab"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "backbone"
epochs = 4
lr = {policy = "exponential", initial = 1e-3, k = 0.3}
[[phase]]
freeze = "none"
epochs = 8
lr = {policy = "one-cycle", initial = 1e-5, peak = 3e-4}
[sweep]
"head.dropout" = [0.0, 0.2, 0.5]
"""

Steps = Callable[[Pilot[Any]], Awaitable[None]]
Compare = Callable[..., bool]


async def runs(pilot: Pilot[Any]) -> None:
    await shows(pilot, "9 runs", "head-1e-4")
    if pilot.app.size.width >= 160:
        await shows(pilot, "val .7929")


async def filtering(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("slash", *"zzz", "enter")
    await shows(pilot, "No run matches")


async def live(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("enter")
    await shows(pilot, "● running" if not pilot.app.look.ascii else "* running",  # type: ignore[attr-defined]
                "epoch 6/10", "val .7929")  # fmt: skip


async def finished(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("down", "down", "down", "down", "enter", "3")
    await shows(pilot, "confusion (test)")


async def compare(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("space", "down", "down", "space", "space", "=")
    await shows(pilot, "val_accuracy", ".9037")
    await pilot.press("left", "left")
    await shows(pilot, "epoch 9")


async def board(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("b")
    await shows(pilot, "best test_accuracy", ".8937")


async def queue(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("Q")
    await shows(pilot, "digits-lab-0.2", "CPU")


async def form(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    pilot.app.push_screen(NewScreen(Draft(tomllib.loads(LAB), "presets/digits-lab.toml")))
    await shows(pilot, "3 runs will be made", "1,169 train")
    for _ in range(3):
        await pilot.press("tab")
    await shows(pilot, "epochs")


async def help_window(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("?")
    await shows(pilot, "Keys")


async def palette(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press(":", *"sto")
    await shows(pilot, "stop, evaluate and keep")


async def leaving(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("q")
    await shows(pilot, "Leave tlui?")


async def exporting(pilot: Pilot[Any]) -> None:
    await runs(pilot)
    await pilot.press("e")
    await shows(pilot, "Export CSV")


SCREENS: dict[str, Steps] = {
    "runs": runs, "live": live, "finished": finished, "compare": compare, "board": board,
    "queue": queue, "new": form,
}  # fmt: skip
WINDOWS: dict[str, Steps] = {
    "help": help_window, "palette": palette, "quit": leaving, "export": exporting,
    "no-match": filtering,
}  # fmt: skip


@pytest.fixture
def full(store: list[RunDirectory], home: Home, request: pytest.FixtureRequest) -> None:
    """The store; a real queue where the queue is drawn."""
    if request.node.callspec.params.get("name") == "queue":
        import shutil

        for run in store[1:3]:
            shutil.rmtree(run.path)
        create_runs(home, parse_preset(LAB))


def steps_for(name: str) -> Steps:
    if name != "queue":
        return (SCREENS | WINDOWS)[name]

    async def walk(pilot: Pilot[Any]) -> None:
        await shows(pilot, "10 runs")
        await pilot.press("Q")
        await shows(pilot, "digits-lab-0.2", "CPU")

    return walk


def draw(snap_compare: Compare, app: TluiApp, name: str, size: tuple[int, int]) -> None:
    assert snap_compare(app, terminal_size=size, run_before=steps_for(name))


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("name", SCREENS)
def test_screens(
    snap_compare: Compare, open_app: Open, full: None, name: str, size: tuple[int, int]
) -> None:
    draw(snap_compare, open_app(), name, size)


@pytest.mark.parametrize("name", SCREENS)
def test_ascii(snap_compare: Compare, open_app: Open, full: None, name: str) -> None:
    draw(snap_compare, open_app(look=Theme("dark", ascii=True)), name, (80, 24))


@pytest.mark.parametrize("name", SCREENS)
def test_no_color(
    snap_compare: Compare,
    open_app: Open,
    full: None,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tlui.tui import theme

    monkeypatch.setenv("NO_COLOR", "1")
    look = theme.choose()
    assert not look.colour
    draw(snap_compare, open_app(look=Theme(look.look)), name, (80, 24))


@pytest.mark.parametrize("name", ["runs", "live", "new"])
def test_light(snap_compare: Compare, open_app: Open, full: None, name: str) -> None:
    draw(snap_compare, open_app(look=Theme("light")), name, (120, 40))


@pytest.mark.parametrize("name", ["runs", "live"])
def test_sixteen_colours(snap_compare: Compare, open_app: Open, full: None, name: str) -> None:
    draw(snap_compare, open_app(look=Theme("ansi")), name, (80, 24))


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(snap_compare: Compare, open_app: Open, full: None, name: str) -> None:
    draw(snap_compare, open_app(), name, (80, 24))


def test_empty(snap_compare: Compare, open_app: Open, make: Make) -> None:
    async def wait(pilot: Pilot[Any]) -> None:
        await shows(pilot, "No runs yet.")

    assert snap_compare(open_app(), terminal_size=(80, 24), run_before=wait)
