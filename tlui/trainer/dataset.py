"""A run's photos, made ready beside the import of TensorFlow, which keeps one core busy for
seconds: what lists, decodes and caches them needs none of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from tlui.data.store import Images, open_images
from tlui.data.table import Table, open_dataset
from tlui.recipe.schema import Experiment
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.trainer.reporter import Reporter
from tlui.trainer.signals import AskedToEndError, Request, Requests

PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class Dataset:
    """What a run trains and evaluates on."""

    experiment: Experiment
    table: Table
    images: dict[str, Images]


def reading(directory: RunDirectory, reporter: Reporter, requests: Requests) -> Future[Dataset]:
    """Begin to read a run's preset and photos in a thread; its result or error is the future's."""
    future: Future[Dataset] = Future()

    def read() -> None:
        try:
            future.set_result(read_dataset(directory, reporter, requests))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=read, name="reading", daemon=True).start()
    return future


def read_dataset(directory: RunDirectory, reporter: Reporter, requests: Requests) -> Dataset:
    """The preset, the splits and their decoded images.

    Raises:
        TluiError: The preset or the data cannot be used.
        AskedToEndError: Asked to end meanwhile.
    """
    experiment = load_experiment(directory.preset)
    table = open_dataset(experiment.dataset)
    for note in table.notes:
        reporter.log(f"data: {note}")
    side = experiment.augment.crop_from or experiment.dataset.image_size
    progress = throttled(reporter, requests, "reading images", AskedToEndError)
    images: dict[str, Images] = {}
    for split in table.splits:
        images[split] = open_images(
            table,
            split,
            side,
            experiment.dataset.resize,
            bad=experiment.dataset.bad_images,
            progress=progress,
        )
        skipped = len(images[split].skipped)
        if skipped:
            reporter.log(f"{split}: {skipped} images cannot be used and are skipped", "warning")
    if note := images["train"].note:
        reporter.log(f"data: {note}")
    return Dataset(experiment, table, images)


def throttled(
    reporter: Reporter, requests: Requests, what: str, ends: Callable[[Request], Exception]
) -> Callable[[int, int], None]:
    """A progress callback that speaks a few times a second and raises when asked to end."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if asked := requests.poll():
            raise ends(asked)
        now = time.monotonic()
        if done == total or now - said >= PROGRESS_SECONDS:
            said = now
            reporter.event("progress", what=what, done=done, total=total)

    return progress
