"""TensorBoard event files with the tags and folders Keras's callback uses.

`train/` holds epoch_loss, epoch_accuracy … and epoch_learning_rate, `validation/` the metrics of
val, at steps that count epochs from 0; and those again as evaluation_loss_vs_iterations …, at the
optimizer's steps. `train/` also holds the network for the Graphs tab. Every file begins a session;
at that of a resume TensorBoard drops what it read before, so it says again what still counts.
Written by TensorFlow's own record writer: no summary writer, no threads. A full disk loses curves,
never the training.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

FOLDERS = {"train": "train", "val": "validation"}


class TensorBoard:
    """Writes one run's curves.

    Args:
        folder: The run's `tensorboard/`.
        network: Gives the Keras model as JSON, after the first epoch.
        earlier: The records of the epochs that count already, where it is resumed.
    """

    def __init__(
        self,
        folder: Path,
        network: Callable[[], str],
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._folder = folder
        self._network = network
        self._earlier = earlier
        self._writers: dict[str, Any] = {}

    def write(self, row: Mapping[str, Any]) -> None:
        """Log a finished epoch.

        Args:
            row: An `epoch` record as events.jsonl holds it: its `train_*`, `val_*` and `lr`
                values, `epoch` from 1, `global_step`, and `t` (now where it has none).

        Raises:
            OSError: It could not be written.
        """
        try:
            for part, events in _events(row).items():
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
            # a second start is a restart to TensorBoard, which then drops steps from this one on
            start = Event(wall_time=now, step=0)
            start.session_log.status = SessionLog.START
            writer.write(start.SerializeToString())
            if part == FOLDERS["train"]:
                writer.write(_graph(self._network()).SerializeToString())
            for row in self._earlier:
                for event in _events(row).get(part, []):
                    writer.write(event.SerializeToString())
            self._writers[part] = writer
        return self._writers[part]

    def close(self) -> None:
        """Close the files; what could not be flushed is lost."""
        for writer in self._writers.values():
            try:
                writer.close()
            except tf.errors.OpError:
                pass  # the disk is full: said when the epoch was logged


def _graph(network: str) -> Event:
    """A Keras model's JSON as the Graphs tab takes it."""
    event = Event(wall_time=time.time(), step=0)
    value = event.summary.value.add(tag="keras")
    value.metadata.plugin_data.plugin_name = "graph_keras_model"
    value.metadata.plugin_data.content = b"1"
    value.tensor.dtype = DT_STRING
    value.tensor.tensor_shape.SetInParent()
    value.tensor.string_val.append(network.encode())
    return event


def _events(row: Mapping[str, Any]) -> dict[str, list[Event]]:
    """What an epoch's record is in event files, by folder."""
    parts: dict[str, list[Event]] = {}
    epoch, iterations = int(row["epoch"]) - 1, int(row["global_step"])
    now = time.time()
    for name, value in row.items():
        split, _, metric = name.partition("_")
        if name == "lr":
            split, metric = "train", "learning_rate"
        if split not in FOLDERS or not metric or not isinstance(value, int | float):
            continue
        tags = {f"epoch_{metric}": epoch}
        if split == "val":
            tags[f"evaluation_{metric}_vs_iterations"] = iterations
        for tag, step in tags.items():
            event = Event(wall_time=row.get("t", now), step=step)
            number = float(value) if math.isfinite(value) else math.nan
            event.summary.ParseFromString(scalar_pb(tag, number).SerializeToString())
            parts.setdefault(FOLDERS[split], []).append(event)
    return parts
