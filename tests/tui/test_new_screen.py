"""The form on screen, filled with the keyboard alone."""

from __future__ import annotations

import re
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input
from tui.driving import Make, Open, ready, screen_text, shows, type_text, until

from tlui.errors import TluiError
from tlui.recipe.catalogue import weights_file
from tlui.recipe.preset import load_preset
from tlui.runs.directory import Home
from tlui.scheduler import order
from tlui.tui.draft import Draft
from tlui.tui.screens import new
from tlui.tui.screens.new import NewScreen, complete
from tlui.tui.screens.presets import PresetModal, save
from tlui.tui.screens.runs import RunsScreen
from tlui.tui.widgets.form_sheet import FormSheet

SMALL = """
name = "small"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
epochs = 3
lr = {policy = "constant", initial = 1e-3}
"""


def form(pilot: object) -> FormSheet:
    found = pilot.app.screen.query_one(FormSheet)  # type: ignore[attr-defined]
    assert isinstance(found, FormSheet)
    return found


async def test_a_photo_folder_is_described_as_it_is_typed(open_app: Open, photos: Path) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await shows(pilot, "1 to mend", "must not be empty", "learning rate")
        await pilot.press("down", "down", "down", "down")
        assert form(pilot).field.path == "dataset.path"
        await type_text(pilot, str(photos)[:-1])
        await shows(pilot, "→ takes photos/", "data to mend",
                    "no errors in the form, but the data cannot be used")  # fmt: skip
        await pilot.press("right")
        text = await shows(pilot, "1 run will be made", "no errors", "20 train · 4 val · 8 test",
                           "2 classes", "blue", "red", "▀▀▀▀▀▀▀▀", "the head learns")  # fmt: skip
        assert "20 steps" not in text
        await shows(pilot, "1 steps an epoch, 10 in all")


async def test_every_field_can_be_reached_and_typed_into(open_app: Open) -> None:
    draft = Draft(tomllib.loads(SMALL))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(draft))
        await shows(pilot, "no errors")
        sheet = form(pilot)
        seen = []
        for _ in range(len(sheet.fields)):
            field = sheet.field
            seen.append(field.path)
            if not field.choices and field.path != "phases":
                await pilot.press("ctrl+u", "7")
                assert draft.text(field.path) == "7", field.path
                text = screen_text(pilot.app)
                assert field.label[:12] in text, field.path
            elif field.choices:
                before = draft.text(field.path)
                await pilot.press("pagedown")
                chosen = draft.text(field.path)
                assert chosen != before and chosen in field.choices, field.path
                await pilot.press("ctrl+u")  # as it was: the choice may bring other fields
                await type_text(pilot, before)
                assert draft.text(field.path) in (before, "auto", "all"), field.path
            await pilot.press("down")
        assert seen == [f.path for f in sheet.fields]
        assert sheet.cursor == 0
        await pilot.press("up")
        assert sheet.cursor == len(sheet.fields) - 1


async def test_choices_by_space_page_keys_and_completion(open_app: Open) -> None:
    draft = Draft(tomllib.loads(SMALL))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(draft))
        await shows(pilot, "no errors")
        sheet = form(pilot)
        sheet.go_to("phase.0.lr.policy")
        await pilot.pause()
        await pilot.press("space")
        assert draft.text("phase.0.lr.policy") == "exponential"
        await shows(pilot, "exponential", " k ")
        await pilot.press("pagedown")
        assert draft.text("phase.0.lr.policy") == "step"
        await pilot.press("pageup", "pageup")
        assert draft.text("phase.0.lr.policy") == "constant"
        sheet.go_to("backbone.name")
        await pilot.pause()
        await pilot.press("ctrl+u")
        await type_text(pilot, "EfficientNetB")
        await pilot.press("right")
        assert draft.text("backbone.name") == "EfficientNetB0"


async def test_editing_keys(open_app: Open) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        sheet = form(pilot)
        await pilot.press("ctrl+u", *"abc", "left", "left", "X")
        assert sheet.text == "aXbc"
        await pilot.press("backspace", "delete", "end", "d", "home", "e")
        assert sheet.text == "eacd"
        await pilot.press("right", "ctrl+k")
        assert sheet.text == "ea"
        await pilot.press("ctrl+w")
        assert sheet.text == ""
        await type_text(pilot, "q n:")
        assert sheet.text == "q n:"
        assert isinstance(pilot.app.screen, NewScreen)


@pytest.mark.parametrize(
    ("path", "keys", "text"),
    [("phase.0.epochs", "5", "5"), ("head.dropout", "3", "3"), ("backbone.alpha", "2", "2"),
     ("phase.0.epochs", ("end", "0"), "30"), ("phase.0.epochs", ("left", "1"), "13"),
     ("head.dropout", ("backspace",), ""), ("phase.0.epochs", ("down", "up", "4", "2"), "42")],
)  # fmt: skip
async def test_what_is_typed_on_entering_a_field_replaces_it_and_moving_keeps_it(
    open_app: Open, path: str, keys: str | tuple[str, ...], text: str
) -> None:
    draft = Draft(tomllib.loads(SMALL))
    draft.put("head.dropout", "0.2")
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(draft))
        await shows(pilot, "no errors")
        form(pilot).go_to(path)
        await pilot.press(*keys)
        assert draft.text(path) == text
        form(pilot).go_to(path)
        await pilot.press("up", "down", "1")
        assert draft.text(path) == "1"


async def test_tab_goes_by_section_and_question_mark_helps(open_app: Open) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("n")
        seen = []
        for _ in range(4):
            seen.append(form(pilot).field.section)
            await pilot.press("tab")
        assert seen == ["run", "data", "model", "phase 1 of 1"]
        await pilot.press("shift+tab")
        assert form(pilot).field.section == "phase 1 of 1"
        await pilot.press("?")
        await shows(pilot, "Keys", "start what fits now")
        await pilot.press("escape", "ctrl+p")
        await type_text(pilot, "preset")
        await shows(pilot, "start from a preset")


async def test_the_backbones_stand_beside_the_form_with_what_there_is_to_know(
    open_app: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    (models / weights_file("MobileNetV2")).touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(
            NewScreen(Draft(tomllib.loads(SMALL.replace("SmallConvNet", "VGG16"))))
        )
        await shows(pilot, "no errors")
        form(pilot).go_to("backbone.name")
        text = await shows(pilot, "params", "weights", "▌VGG16")
        assert re.search(r"VGG16 +14.7M +224 +download", text), text
        await pilot.press("ctrl+u")
        await type_text(pilot, "mobilenetv2")
        text = await shows(pilot, "▌MobileNetV2")
        assert re.search(r"MobileNetV2 +2.26M +224 +✓ at hand", text), text
        form(pilot).go_to("phase.0.lr.policy")
        await shows(pilot, "▌constant", "exponential", "exp(-k * epoch)")
        form(pilot).go_to("train.seed")
        await pilot.pause()
        assert "exp(-k * epoch)" not in screen_text(pilot.app)


async def test_errors_stand_under_their_field(open_app: Open) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        form(pilot).go_to("head.dropout")
        await pilot.pause()
        await pilot.press("ctrl+u", "2")
        text = await shows(pilot, "1 field to mend, marked !", "1 to mend")
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("! dropout"))
        assert any("must be at least 0" in line for line in lines[at + 1 : at + 4])
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewScreen))


async def test_a_comma_counts_the_runs(open_app: Open) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        form(pilot).go_to("phase.0.lr.initial")
        await pilot.pause()
        await shows(pilot, "1e-3, 1e-4 makes a sweep")
        await pilot.press("ctrl+u")
        await type_text(pilot, "1e-3, 1e-4, 1e-5")
        await shows(pilot, "3 runs will be made", "small-1e-3, small-1e-4",
                    "━ 1e-3  ━ 1e-4  ━ 1e-5")  # fmt: skip


async def test_queueing_makes_the_runs_and_starts_nothing(open_app: Open, home: Home) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        form(pilot).go_to("head.dropout")
        await pilot.pause()
        await pilot.press("ctrl+u", *"0,.5", "ctrl+t")
        await until(pilot, lambda: len(order.entries(home)) == 2)
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "queued 2 runs; ctrl+r starts what fits", "○")
        assert {run.observe().state for run in home} == {"queued"}


async def test_the_cursor_is_on_the_first_new_run_wherever_it_is(
    open_app: Open, home: Home, make: Make
) -> None:
    for i in range(30):
        make(name=f"a-{i:02d}", state="finished", epochs=2)
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        runs = pilot.app.screen
        assert isinstance(runs, RunsScreen)
        await pilot.press("o")  # by name: new ones are last
        await shows(pilot, "by name", "a-00")
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        form(pilot).go_to("head.dropout")
        await pilot.press(*"0,.2,.5", "ctrl+t")
        await until(pilot, lambda: runs.table.current and runs.table.current.name == "small-0")
        await shows(pilot, "small-0 #")


async def test_launching_starts_and_opens_the_run(
    open_app: Open, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tlui.scheduler.start as start

    asked: list[Home] = []
    monkeypatch.setattr(start, "start", lambda home: asked.append(home) or [])
    async with open_app().run_test() as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        await pilot.press("ctrl+r")
        await shows(pilot, "small #", "[1 charts]")
        assert asked == [home]


async def test_a_refused_launch_goes_to_the_first_field_to_mend(open_app: Open) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        sheet = form(pilot)
        for path in ("head.dropout", "phase.0.epochs"):
            sheet.go_to(path)
            await pilot.pause()
            await pilot.press("ctrl+u", *"-7")
        sheet.go_to("train.batch_size")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: sheet.field.path == "head.dropout")
        await pilot.press("ctrl+u", *".2", "ctrl+t")
        await until(pilot, lambda: sheet.field.path == "phase.0.epochs")
        await shows(pilot, "1 to mend", "must be at least 1")


async def test_from_a_preset_with_what_was_changed(open_app: Open) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("n", "ctrl+n")
        assert isinstance(pilot.app.screen, PresetModal)
        await type_text(pilot, "quickstart")
        await shows(pilot, "quickstart")
        await pilot.press("enter")
        await shows(pilot, "from ", "quickstart.toml", "runs will be made", "no errors")
        form(pilot).go_to("train.batch_size")
        await pilot.pause()
        await pilot.press("ctrl+u", *"64")
        await shows(pilot, "changed from the preset", "train.batch_size  32 → 64")


async def test_keys_wait_for_the_preset_they_are_meant_for(
    open_app: Open, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, go_on = new.load_draft, threading.Event()

    def slowly(path: Path) -> tuple[Draft, str]:
        go_on.wait(timeout=10)
        return read(path)

    monkeypatch.setattr(new, "load_draft", slowly)
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await shows(pilot, "must not be empty")
        await pilot.press("ctrl+n", *"quickstart", "enter", "ctrl+t")
        assert isinstance(pilot.app.screen, NewScreen)
        go_on.set()
        await until(pilot, lambda: len(order.entries(home)) == 4)
        await shows(pilot, "queued 4 runs")


LAB = (
    SMALL.replace('weights = "none"', 'weights = "none"\n')
    + """
[[experiment]]
name = "head"
[[experiment]]
name = "then-all"
start_from = { experiment = "head" }
[[experiment.phase]]
freeze = "none"
epochs = 2
lr = {policy = "constant", initial = 1e-4}
"""
)


async def test_what_is_said_is_of_the_chosen_experiment_not_of_what_it_needs(
    open_app: Open,
) -> None:
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(LAB))))
        await shows(pilot, "2 runs will be made", "the head learns")
        form(pilot).go_to("experiments")
        await pilot.press(*"then-all")
        await shows(pilot, "2 runs will be made", "everything learns")


async def test_a_count_that_comes_late_is_not_shown_of_another_network(
    open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def count(one: Any, classes: int) -> list[tuple[int, int]]:
        asked.set()
        if one.head.hidden:
            return []
        go_on.wait(timeout=20)
        return [(1234, 5678)]

    monkeypatch.setattr(new, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(new.forecast, "count_parameters", count)
    app = open_app()
    app.count_parameters = True
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "the head learns …")
        await until(pilot, asked.is_set)
        form(pilot).go_to("head.hidden")
        await pilot.press(*"64")
        screen = pilot.app.screen
        assert isinstance(screen, NewScreen)
        await until(pilot, lambda: screen.forecast.counted == [] and len(screen._counted) == 1)
        go_on.set()
        await until(pilot, lambda: len(screen._counted) == 2)
        assert "1,234" not in screen_text(pilot.app)


async def test_nothing_that_is_said_is_cut_at_80_columns(open_app: Open, photos: Path) -> None:
    draft = Draft(tomllib.loads(SMALL))
    draft.put("phase.0.freeze", "none")
    async with open_app().run_test() as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(draft))
        text = await shows(pilot, "everything learns", "of memory", "steps an epoch")
        assert re.search(r"in all *$", text, re.MULTILINE)
        long = str(photos / ("x" * 40))
        form(pilot).go_to("dataset.source")
        await pilot.press(*"folder", "down", "down", *long, "down")
        await shows(pilot, f"…{long[-20:]}", "no errors in the form, but the")
        assert "used" in screen_text(pilot.app)


async def test_a_named_dataset_without_a_place_says_where_to_give_it(open_app: Open) -> None:
    text = SMALL.replace('source = "digits"', 'name = "food-101"')
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(text))))
        await shows(pilot, "data to mend", "where food-101 lies is not known: give its path")


async def test_saving_as_a_preset(open_app: Open, tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(Draft(tomllib.loads(SMALL))))
        await shows(pilot, "no errors")
        await pilot.press("f2")
        field = pilot.app.screen.query_one(Input)
        assert field.value == "small.toml"
        field.value = str(target)
        await pilot.press("enter")
        await until(pilot, target.exists)
        assert load_preset(target).points[0].experiment.phase[0].epochs == 3
        await pilot.press("f2")
        pilot.app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await shows(pilot, "exists already")


async def test_leaving_asks_only_when_something_was_typed(open_app: Open) -> None:
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("n", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await pilot.press("n", "x", "escape")
        await shows(pilot, "Leave the form?")
        await pilot.press("n")
        assert isinstance(pilot.app.screen, NewScreen)
        await pilot.press("escape", "y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_class_names_are_shown_literally(open_app: Open, photos: Path) -> None:
    (photos / "train" / "blue").rename(photos / "train" / "[red]x")
    (photos / "test" / "blue").rename(photos / "test" / "[red]x")
    draft = Draft(tomllib.loads(SMALL))
    draft.put("dataset.source", "folder")
    draft.put("dataset.path", str(photos))
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        pilot.app.push_screen(NewScreen(draft))
        await shows(pilot, "[red]x", "2 classes")


def test_a_path_is_completed_as_far_as_it_is_clear(tmp_path: Path) -> None:
    for name in ("alpha-one", "alpha-two", "beta"):
        (tmp_path / name).mkdir()
    assert complete(f"{tmp_path}/al") == "pha-"
    assert complete(f"{tmp_path}/b") == "eta/"
    assert complete(f"{tmp_path}/zz") == ""
    assert complete("/no/such/place") == ""


async def test_what_is_to_mend_is_unfolded_first(open_app: Open) -> None:
    async with open_app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("n")
        text = await shows(pilot, "1 to mend", "! path", "must not be empty")
        assert "8 evaluate" in text  # every section's heading is still there


def test_a_preset_never_replaces_what_came_meanwhile(tmp_path: Path) -> None:
    path, link = tmp_path / "mine.toml", tmp_path / "link.toml"
    assert save(path, "version = 1\n") == (str(path), f"saved {path}")
    link.symlink_to(tmp_path / "nowhere")
    for taken in (path, link):
        with pytest.raises(TluiError, match="already exists"):
            save(taken, "other")
    assert path.read_text() == "version = 1\n" and not (tmp_path / "nowhere").exists()
