"""One run on screen: live, ended, by the keyboard."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factory import dead_identity, write_epochs
from training import digits_run, start
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventWriter
from tlui.runs.process import Identity, identify
from tlui.runs.status import read_status, write_status
from tlui.tui.chart.line_chart import LineChart
from tlui.tui.screens.modals import ConfirmModal
from tlui.tui.screens.new import NewScreen
from tlui.tui.screens.run import RunScreen
from tlui.tui.screens.runs import RunsScreen


def chart(pilot: object) -> LineChart:
    focused = pilot.app.screen.focused  # type: ignore[attr-defined]
    assert isinstance(focused, LineChart)
    return focused


async def test_a_live_run_shows_progress_charts_and_what_arrives(
    open_app: Open, make: Make
) -> None:
    run = make(name="live", state="running", epochs=10, done=4, top=0.8)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        text = await shows(pilot, "● running", "epoch 4/10", "accuracy", "loss", "val .", "x stop")
        assert "7,686 of 2.27M params learn" in text
        writer = EventWriter(run.events)
        write_epochs(writer, range(5, 7), 10, top=0.8)
        writer.write("alert", kind="input", message="the GPU waits for images")
        writer.close()
        await shows(pilot, "epoch 6/10", "! the GPU waits for images")
        screen = pilot.app.screen
        assert isinstance(screen, RunScreen)
        assert screen.live is not None
        assert len(screen.live.epochs) == 6


@pytest.mark.parametrize(
    ("owner", "epoch"), [(identify(), 3), (dead_identity(), 2)], ids=["trains", "killed"]
)
async def test_list_and_run_show_the_same_epoch(
    open_app: Open, make: Make, owner: Identity, epoch: int
) -> None:
    progress = {"epoch": 3, "step": 1}  # two have finished, and the third has begun
    make(state="running", epochs=7, done=2, owner=owner, progress=progress)
    async with open_app().run_test(size=(120, 40)) as pilot:
        await shows(pilot, f" {epoch}/7 ", f"epoch {epoch}/7")
        await pilot.press("enter")
        await shows(pilot, "[1 charts]", f"epoch {epoch}/7")


@pytest.mark.parametrize(
    ("key", "words"),
    [("2", ("[2 log]", "training starts", "epoch 5")), ("3", ("[3 tables]", "test", ".8600")),
     ("4", ("[4 config]", "settings", "backbone.alpha")), ("1", ("[1 charts]", "accuracy")),
     ("l", ("[2 log]", "training starts"))],
)  # fmt: skip
async def test_panes_by_number(
    open_app: Open, make: Make, key: str, words: tuple[str, ...]
) -> None:
    make(name="done", state="finished", top=0.87)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "done #")
        await pilot.press(key)
        await shows(pilot, *words)


async def test_tab_goes_through_every_chart_and_pane_and_back(open_app: Open, make: Make) -> None:
    make(name="done", state="finished")
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 5/5")
        seen = []
        for _ in range(8):
            seen.append(pilot.app.screen.focused.id)  # type: ignore[union-attr]
            await pilot.press("tab")
            await pilot.pause()
        assert seen == ["chart-accuracy", "chart-loss", "chart-lr", "chart-speed",
                        "chart-machine", "log", "tables", "config"]  # fmt: skip
        await pilot.press("shift+tab")
        await pilot.pause()
        assert pilot.app.screen.focused.id == "config"  # type: ignore[union-attr]


async def test_chart_keys(open_app: Open, make: Make) -> None:
    make(name="done", state="finished", epochs=20, top=0.9)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 20/20")
        plot = chart(pilot).plot
        await pilot.press("y")
        assert plot.log_y
        await shows(pilot, "accuracy  log")
        await pilot.press("y", "Y")
        assert not plot.log_y
        assert plot.log_x
        await pilot.press("Y", "s")
        assert plot.smoothing == 0.3
        await shows(pilot, "smooth .3")
        await pilot.press("S", "z")
        assert plot.smoothing == 0
        assert plot.zoom == 2
        await pilot.press("Z", "t")
        assert plot.zoom == 1
        assert plot.axis == "step"
        await pilot.press("t", "t", "left")
        assert plot.cursor == 20
        await shows(pilot, "epoch 20", "val .9000")
        await pilot.press("left")
        assert plot.cursor == 19
        await pilot.press("shift+left")
        assert plot.cursor < 18
        await pilot.press("shift+right", "shift+right", "right")
        assert plot.cursor == 20
        await pilot.press("escape")
        assert plot.cursor is None
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_a_click_reads_values(open_app: Open, make: Make) -> None:
    make(name="done", state="finished", epochs=20)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 20/20")
        await pilot.click("#chart-accuracy", offset=(40, 4))
        assert chart(pilot).plot.cursor == 10


async def test_a_finished_run_shows_tables_matrix_classes_and_the_surest_mistakes(
    open_app: Open, make: Make
) -> None:
    run = make(name="done", state="finished", top=0.87)
    run.predictions.mkdir()
    arrays = {
        "file": np.array(["a/ok.jpg", "b/[red]wrong[/red].jpg", "c/\x1b]0;x\x07.jpg"]),
        "label": np.array([0, 1, 2]),
        "probabilities": np.array([[0.9, 0.1, 0], [0.95, 0.05, 0], [0.4, 0.2, 0.4]], np.float32),
    }
    with zipfile.ZipFile(run.predictions / "test.npz", "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    async with open_app().run_test(size=(200, 60)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        text = await shows(
            pilot, "most confidently wrong", "b/[red]wrong[/red].jpg", "confusion (test)",
            "by class (test)", "buildings", "f1 (macro)", "roc auc",
        )  # fmt: skip
        assert ".9500 said buildings is forest" in text
        assert "\\x1b]0;x\\x07.jpg" in text
        assert "a/ok.jpg" not in text


async def test_stop_asks_clone_opens_the_form_export_offers_epochs(
    open_app: Open, make: Make
) -> None:
    make(name="live", state="running", epochs=10, done=4)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "● running")
        await pilot.press("x")
        assert isinstance(pilot.app.screen, ConfirmModal)
        await pilot.press("n", "e")
        await shows(pilot, "one row an epoch")
        await pilot.press("tab")
        await shows(pilot, "one row a run")
        await pilot.press("escape", "c")
        assert isinstance(pilot.app.screen, NewScreen)


async def test_a_failed_run_says_why_and_shows_the_trainer_output(
    open_app: Open, make: Make
) -> None:
    run = make(name="bad", state="failed", reason="CUDA ran out of memory", epochs=10, done=2)
    run.log.write_bytes(b"loading\rloaded\nTraceback: \x1b[31mboom\x1b[0m\n")
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter", "2")
        text = await shows(pilot, "✗ failed", "! CUDA ran out of memory", "trainer.log", "boom")
        assert "\\x1b[31mboom" in text
        assert "R resume" in text


async def test_a_resume_takes_back_what_it_voids(open_app: Open, make: Make) -> None:
    run = make(name="live", state="running", epochs=10, done=6)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 6/10")
        writer = EventWriter(run.events)
        writer.write("open", version=1, attempt=2, epoch=3, step=12)
        write_epochs(writer, range(4, 5), 10)
        writer.close()
        status = read_status(run.status)
        assert status is not None
        write_status(run.status, replace(status, progress={**status.progress, "epoch": 4}))
        screen = pilot.app.screen
        assert isinstance(screen, RunScreen)
        await shows(pilot, "epoch 4/10")
        assert screen.live is not None
        assert list(screen.live.epochs.x("epoch")) == [1, 2, 3, 4]
        assert screen.live.steps.x("step")[-1] == 16


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_resizing_at_any_moment(
    open_app: Open, store: list[RunDirectory], size: tuple[int, int]
) -> None:
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 6/10")
        for width, height in ((60, 15), (200, 60), (20, 5), (100, 30), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        text = await shows(pilot, "[1 charts]", "accuracy")
        assert max(len(line) for line in text.splitlines()) <= 80


async def test_two_panes_at_120_and_all_at_200(open_app: Open, make: Make) -> None:
    make(name="done", state="finished")
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        text = await shows(pilot, "[1 charts]", "[3 tables]", "confusion (test)")
        assert "[2 log]" not in text
        await pilot.resize_terminal(200, 60)
        await shows(pilot, "[1 charts]", "[2 log]", "[3 tables]", "[4 config]", "learning rate")


async def test_nothing_is_painted_while_nothing_changes(open_app: Open, make: Make) -> None:
    make(name="done", state="finished")
    app = open_app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 5/5")
        before = screen_text(app)
        painted: list[object] = []
        display = app._display
        app._display = lambda screen, renderable: (  # type: ignore[method-assign]
            painted.append(renderable), display(screen, renderable))[1]  # fmt: skip
        for _ in range(30):
            await pilot.pause(0.05)
        assert screen_text(app) == before
        assert not painted


async def test_pin_copy_and_queue_keys_work_here_too(
    open_app: Open, store: list[RunDirectory]
) -> None:
    from tlui.runs.marks import read_marks

    app = open_app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "● running")
        await pilot.press("p")
        await until(pilot, lambda: read_marks(app.home).get(store[0].id))
        await pilot.press("w")
        assert app.clipboard == str(store[0].path)


def inks(app: Any) -> list[tuple[int, int, int]]:
    """The colours of all half-blocks on the screen."""
    found = []
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            if "▀" in segment.text and segment.style is not None:
                for colour in (segment.style.color, segment.style.bgcolor):
                    assert colour is not None and colour.triplet is not None
                    found.append(tuple(colour.triplet))
    return found


async def test_the_photos_of_the_surest_mistakes(open_app: Open, home: Home, photos: Path) -> None:
    """Two red photos among the blue ones: a network that has learnt says so, and they are seen."""
    for number in (0, 1):
        shutil.copy(photos / f"train/red/0{number}.png", photos / f"test/blue/9{number}.png")
    data = {"source": "folder", "path": str(photos), "image_size": 32, "validation": 0.2}
    run = digits_run(home, dataset=data, epochs=12, train={"batch_size": 4})
    assert start(run).wait() == 0, run.log.read_text()
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("enter", "3", "+", "end")
        text = await shows(pilot, "test/blue/90.png", "test/blue/91.png")
        assert text.count("said red is blue") == 2
        colours = inks(pilot.app)
        assert len(colours) == 2 * 16 * 16  # two photos of 16 cells by 8 lines, two pixels a cell
        assert all(red > 150 and blue < 90 for red, _, blue in colours)
    shutil.rmtree(photos)
    async with open_app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("enter", "3", "+", "end")
        await shows(pilot, "test/blue/90.png")
        assert inks(pilot.app) == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"cpu_percent": 182.4, "ram_mb": 1331}, "cpu 182% 1.3G"),
        (
            {"gpu_percent": 93, "gpu_mb": 11469, "gpu_celsius": 71, "cpu_percent": 40},
            "gpu 93% 11G 71°C  cpu 40%",
        ),
    ],
)
async def test_the_line_of_the_machine(
    open_app: Open, make: Make, size: tuple[int, int], sample: dict[str, float], words: str
) -> None:
    run = make(name="live", state="running", epochs=10, done=4)
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await shows(pilot, "epoch 4/10")
        writer = EventWriter(run.events)
        writer.write("system", **sample)
        await shows(pilot, words)
        writer.write("system", cpu_percent=7, ram_mb=900)
        await shows(pilot, "cpu 7% 900M")
        assert words not in screen_text(pilot.app)
        writer.close()


async def test_the_machine_of_a_real_training(open_app: Open, home: Home) -> None:
    run = digits_run(home, epochs=500)
    process = start(run)
    try:
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: re.search(r"cpu \d+% [\d.]+[MG]", screen_text(pilot.app)))
            await pilot.press("shift+tab", "shift+tab", "shift+tab", "shift+tab")
            assert chart(pilot).id == "chart-machine"
            await shows(pilot, "machine %", "cpu")
    finally:
        process.kill()
        process.wait()
