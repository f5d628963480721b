"""Runs, by the keyboard."""

from __future__ import annotations

import base64
import threading

import pytest
from factory import age
from textual.widgets import Input
from tui.driving import HOSTILE, NOW, Make, Open, ready, screen_text, shows, type_text, until

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.marks import read_marks
from tlui.runs.process import identify
from tlui.scheduler import order
from tlui.scheduler.order import Wishes
from tlui.tui import watch
from tlui.tui.screens.board import BoardScreen
from tlui.tui.screens.compare import CompareScreen
from tlui.tui.screens.modals import Answers, ConfirmModal, HelpModal, PaletteModal
from tlui.tui.screens.new import NewScreen
from tlui.tui.screens.queue import QueueScreen
from tlui.tui.screens.run import RunScreen
from tlui.tui.screens.runs import RunsScreen
from tlui.tui.widgets.run_table import RunTable


async def test_an_empty_store_says_what_to_do(open_app: Open) -> None:
    async with open_app().run_test() as pilot:
        await shows(pilot, "No runs yet.", "n starts one", "tlui run presets/quickstart.toml")


async def test_each_row_says_state_settings_and_results(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(200, 60)) as pilot:
        text = await shows(pilot, "head-1e-4", "● running", "✗ failed", "∞ diverged")
        row = next(line for line in text.splitlines() if "full-1e-4" in line)
        for word in ("✓ finished", "intel", "all", "1e-4", ".9037*", "10/10"):
            assert word in row
        assert "9 runs" in text


async def test_text_from_files_is_shown_literally(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(200, 60)) as pilot:
        text = await shows(pilot, "[red]x")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert HOSTILE not in text
        await pilot.press("end", "up")
        text = await shows(pilot, "\\x1b[31m\\u202e")
        await pilot.press("enter")
        await shows(pilot, "\\x1b[31m", "[b]bold[/b]")


@pytest.mark.parametrize(
    ("keys", "at"),
    [
        (["down"], 1), (["j", "j"], 2), (["down", "up"], 0), (["j", "k"], 0), (["end"], 8),
        (["G"], 8), (["end", "home"], 0), (["G", "g"], 0), (["pagedown"], 8),
        (["pagedown", "pageup"], 0),
    ],
)  # fmt: skip
async def test_moving(open_app: Open, store: list[RunDirectory], keys: list[str], at: int) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press(*keys)
        table = pilot.app.screen.query_one(RunTable)
        assert table.cursor == at
        assert table.current is not None
        strip = screen_text(pilot.app).splitlines()[-4]
        assert f"#{table.current.short} " in strip


async def test_enter_opens_escape_comes_back(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, RunScreen)
        assert pilot.app.screen.run_id == store[0].id
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)


@pytest.mark.parametrize(
    ("key", "screen"),
    [("n", NewScreen), ("b", BoardScreen), ("Q", QueueScreen), ("?", HelpModal), ("f1", HelpModal),
     (":", PaletteModal), ("ctrl+p", PaletteModal)],
)  # fmt: skip
async def test_keys_that_open_something(
    open_app: Open, store: list[RunDirectory], key: str, screen: type
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press(key)
        assert isinstance(pilot.app.screen, screen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_the_filter_speaks_the_language_of_ls(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("slash")
        await type_text(pilot, "regime:scratch cfg.lr>=1e-5")
        text = await shows(pilot, "scratch-1e-4", "1 of 9 runs" if False else "scratch")
        await until(pilot, lambda: "scratch-1e-7" not in screen_text(pilot.app))
        await pilot.press("enter")
        text = await shows(pilot, "1 of 9 runs", "regime:scratch cfg.lr>=1e-5")
        assert "full-1e-4" not in text
        await pilot.press("escape")
        await shows(pilot, "9 runs", "full-1e-4")


async def test_a_filter_that_is_wrong_says_so_where_the_rows_were(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("slash")
        await type_text(pilot, "nonsense>1")
        await shows(pilot, "nonsense")
        await shows(pilot, "column 1:")
        await pilot.press("escape")
        await shows(pilot, "full-1e-4")


async def test_escape_in_the_filter_brings_the_old_one_back(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("slash", *"full", "enter")
        await shows(pilot, "2 of 9 runs")
        await pilot.press("slash", *"zzz")
        await shows(pilot, "No run matches")
        await pilot.press("escape")
        await shows(pilot, "2 of 9 runs", "full-1e-4")


async def test_while_a_filter_is_typed_the_screen_speaks_of_that(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"full")
        lines = (await shows(pilot, "2 of 9 runs", "/ full")).splitlines()
        assert lines[1].startswith(" / full") and lines[1].endswith("2 of 9 runs")
        assert lines[-1] == " enter keep  esc as it was  f1 help"
        await pilot.press(*"zz")
        assert "esc clears it" not in await shows(pilot, "No run matches the filter.")
        await pilot.press("enter")
        await shows(pilot, "/ changes it, esc clears it", "/ filter")


async def test_a_hidden_run_keeps_its_name_where_there_is_little_room(
    open_app: Open, make: Make
) -> None:
    make(name="head-1e-4", state="finished")
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("d")
        await shows(pilot, "hidden; v shows hidden runs")
        await pilot.press("v")
        await shows(pilot, "hea…e-4 #2a (hid)")


async def test_columns_that_tell_nothing_go_before_names_are_cut(
    open_app: Open, make: Make
) -> None:
    rates = (1e-4, 1e-5, 5e-7)
    for rate in rates:
        make(name=f"head-then-all-{rate:g}", config={"phase.0.lr.initial": rate})
    async with open_app().run_test() as pilot:
        await ready(pilot)
        text = await shows(pilot, *(f"head-then-all-{rate:g} #" for rate in rates))
        assert "backbone" not in text and "lr" in text
        make(config={"backbone.name": "ResNet50"})
        await shows(pilot, "backbone", "ResNet50")


async def test_sorting_goes_through_the_columns_and_turns_round(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("o", "o")
        await shows(pilot, "by val")
        table = pilot.app.screen.query_one(RunTable)
        await until(pilot, lambda: table.current and table.current.name == "full-1e-4")
        await pilot.press("O")
        await until(pilot, lambda: table.current and table.current.name != "full-1e-4")
        vals = [row.val for row in table.rows if row.val is not None]
        assert vals == sorted(vals)


async def test_marking_and_comparing(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        app = pilot.app
        await pilot.press("=")
        await shows(pilot, "space marks the runs to compare")
        await pilot.press("space", "down", "space")
        assert list(app.marked.values()) == [0, 1]  # type: ignore[attr-defined]
        await shows(pilot, "2 marked")
        await pilot.press("=")
        assert isinstance(app.screen, CompareScreen)
        await pilot.press("escape", "u")
        assert not app.marked  # type: ignore[attr-defined]


async def test_a_mark_keeps_its_colour_when_others_go(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("space", "space", "home", "space")
        assert list(pilot.app.marked.values()) == [1]  # type: ignore[attr-defined]


async def test_pin_and_hide(open_app: Open, store: list[RunDirectory], home: Home) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("end", "p")
        await until(pilot, lambda: read_marks(home).get(store[-1].id))
        assert read_marks(home)[store[-1].id].pinned
        table = pilot.app.screen.query_one(RunTable)
        await until(pilot, lambda: table.rows and table.rows[0].id == store[-1].id)
        await pilot.press("home", "p")
        await until(pilot, lambda: not read_marks(home).get(store[-1].id))
        await pilot.press("home", "d")
        await until(pilot, lambda: table.total == 8)
        await pilot.press("v")
        await shows(pilot, "9 runs", "(hidden)")
        await pilot.press("v")
        await shows(pilot, "8 runs")


async def test_deleting_asks_first(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("end", "D")
        assert isinstance(pilot.app.screen, ConfirmModal)
        await pilot.press("enter", "n")
        assert isinstance(pilot.app.screen, RunsScreen)
        assert store[-1].path.exists()
        await pilot.press("D", "y")
        await until(pilot, lambda: not store[-1].path.exists())
        await shows(pilot, "8 runs", "deleted diverging")


async def test_a_run_that_queued_ones_start_from_stays(
    open_app: Open, home: Home, store: list[RunDirectory]
) -> None:
    child = home.create("", {"name": "child", "config": {}, "parents": [store[4].id]})
    order.append(home, [child.id], Wishes())
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("end", *"kkkk", "D", "y")
        await shows(pilot, "full-1e-4 stays: child", "is queued, starts from it")
        assert store[4].exists()


async def test_a_live_run_cannot_be_deleted(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("D")
        assert isinstance(pilot.app.screen, RunsScreen)
        await shows(pilot, "x stops it first")


async def test_stopping_asks_first(open_app: Open, make: Make) -> None:
    import subprocess
    import sys

    trainer = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys; signal.signal(2, lambda *_: sys.exit(0));"
         " print('up', flush=True); signal.pause()"],
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        make(name="live", state="running", owner=identify(trainer.pid))
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("x")
            await shows(pilot, "Stop live")
            await pilot.press("escape")
            assert trainer.poll() is None
            await pilot.press("x", "enter")
            assert isinstance(pilot.app.screen, ConfirmModal)
            assert trainer.poll() is None
            await pilot.click(Answers, offset=(1, 0))
            await shows(pilot, "will stop at its next step")
        assert trainer.wait(timeout=10) == 0
    finally:
        trainer.kill()
        trainer.wait()
        assert trainer.stdout is not None
        trainer.stdout.close()


async def test_what_has_ended_cannot_be_stopped_nor_a_finished_run_resumed(
    open_app: Open, make: Make
) -> None:
    make(name="done", state="finished")
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("x")
        await shows(pilot, "nothing to stop")
        await pilot.press("R")
        await shows(pilot, "cannot be resumed")


async def test_copying_the_path_writes_osc_52(
    open_app: Open, store: list[RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app()
    async with app.run_test() as pilot:
        await ready(pilot)
        written: list[str] = []
        monkeypatch.setattr(app._driver, "write", written.append)
        await pilot.press("w")
        said = base64.b64encode(str(store[0].path).encode()).decode()
        assert any(f"\x1b]52;c;{said}\x07" in text for text in written)


async def test_clone_opens_the_form_with_its_settings(open_app: Open, home: Home) -> None:
    from tlui.recipe.preset import parse_preset
    from tlui.scheduler.create import create_runs

    text = (
        'name = "from-this"\n[dataset]\nsource = "digits"\n[backbone]\nname = "SmallConvNet"\n'
        'weights = "none"\n[[phase]]\nepochs = 7\nlr = {policy = "constant", initial = 3e-4}\n'
    )
    create_runs(home, parse_preset(text))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await shows(pilot, "name          from-this", "digits", "no errors", "1 run will be made")


async def test_log_opens_the_run_at_its_log(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("l")
        await shows(pilot, "[2 log]", "training starts")


async def test_export_writes_what_the_filter_shows(
    open_app: Open, store: list[RunDirectory], tmp_path: object
) -> None:
    import csv
    from pathlib import Path

    target = Path(str(tmp_path)) / "out.csv"
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("slash", *"full", "enter")
        await shows(pilot, "2 of 9 runs")
        await pilot.press("e")
        await shows(pilot, "Export CSV", "2 runs, one row a run")
        pilot.app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await until(pilot, target.exists, "the file")
        await shows(pilot, "wrote 2 runs")
        with target.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == ["then-full-1e-6", "full-1e-4"]
        await pilot.press("e")
        pilot.app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await shows(pilot, "exists already")


async def test_the_palette_finds_and_does(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press(":")
        await type_text(pilot, "leader")
        await shows(pilot, "best result by any two settings")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, BoardScreen))


async def test_quit_with_runs_alive_says_what_goes_on(
    open_app: Open, store: list[RunDirectory]
) -> None:
    app = open_app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("q")
        await shows(pilot, "Leave tlui?", "1 running", "goes on without this window")
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("q")
        await shows(pilot, "y or enter leave   n no")
        await pilot.click(Answers, offset=(19, 0))
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("q", "enter")
    assert app.return_code == 0


async def test_quit_with_nothing_alive_just_leaves(open_app: Open, make: Make) -> None:
    make(state="finished")
    app = open_app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_new_run_of_somebody_else_shows_by_itself(
    open_app: Open, store: list[RunDirectory], make: Make
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("down")
        make(name="came-later", created=NOW + 60)
        await shows(pilot, "came-later", "10 runs")
        table = pilot.app.screen.query_one(RunTable)
        assert table.current is not None
        assert table.current.id == store[1].id, "the cursor stays on its run"


async def test_many_runs_scroll_with_only_a_window_at_hand(open_app: Open, make: Make) -> None:
    for i in range(300):
        make(name=f"run-{i:03}", state="queued", created=NOW - i)
    async with open_app().run_test() as pilot:
        await shows(pilot, "run-000", "300 runs")
        table = pilot.app.screen.query_one(RunTable)
        await pilot.press("end")
        await shows(pilot, "run-299")
        assert len(table.rows) < 200
        await pilot.press("home")
        await shows(pilot, "run-000")


class Gate:
    """Lets the portions of a large store through one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tlui.runs import gather, index

        self.open = threading.Semaphore(0)
        monkeypatch.setattr(index, "BATCH", 2)
        monkeypatch.setattr(gather, "PORTION", 2)

        def slowly(home: Home, ids: list[str]) -> gather.Portions:
            for portion in gather.gather(home, ids):
                assert self.open.acquire(timeout=60)
                yield portion

        monkeypatch.setattr(index, "gather", slowly)
        monkeypatch.setattr(watch, "READING_SECONDS", 0.0)
        monkeypatch.setattr(watch, "READING_TIMES", 0)

    def let(self, portions: int) -> None:
        self.open.release(portions)


async def test_a_large_store_shows_its_newest_runs_while_the_rest_is_read(
    open_app: Open, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cursor and marks stay on their runs, whatever comes between; in the end all is in order."""
    tops = [0.5, 0.9, 0.6, 0.95, 0.7, 0.99, 0.8]
    runs = [make(name=f"run-{i}", top=top) for i, top in enumerate(tops)]  # the newest first
    for i, run in enumerate(runs):
        age(run.meta, 100 + i)
    gate = Gate(monkeypatch)
    async with open_app().run_test(size=(100, 24)) as pilot:
        gate.let(1)
        await shows(pilot, "run-0", "run-1", "indexing 2 of 7")
        table = pilot.app.screen.query_one(RunTable)
        await pilot.press("down", "space", "up")
        assert "run-2" not in screen_text(pilot.app)
        await pilot.press("o", "o")  # by val
        gate.let(1)
        text = await shows(pilot, "run-3", "indexing 4 of 7", "1 marked", "by val")
        names = [row.name for row in table.rows]
        assert names == ["run-3", "run-1", "run-2", "run-0"]
        assert table.cursor == 0  # who is at the top stays there
        await pilot.press("down", "down")
        assert table.current is not None and table.current.name == "run-2"
        gate.let(2)
        text = await shows(pilot, "7 runs", "run-6")
        assert "indexing" not in text
        names = [row.name for row in table.rows]
        assert names == ["run-5", "run-3", "run-1", "run-6", "run-4", "run-2", "run-0"]
        assert table.current.name == "run-2"
        assert list(table.marked) == [runs[1].id]


async def test_the_cursor_follows_its_run_out_of_the_window(
    open_app: Open, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlui.tui.widgets.run_table.AHEAD", 2)
    slow = [make(name=f"slow-{i:02}", top=0.5, epochs=1, created=NOW + i) for i in range(4)]
    for i in range(120):
        make(name=f"fast-{i:03}", top=0.9, epochs=1, created=NOW - 100 - i)
    for i, run in enumerate(slow):
        age(run.meta, -100 - i)
    gate = Gate(monkeypatch)
    async with open_app().run_test(size=(100, 24)) as pilot:
        gate.let(2)
        await shows(pilot, "slow-03", "indexing 4 of 124")
        await pilot.press("down")
        table = pilot.app.screen.query_one(RunTable)
        assert table.current is not None
        here = table.current.id
        await pilot.press("o", "o")
        await shows(pilot, "by val")
        gate.let(1)
        await shows(pilot, "fast-119", "indexing 6 of 124")
        await pilot.press("end", "up", "up")
        assert table.current.id == here
        monkeypatch.setattr(watch, "READING_SECONDS", 60.0)
        gate.let(60)
        await shows(pilot, "124 runs")
        assert table.cursor == 121
        assert table.current is not None and table.current.id == here
        assert table.current.name in screen_text(pilot.app)


async def test_leaving_while_a_large_store_is_read_does_not_wait_for_it(
    open_app: Open, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(9):
        make(name=f"run-{i}", epochs=1)
    gate = Gate(monkeypatch)
    app = open_app()
    async with app.run_test() as pilot:
        gate.let(1)
        await shows(pilot, "indexing 2 of 9")
        ended = app.watch_store._ended
        threading.Thread(target=lambda: ended.wait(30) and gate.let(1)).start()
        await pilot.press("q")
    assert app.page is not None and app.page.reading == (2, 9)
    assert not app.watch_store._thread.is_alive()


@pytest.mark.parametrize("size", [(59, 24), (80, 14), (30, 5), (10, 2)])
async def test_too_small_a_terminal_shows_one_status_line(
    open_app: Open, store: list[RunDirectory], size: tuple[int, int]
) -> None:
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        lines = [line for line in screen_text(pilot.app).splitlines() if line.strip()]
        assert len(lines) == 1
        assert lines[0].startswith("tlui")
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "full-1e-4")


async def test_clicks_choose_and_open(open_app: Open, store: list[RunDirectory]) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.click(RunTable, offset=(10, 3))
        table = pilot.app.screen.query_one(RunTable)
        assert table.cursor == 2
        await pilot.click(RunTable, offset=(10, 3))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))


async def test_own_keys_are_dispatched_and_shown(open_app: Open, store: list[RunDirectory]) -> None:
    from tlui.tui.keys import KeyTable

    async with open_app(keys=KeyTable({"new": "N"})).run_test() as pilot:
        await shows(pilot, "N new")
        await pilot.press("n")
        assert isinstance(pilot.app.screen, RunsScreen)
        await pilot.press("N")
        assert isinstance(pilot.app.screen, NewScreen)
