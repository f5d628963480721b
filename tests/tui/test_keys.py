"""The key table: complete, free of clashes, remapped from the configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.test_front_ends import FrontEnd
from tui.driving import Make, ready, screen_text, until

from tlui.errors import PresetError
from tlui.runs.directory import Home
from tlui.tui.app import TluiApp
from tlui.tui.keys import FORBIDDEN, KEYS, SCOPES, SHOWN, TOGETHER, KeyTable, markdown
from tlui.tui.screens.board import BoardScreen, PivotTable
from tlui.tui.screens.compare import CompareScreen
from tlui.tui.screens.framed import Framed
from tlui.tui.screens.new import NewScreen
from tlui.tui.screens.queue import QueueScreen
from tlui.tui.screens.run import RunScreen
from tlui.tui.screens.runs import RunsScreen
from tlui.tui.widgets.listing import Listing

SCREENS: tuple[type[Framed], ...] = (
    RunsScreen, RunScreen, CompareScreen, BoardScreen, QueueScreen, NewScreen,
)  # fmt: skip


def test_no_key_belongs_to_tmux_screen_or_flow_control() -> None:
    assert not FORBIDDEN & {k for key in KEYS for k in key.keys}


def test_every_footer_has_at_most_six_and_ends_with_help() -> None:
    for screen in SCREENS:
        footer = KeyTable().footer(screen.SCOPE)
        assert 2 <= len(footer) <= 6, screen
        assert footer[-1] == ("?", "help")


def test_no_two_actions_share_a_key_in_one_scope() -> None:
    for scope in SCOPES:
        taken: dict[str, str] = {}
        for key in KEYS:
            for k in key.keys if key.scope == scope else ():
                assert k not in taken, f"{k}: {taken.get(k)} and {key.action} in {scope}"
                taken[k] = key.action


@pytest.mark.parametrize("screen", SCREENS)
def test_every_action_of_a_screen_is_done_by_somebody(screen: type[Framed]) -> None:
    doers: list[type] = [screen, TluiApp]
    listing = {"up", "down", "page_up", "page_down", "first", "last", "open"}
    chart = {k.action for k in KEYS if k.scope == "chart"}
    for key in KEYS:
        if key.scope not in screen.SCOPES or key.scope in ("list", "chart"):
            continue
        assert any(hasattr(doer, f"do_{key.action}") for doer in doers), key.action
    assert listing == {k.action for k in KEYS if k.scope == "list"}
    assert chart >= {"cursor_left", "log_y", "zoom_in", "x_axis", "smooth_more"}
    assert issubclass(PivotTable, Listing)


def test_own_keys_replace_the_defaults_everywhere() -> None:
    table = KeyTable({"stop": "X", "new": ["N", "ctrl+y"]})
    assert table.find("X", ("run",)).action == "stop"  # type: ignore[union-attr]
    assert table.find("x", ("run",)) is None
    assert ("X", "stop") in table.footer("run")
    assert "`X`" in markdown(table)
    assert "| One run | `X` |" in markdown(table)


async def test_own_keys_come_from_the_configuration(home: Home, make: Make) -> None:
    make()
    Path(os.environ["TLUI_CONFIG"]).write_text('[keys]\nnew = "T"\n')
    async with TluiApp(home).run_test() as pilot:
        await ready(pilot)
        await until(pilot, lambda: "T new" in screen_text(pilot.app), "the key in the footer")
        await pilot.press("T")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewScreen), "the form")


def test_without_a_configuration_nothing_is_imported_to_read_one(make: Make) -> None:
    """Half as long as all that is done for the first runs on the screen."""
    run = make()
    terminal = FrontEnd()
    try:
        terminal.until(run.read_meta()["name"])
        terminal.until("cpu")  # the store's thread has done all it does
        assert "pydantic_core" not in Path(f"/proc/{terminal.process.pid}/maps").read_text()
    finally:
        terminal.end("kill")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"stopp": "x"}, 'did you mean "stop"?'),
        ({"stop": "ctrl+s"}, "belongs to tmux"),
        ({"stop": "c"}, "already clone"),
        ({"mark": "?"}, "already help"),
    ],
)
def test_keys_that_cannot_be_are_refused_by_name(own: dict[str, str], said: str) -> None:
    with pytest.raises(PresetError) as caught:
        KeyTable(own)
    assert said in str(caught.value)
    assert f"keys.{next(iter(own))}" in str(caught.value)


def test_while_typing_only_keys_made_for_it_act() -> None:
    table = KeyTable()
    assert table.find("q", ("new", "app"), typing=True).typing  # type: ignore[union-attr]
    assert table.find("n", ("new", "app"), typing=True) is None
    assert table.find("ctrl+r", ("new", "app"), typing=True).action == "launch"  # type: ignore[union-attr]


def test_scopes_that_meet_name_real_scopes() -> None:
    assert {scope for group in TOGETHER for scope in group} <= set(SCOPES)
    for screen in SCREENS:
        assert set(screen.SCOPES) <= set(SCOPES)


def test_the_readme_has_the_table_that_is_dispatched() -> None:
    text = markdown()
    for key in KEYS:
        for k in key.keys:
            assert f"`{SHOWN.get(k, k)}`" in text, k
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert text in readme.read_text("utf-8")
