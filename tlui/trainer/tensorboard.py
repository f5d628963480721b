"""TensorBoard event files with the tags and folders Keras's callback uses.

`train/` holds epoch_loss, epoch_accuracy … and epoch_learning_rate, `validation/` the metrics of
val; steps count epochs from 0. A resume opens a new file with a session start at the first epoch
it trains, at which TensorBoard drops what was logged past that point. Written by TensorFlow's own
record writer: no summary graph, no threads. A full disk loses curves, never the training.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

FOLDERS = {"train": "train", "val": "validation"}


class TensorBoard:
    """Writes one run's curves.

    Args:
        folder: The run's `tensorboard/`.
        first_epoch: Finished epochs at the start, 0 unless resuming.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self._folder = folder
        self._first = first_epoch
        self._writers: dict[str, Any] = {}

    def write(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Log a finished epoch (from 1): the `train_*`, `val_*` and `lr` values of an event.

        Raises:
            OSError: It could not be written.
        """
        parts: dict[str, list[Event]] = {}
        for name, value in row.items():
            split, _, metric = name.partition("_")
            if name == "lr":
                split, metric = "train", "learning_rate"
            if split in FOLDERS and metric and isinstance(value, int | float):
                number = float(value) if math.isfinite(value) else math.nan
                summary = scalar_pb(f"epoch_{metric}", number)
                event = Event(wall_time=time.time(), step=epoch - 1)
                event.summary.ParseFromString(summary.SerializeToString())
                parts.setdefault(FOLDERS[split], []).append(event)
        try:
            for part, events in parts.items():
                writer = self._writer(part)
                for event in events:
                    writer.write(event.SerializeToString())
                writer.flush()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            folder = self._folder / part
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.v2"
            writer = tf.io.TFRecordWriter(os.fsencode(folder / name))  # any name a disk can hold
            now = time.time()
            writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            if self._first:
                start = Event(wall_time=now, step=self._first)
                start.session_log.status = SessionLog.START
                writer.write(start.SerializeToString())
            self._writers[part] = writer
        return self._writers[part]

    def close(self) -> None:
        """Close the files; what could not be flushed is lost."""
        for writer in self._writers.values():
            try:
                writer.close()
            except tf.errors.OpError:
                pass  # the disk is full: said when the epoch was logged
