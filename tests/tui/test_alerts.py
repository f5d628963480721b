"""What a real training says of itself on its screen while it goes wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training import digits_run, start
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventWriter
from tlui.tui.widgets.run_lines import AlertLine


@contextmanager
def training(run: RunDirectory, **environment: str) -> Iterator[None]:
    """A trainer of its own until the end of the block."""
    process = start(run, **environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def alert(pilot: Any) -> str:
    """What the line of alerts says; "" while it is not shown."""
    line = pilot.app.screen.query_one(AlertLine)
    return line.text if line.region.area else ""


def phase(epochs: int, lr: float, **more: Any) -> list[dict[str, Any]]:
    rate = {"policy": "constant", "initial": lr}
    return [{"freeze": "none", "epochs": epochs, "lr": rate, **more}]


async def test_a_rate_that_hardly_moves_the_weights(open_app: Open, home: Home) -> None:
    run = digits_run(home, phase=phase(500, 1e-12))
    with training(run):
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: "learning rate 1e-12 hardly moves" in alert(pilot))
            text = await shows(pilot, "● running")
            assert text.count("hardly moves") == 1
            epochs = len(pilot.app.screen.live.history.epochs)  # type: ignore[attr-defined]
            await until(pilot, lambda: len(pilot.app.screen.live.history.epochs) > epochs + 3)  # type: ignore[attr-defined]
            await pilot.press("2")
            await shows(pilot, "[2 log]")
            kinds = [e["kind"] for e in pilot.app.screen.live.history.alerts]  # type: ignore[attr-defined]
            assert kinds == ["lr_too_small"]  # said once, however long it goes on


def noise_photos(folder: Path) -> Path:
    """Two classes that nothing tells apart: whoever learns them learns them by heart."""
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 255, (32, 32, 3)).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


async def test_a_network_that_learns_by_heart(open_app: Open, home: Home, tmp_path: Path) -> None:
    photos = noise_photos(tmp_path / "noise")
    data = {"source": "folder", "path": str(photos), "image_size": 16, "validation": 0.5}
    learns = phase(500, 1e-3, batchnorm="inference")
    run = digits_run(home, dataset=data, train={"batch_size": 8}, phase=learns)
    with training(run):
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: "it may begin to overfit" in alert(pilot))
            assert "! val_loss has risen by" in screen_text(pilot.app)
            live = pilot.app.screen.live  # type: ignore[attr-defined]
            said = next(e for e in live.history.alerts if e["kind"] == "val_turning_up")
            before = [e for e in live.history.epochs if e["t"] <= said["t"]]
            for split, sign in (("train", -1), ("val", 1)):
                first, last = (e[f"{split}_loss"] for e in (before[0], before[-1]))
                assert sign * (last - first) > 0.05 * first


NVML = """
NVML_TEMPERATURE_GPU = 0

class Reading:
    gpu, used = {percent}, 3 * 2**30

def nvmlInit(): pass
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUtilizationRates(gpu): return Reading
def nvmlDeviceGetMemoryInfo(gpu): return Reading
def nvmlDeviceGetTemperature(gpu, sensor): return 41
"""
"""The driver's library of a machine with one GPU, as pynvml gives it."""


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos of 4 megapixels on a machine without room to keep them decoded: every epoch reads
    and shrinks them anew."""
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        folder = tmp_path / "scans" / name
        folder.mkdir(parents=True)
        pixels = rng.integers(0, 255, (2000, 2000, 3)).astype("uint8")
        for i in range(8):
            Image.fromarray(np.roll(pixels, 7 * i, axis=0)).save(folder / f"{i}.jpg")
    Path(os.environ["TLUI_CONFIG"]).write_text("[cache]\nlimit_gb = 0\n")
    return tmp_path / "scans"


@pytest.mark.parametrize(("percent", "bound"), [(2, True), (96, False)])
async def test_a_gpu_that_waits_for_images(
    open_app: Open, home: Home, scans: Path, tmp_path: Path, percent: int, bound: bool
) -> None:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "pynvml.py").write_text(NVML.format(percent=percent))
    data = {"source": "folder", "path": str(scans), "image_size": 32, "test": 0.0}
    run = digits_run(home, dataset=data, train={"batch_size": 4}, phase=phase(900, 1e-4))
    root = Path(__file__).resolve().parent.parent.parent
    python = os.pathsep.join([str(tmp_path / "driver"), str(root)])
    with training(run, PYTHONPATH=python, CUDA_VISIBLE_DEVICES="0"):
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await shows(pilot, f"gpu {percent}%")
            live = pilot.app.screen.live  # type: ignore[attr-defined]
            epochs = len(await until(pilot, lambda: live.history.epochs))
            if bound:
                said = await until(pilot, lambda: alert(pilot), seconds=90)
                assert said.startswith(f"the GPU is {percent}% busy and ")
                assert "! the GPU is 2% busy" in screen_text(pilot.app)
                assert [a["kind"] for a in live.history.alerts] == ["input_bound"]
            else:
                enough = live.history.epochs[0]["t"] + 25  # over two looks of ten seconds
                await until(pilot, lambda: live.history.epochs[-1]["t"] > enough, seconds=90)
                assert len(live.history.epochs) > epochs
                assert not live.history.alerts and not alert(pilot)


async def test_a_loss_that_is_not_finite(open_app: Open, home: Home) -> None:
    run = digits_run(home, phase=phase(50, 1e3, optimizer="sgd", batchnorm="inference"))
    with training(run):
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await shows(pilot, "∞ diverged")
            said = await until(pilot, lambda: alert(pilot))
            assert "not finite" in said and "learning rate" in said


async def test_a_validation_that_falls_again_is_no_longer_spoken_of(
    open_app: Open, make: Make
) -> None:
    run = make(name="up", state="running", epochs=90, done=3)
    writer = EventWriter(run.events)
    writer.write("alert", kind="val_turning_up", message="val_loss has risen")
    worse = {"train_loss": 0.1, "val_loss": 9.0, "val_accuracy": 0.1}
    writer.write("epoch", phase=0, epoch=4, epochs=90, **worse)
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: alert(pilot) == "val_loss has risen")
        writer.write("epoch", phase=0, epoch=5, epochs=90, **{**worse, "val_loss": 0.01})
        await until(pilot, lambda: not alert(pilot))
        writer.close()


async def test_what_was_said_of_a_phase_passes_with_it(open_app: Open, make: Make) -> None:
    run = make(name="two", state="running", epochs=9, done=3)
    writer = EventWriter(run.events)
    writer.write("alert", kind="lr_too_small", message="hardly moves them")
    async with open_app().run_test() as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: alert(pilot) == "hardly moves them")
        writer.write("phase", phase=1, freeze="none", epochs=5, first_epoch=4)
        await until(pilot, lambda: not alert(pilot))
        writer.close()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_all_of_it_is_shown_at_every_width(
    open_app: Open, make: Make, size: tuple[int, int]
) -> None:
    run = make(name="slow", state="running", epochs=9, done=3)
    message = (
        "the GPU waits for images 71% of the time: reading and augmenting them is the bottleneck"
    )
    writer = EventWriter(run.events)
    writer.write("alert", kind="input_bound", message=message)
    writer.close()
    async with open_app().run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        text = await shows(pilot, "! the GPU waits for images 71% of the time")
        lines = text.splitlines()[-3:-1] if size[0] == 80 else text.splitlines()[-2:-1]
        assert lines[0].startswith(" ! the GPU")
        assert " ".join(line.strip() for line in lines) == f"! {message}"
