"""Whatever others called their things, the app's screens hold text and nothing that is obeyed."""

from __future__ import annotations

import pytest
from strangers import EVIL, UNSAFE, evil_configuration, evil_store
from tui.driving import Open, ready, screen_text, shows

from tlui.runs.directory import Home
from tlui.tui.widgets.sheet import _safe

WAYS = {
    "a run": "enter 1 + - 2 + - 3 + - 4 + - l ?",
    "what is asked before a run is deleted": "down down down down down down D",
    "what is asked before a run is stopped": "down down down x",
    "runs side by side": "space down space = m 2 3 escape e",
    "the best of two settings": "b r f a",
    "the queue, and what is asked before a run is dropped": "Q down down down down D",
    "a form like a run, and a preset of it": "down down c f2",
    "presets": "n f3",
    "sorted, filtered, pinned": "o O o p v / e",
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=str)
@pytest.mark.parametrize("way", WAYS)
async def test_no_screen_shows_anything_but_text(
    open_app: Open, home: Home, way: str, size: tuple[int, int]
) -> None:
    evil_configuration()
    evil_store(home)
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await shows(pilot, r"e\x1b")
        for key in WAYS[way].split():
            await pilot.press(key)
            await pilot.pause()
            text = screen_text(pilot.app)
            assert not UNSAFE.search(text), (key, text)


async def test_a_finished_run_is_text_from_top_to_bottom(open_app: Open, home: Home) -> None:
    finished = evil_store(home)["finished"]
    async with open_app().run_test(size=(200, 60)) as pilot:
        await ready(pilot)
        await pilot.press("end", "enter")
        assert not UNSAFE.search(await shows(pilot, finished.id, "glacier"))
        await pilot.press("4", "+")
        assert not UNSAFE.search(await shows(pilot, "best epoch"))


def test_a_line_that_nobody_saw_to_is_made_safe() -> None:
    assert not any(UNSAFE.search(text) for text, _ in _safe([(EVIL, "dim"), ("plain", "")]))
    assert _safe([("plain é 猫", "x")]) == [("plain é 猫", "x")]
