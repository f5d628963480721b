"""What a real training says of itself on its screen while it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from training import digits_run, start
from tui.driving import Make, Open, ready, screen_text, shows, until

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventWriter
from tlui.tui.screens.run import AlertLine


@contextmanager
def training(run: RunDirectory) -> Iterator[None]:
    """A trainer of its own until the end of the block."""
    process = start(run)
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


async def test_a_validation_that_turns_up(open_app: Open, home: Home) -> None:
    few = {"source": "digits", "image_size": 16, "validation": 0.97, "test": 0.01}
    run = digits_run(home, dataset=few, train={"batch_size": 16}, phase=phase(60, 1e-3))
    with training(run):
        async with open_app().run_test() as pilot:
            await ready(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: "it may begin to overfit" in alert(pilot))
            assert "! val_loss has risen for 3 epochs" in screen_text(pilot.app)


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
