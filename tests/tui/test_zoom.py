"""`+` gives the focused pane the whole screen, `-` brings the others back, at every size."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.runs.directory import RunDirectory
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.screens.run import RunScreen
from tlui.tui.widgets.run_table import RunTable

SIZES = [(80, 24), (120, 40), (200, 60)]


def shown(pilot: Pilot[Any], *ids: str) -> list[str]:
    """Which of these widgets take up room on the screen."""
    screen = pilot.app.screen
    return [name for name in ids if any(w.region.area for w in screen.query(f"#{name}"))]


def whole(pilot: Pilot[Any], widget: Widget) -> bool:
    """Whether a widget has the screen but for what frames it."""
    width, height = pilot.app.size
    return widget.region.width >= width - 1 and widget.region.height >= height - 5


@pytest.mark.parametrize("size", SIZES)
async def test_the_table_of_runs(
    open_app: Open, store: list[RunDirectory], size: tuple[int, int]
) -> None:
    parts = ("table", "strip", "card", "charts")
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        table = pilot.app.screen.query_one(RunTable)
        await pilot.press("down")
        before = shown(pilot, *parts)
        assert len(before) > 1
        await pilot.press("+")
        await until(pilot, lambda: shown(pilot, *parts) == ["table"])
        assert whole(pilot, table)
        assert table.cursor == 1
        await pilot.press("+")
        await shows(pilot, "- brings the rest back")
        await pilot.press("-")
        await until(pilot, lambda: shown(pilot, *parts) == before)
        await pilot.press("-")
        await shows(pilot, "nothing was enlarged here")


@pytest.mark.parametrize("size", SIZES)
async def test_the_panes_and_charts_of_a_run(
    open_app: Open, make: Make, size: tuple[int, int]
) -> None:
    make(name="done", state="finished", epochs=20)
    panes = ("charts", "log", "tables", "config")
    charts = ("chart-accuracy", "chart-loss", "chart-lr", "chart-speed", "chart-machine")
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 20/20")
        await pilot.press("tab")
        screen = pilot.app.screen
        assert screen.focused is not None and screen.focused.id == "chart-loss"
        before = shown(pilot, *panes), shown(pilot, *charts)
        if size[0] > 80:
            await pilot.press("+")
            await until(pilot, lambda: shown(pilot, *panes) == ["charts"])
            assert len(shown(pilot, *charts)) >= len(before[1])
            text = screen_text(pilot.app)
            assert "[1 charts]" in text and "[2 log]" not in text
        await pilot.press("+")
        await until(pilot, lambda: shown(pilot, *charts) == ["chart-loss"])
        assert whole(pilot, screen.query_one("#chart-loss"))
        await pilot.press("tab")
        await until(pilot, lambda: shown(pilot, *charts) == ["chart-lr"])
        assert screen.focused.id == "chart-lr"
        await pilot.press("3")
        await until(pilot, lambda: shown(pilot, *panes) == ["tables"])
        await pilot.press("1")
        await until(pilot, lambda: shown(pilot, *charts) == ["chart-lr"])
        await pilot.press("-", *(["-"] if size[0] > 80 else []))
        await until(pilot, lambda: len(shown(pilot, *charts)) > 1)
        assert "chart-lr" in shown(pilot, *charts)
        assert len(shown(pilot, *panes)) == len(before[0])
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, RunScreen)


@pytest.mark.parametrize("size", SIZES)
async def test_a_pane_of_text(open_app: Open, make: Make, size: tuple[int, int]) -> None:
    make(name="done", state="finished", epochs=20)
    panes = ("charts", "log", "tables", "config")
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 20/20")
        await pilot.press("4")
        await shows(pilot, "[4 config]")
        before = shown(pilot, *panes)
        await pilot.press("+")
        if size[0] == 80:
            await shows(pilot, "nothing else shows here")
            assert shown(pilot, *panes) == before == ["config"]
            return
        await until(pilot, lambda: shown(pilot, *panes) == ["config"])
        assert whole(pilot, pilot.app.screen.query_one("#config"))
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "[4 config]")
        await pilot.resize_terminal(*size)
        await pilot.press("-")
        await until(pilot, lambda: shown(pilot, *panes) == before)


@pytest.mark.parametrize("size", SIZES)
async def test_both_panes_of_compare(
    open_app: Open, store: list[RunDirectory], size: tuple[int, int]
) -> None:
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("end", "space", "home", "space", "=")
        await shows(pilot, "compare", "val_accuracy")
        panes = ("overlay", "differences")
        before = shown(pilot, *panes)
        await pilot.press("+")
        if size[0] == 80:
            await shows(pilot, "nothing else shows here")
            return
        assert before == list(panes)
        await until(pilot, lambda: shown(pilot, *panes) == ["overlay"])
        assert whole(pilot, pilot.app.screen.query_one(LineChart))
        await pilot.press("tab")
        await until(pilot, lambda: shown(pilot, *panes) == ["differences"])
        await pilot.press("-")
        await until(pilot, lambda: shown(pilot, *panes) == before)


@pytest.mark.parametrize("key", ["b", "Q"])
async def test_a_screen_of_one_pane_says_so(
    open_app: Open, store: list[RunDirectory], key: str
) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press(key, "+")
        await shows(pilot, "nothing else shows here")


async def test_in_a_form_they_are_characters(open_app: Open) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        form: Any = pilot.app.screen.query_one("#form")
        before = form.text
        await pilot.press("end", "-")
        await until(pilot, lambda: form.text == before + "-")
