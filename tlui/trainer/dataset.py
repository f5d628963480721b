"""A run's photos, made ready beside the import of TensorFlow: what the image cache lacks is decoded
by a fork."""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from tlui.data.decode import Resize
from tlui.data.items import ELSEWHERE, Progress
from tlui.data.store import Images, fill, lacks, open_images
from tlui.data.table import Table, open_dataset
from tlui.recipe.schema import Experiment
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.runs.line import Request
from tlui.trainer.aside import fork
from tlui.trainer.reporter import Reporter
from tlui.trainer.signals import AskedToEndError, Requests

PROGRESS_SECONDS = 0.25
POLL_SECONDS = 0.1
COUNTS = struct.Struct("=qq")
"""Images done, and all."""


@dataclass(frozen=True)
class Dataset:
    """What a run trains and evaluates on."""

    experiment: Experiment
    table: Table
    images: dict[str, Images]


def reading(directory: RunDirectory, reporter: Reporter, requests: Requests) -> Future[Dataset]:
    """List a run's photos and begin to read them; the result, or an error, is the future's.

    Raises:
        TluiError: The preset or the data cannot be used.
    """
    experiment = load_experiment(directory.preset)
    table = open_dataset(experiment.dataset)
    for note in table.notes:
        reporter.log(f"data: {note}")
    side = experiment.augment.crop_from or experiment.dataset.image_size
    progress = throttled(reporter, requests, "reading images", AskedToEndError)
    filling: Filling | None = None
    if "tensorflow" not in sys.modules and lacks(table, side, experiment.dataset.resize):
        filling = Filling(table, side, experiment.dataset.resize)
    future: Future[Dataset] = Future()

    def read() -> None:
        try:
            if filling is not None:
                filling.follow(progress)
            images = _open(experiment, table, side, reporter, progress)
            future.set_result(Dataset(experiment, table, images))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=read, name="reading", daemon=True).start()
    return future


def _open(
    experiment: Experiment, table: Table, side: int, reporter: Reporter, progress: Progress
) -> dict[str, Images]:
    """The decoded images of every split; what the cache still lacks is decoded here."""
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
        reporter.log(f"data: {note}", "warning")
    return images


class Filling:
    """A fork of this process that fills the image cache and ends.

    Whatever goes wrong there goes wrong again in `open_images`, and is told by it.
    """

    def __init__(self, table: Table, side: int, method: Resize) -> None:
        self._told, tell = os.pipe()
        self.pid = fork(lambda: fill(table, side, method, partial(_tell, tell)))
        os.close(tell)

    def follow(self, progress: Progress) -> None:
        """Pass its progress on until it ends.

        Raises:
            BaseException: What `progress` raised; then it was ended.
        """
        done = total = 0
        try:
            while True:
                if select.select([self._told], [], [], POLL_SECONDS)[0]:
                    told = os.read(self._told, 256 * COUNTS.size)
                    if not told:
                        return
                    done, total = COUNTS.unpack(told[-COUNTS.size :])
                if total:
                    progress(done, total)
        finally:
            os.close(self._told)
            os.kill(self.pid, signal.SIGKILL)  # it has ended, or is to
            os.waitpid(self.pid, 0)


def _tell(handle: int, done: int, total: int) -> None:
    os.write(handle, COUNTS.pack(done, total))


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
            whose = " (another run is at it)" if done == ELSEWHERE else ""
            reporter.event("progress", what=what + whose, done=max(0, done), total=total)

    return progress
