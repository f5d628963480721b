"""Compare, leaderboard and queue, by the keyboard."""

from __future__ import annotations

import pytest
from factory import make_run
from tui.driving import Make, Open, ready, shows, until

from tlui.recipe.preset import parse_preset
from tlui.runs.directory import Home, RunDirectory
from tlui.scheduler import order, start
from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.create import create_runs
from tlui.tui.screens.board import BoardScreen, Pivot, PivotTable
from tlui.tui.screens.compare import CompareScreen, best, differing, in_groups
from tlui.tui.screens.new import NewScreen
from tlui.tui.screens.queue import QueueList, QueueScreen
from tlui.tui.screens.run import RunScreen
from tlui.tui.screens.runs import RunsScreen

TOML = """
name = "three"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
lr = {policy = "constant", initial = 1e-3}
[sweep]
"phase.0.lr.initial" = [1e-3, 1e-4, 1e-5]
"""


async def test_compare_overlays_and_lists_only_what_differs(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("down", "down", "down", "space", "space", "=")
        text = await shows(pilot, "val_accuracy", "phase.0.freeze", "test_accuracy", ".8937*")
        assert "backbone.name" not in text
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen)
        assert len(screen.chart.plot.curves) == 2
        await pilot.press("m")
        await shows(pilot, "val_loss")
        await pilot.press("M", "M")
        await shows(pilot, "val_f1" if screen.metric == "val_f1" else screen.metric)
        await pilot.press("left")
        await shows(pilot, "epoch 10")
        await pilot.press("escape", "tab", "down", "e")
        await shows(pilot, "2 runs, one row a run")
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_compare_at_80_columns_shows_one_pane_at_a_time(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("end", "up", "space", "home", "space", "=")
        text = await shows(pilot, "val_accuracy")
        assert "what differs" not in text
        await pilot.press("2")
        await shows(pilot, "what differs", "phase.0.freeze")
        await pilot.press("1")
        await shows(pilot, "val_accuracy")


async def test_compare_keeps_names_apart_that_begin_and_end_alike(
    open_app: Open, make: Make
) -> None:
    for name in ("head-1e-4", "head-then-all-1e-4", "head-1e-3", "head-then-all-1e-3"):
        make(name=name, config={"head.dropout": len(name) / 100})
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press(*["space"] * 4, "=", "2")
        text = await shows(pilot, "what differs", "head-then-")
        assert "…" not in text
        assert text.count("head-1e-") == 2 and text.count("head-then-") == 2


async def test_without_colour_curves_are_told_apart_by_glyphs(
    open_app: Open, store: list[RunDirectory]
) -> None:
    from tlui.tui.theme import Theme

    async with open_app(look=Theme("none", ascii=True)).run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("down", "down", "down", "space", "space", "=")
        text = await shows(pilot, "val_accuracy", "A head-1e-6", "B full-1e-4")
        assert text.isascii()


def test_sweep_points_stand_together(make: Make, home: Home) -> None:
    from tlui.runs.index import open_index

    for lr in (1e-4, 1e-6, 1e-5):
        make(config={"phase.0.lr.initial": lr}, top=0.5 + lr)
    with open_index(home) as index:
        rows = index.rows()
    assert differing(rows) == ["phase.0.lr.initial"]
    assert [r.config["phase.0.lr.initial"] for r in in_groups(rows)] == [1e-6, 1e-5, 1e-4]
    assert best("test_accuracy", rows) == max(r.value("test_accuracy") for r in rows)
    assert best("test_loss", rows) == min(r.value("test_loss") for r in rows)
    assert best("trainable_parameters", rows) is None


async def test_the_leaderboard_says_how_to_turn_it(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("b")
        await shows(pilot, "m metric  r rows  f columns  esc back  ? help")


async def test_the_leaderboard_pivots_and_opens_what_is_behind_a_cell(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("b")
        text = await shows(pilot, "best test_accuracy", "regime by lr", ".8937*", "1e-6")
        assert "all but BN" in text
        await pilot.press("m")
        await shows(pilot, "best val_accuracy")
        await pilot.press("M", "a")
        await shows(pilot, "mean test_accuracy")
        await pilot.press("f")
        screen = pilot.app.screen
        assert isinstance(screen, BoardScreen)
        await until(pilot, lambda: screen.across != "lr")
        await pilot.press("r")
        await until(pilot, lambda: screen.down != "regime")
        screen.down, screen.across = "regime", "lr"
        screen._sort()
        table = screen.query_one(PivotTable)
        await pilot.press("right")
        assert table.column == 1
        await pilot.press("left", "left")
        assert table.column == 0
        await pilot.press("end", "enter")
        await shows(pilot, "filter" if False else "id:", "1 of 9 runs", "head-1e-6")
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_the_leaderboard_ranks_what_runs_shows_and_says_so(
    open_app: Open, store: list[RunDirectory]
) -> None:
    async with open_app().run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"full", "enter", "b")
        text = await shows(pilot, "best test_accuracy   regime by lr   of full", ".8937")
        assert "all but BN" not in text and "*" not in text


async def test_datasets_are_never_ranked_against_each_other(open_app: Open, make: Make) -> None:
    for dataset, top in (("easy", 0.99), ("hard", 0.5)):
        for rate in (1e-3, 1e-4):
            config = {"dataset.name": dataset, "phase.0.lr.initial": rate}
            make(name=f"{dataset}-{rate:g}", config=config, top=top + rate)
    async with open_app().run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        text = await shows(pilot, "easy-0.001", ".9910*", ".5010*")
        assert text.count("*") == 4  # val and test of the best of each
        await pilot.press("b")
        text = await shows(pilot, "dataset · regime", "easy · head", "hard · head")
        assert text.count("*") == 2
        await pilot.press("end", "right", "enter")
        await shows(pilot, "1 of 4 runs", "hard-0.001")


def test_pivot_takes_best_or_mean_and_less_loss(make: Make, home: Home) -> None:
    from tlui.runs.index import open_index

    make(top=0.5)
    make(top=0.7)
    with open_index(home) as index:
        pivot = Pivot.of(index.rows(), "regime", "lr")
    cell = pivot.cells[("", "head"), "1e-4"]
    values = [r.value("test_accuracy") for r in cell.rows]
    assert cell.value("test_accuracy", mean=False) == max(values)
    assert cell.value("test_accuracy", mean=True) == sum(values) / 2
    losses = [r.value("test_loss") for r in cell.rows]
    assert cell.value("test_loss", mean=False) == min(losses)
    assert cell.value("nothing", mean=False) is None


async def test_the_queue_is_ordered_held_and_dropped(open_app: Open, home: Home) -> None:
    runs = create_runs(home, parse_preset(TOML))
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("Q")
        await shows(pilot, "three-1e-3", "three-1e-5", "fits now; ctrl+r starts it", "CPU",
                    "ctrl+r start  shift+↑ sooner  h hold  D drop")  # fmt: skip
        screen = pilot.app.screen
        assert isinstance(screen, QueueScreen)
        listing = screen.query_one(QueueList)

        def line() -> list[str]:
            return [entry.run for entry in order.entries(home)]

        await pilot.press("end", "K")
        await until(pilot, lambda: line() == [runs[0].id, runs[2].id, runs[1].id])
        await until(pilot, lambda: listing.current and listing.current.run.id == runs[2].id
                    and listing.current.position == 2)  # fmt: skip
        await pilot.press("J")
        await until(pilot, lambda: line() == [run.id for run in runs])
        await until(pilot, lambda: listing.current and listing.current.position == 3)
        await pilot.press("h")
        await shows(pilot, "held", "h lets it go")
        assert order.entries(home)[2].held
        await pilot.press("D")
        await shows(pilot, "Drop three-1e-5 from the queue?")
        await pilot.press("y")
        await until(pilot, lambda: len(line()) == 2)
        assert runs[2].observe().state == "stopped"
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))


@pytest.mark.parametrize("keys", [("ctrl+r",), ("R",), (":", *"start", "enter")])
async def test_what_waits_is_started_from_the_queue(
    open_app: Open, home: Home, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    runs = create_runs(home, parse_preset(TOML))
    monkeypatch.setattr(start, "start", lambda home: [runs[0].id])
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("Q")
        await shows(pilot, "fits now; ctrl+r starts it")
        await pilot.press(*keys)
        await shows(pilot, "started three-1e-3")


async def test_what_does_not_fit_says_why(open_app: Open, home: Home) -> None:
    busy = make_run(home, name="busy", state="running")
    assert Claims(home).take(busy.id, [CPU])
    create_runs(home, parse_preset(TOML))
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("R")
        await shows(pilot, "nothing fits now; three-1e-5: waits for the CPU")


async def test_a_run_that_trains_is_stopped_and_cloned_from_the_queue(
    open_app: Open, home: Home
) -> None:
    busy = make_run(home, name="busy", state="running")
    assert Claims(home).take(busy.id, [CPU])
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("Q")
        await shows(pilot, "busy #", "x stop  c clone")
        await pilot.press("x")
        await shows(pilot, "Stop busy #")
        await pilot.press("n", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewScreen))


async def test_the_queue_names_what_is_waited_for_as_it_lists_it(
    open_app: Open, home: Home
) -> None:
    busy = make_run(home, name="busy", state="running")
    assert Claims(home).take(busy.id, [CPU])
    create_runs(home, parse_preset(TOML))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("Q")
        sign = f"#{busy.id[:4]}"
        text = await shows(pilot, f"busy {sign}", f"waits for the CPU, where {sign} runs")
        assert busy.id not in text
        await pilot.resize_terminal(80, 24)
        await shows(pilot, f"waits for the CPU, where {sign} runs")


async def test_an_empty_queue_says_what_to_do(open_app: Open) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("Q")
        await shows(pilot, "Nothing runs and nothing waits.")
        await pilot.press("K")
        await shows(pilot, "only what waits")
