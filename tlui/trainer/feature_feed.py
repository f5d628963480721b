"""Batches of features that lie in tables, or come through a frozen prefix ahead of the steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from tlui.data.cache import Lease
from tlui.recipe.schema import Augment
from tlui.trainer import augment as change
from tlui.trainer.callers import Callers
from tlui.trainer.feed import ImageFeed, Rate
from tlui.trainer.pipeline import steps_in
from tlui.trainer.step import Learner, Table

MEMORY_SHARE = 0.25
"""Of the memory that is free, what a table may take; beyond it features stay on disk."""
CALL_SECONDS = 0.2
"""About how long one graph call over a table may take before requests are looked for."""


@dataclass(frozen=True)
class Features:
    """The features of one split: float (n, …) in natural order."""

    array: np.ndarray
    labels: np.ndarray
    blocks: np.ndarray | None
    """As of the images."""
    seconds: float
    """Inference it took, reading images left out."""
    lease: Lease | None = None
    whole: bool = True
    """Whether every image could be read; where some were black, this run alone has them."""


@dataclass(frozen=True)
class Stream:
    """Training images on their way through the prefix, ahead of the steps."""

    photos: ImageFeed
    forward: Callers
    dtype: str
    """Of the features."""


@dataclass
class FeatureFeed:
    """Batches of cached features, in the order and with the labels photos would have had."""

    features: dict[str, Features]
    batch_size: int
    evaluation_batch_size: int
    seed: int
    classes: int
    augment: Augment = field(default_factory=Augment)
    views: dict[int, Features] = field(default_factory=dict)
    """Of the training images as they are changed in these epochs; none where they are not."""
    stream: Stream | None = None
    """Where the training images come from if every epoch changes them anew."""
    loops: bool = True
    """Whether steps may run in a loop inside one graph. There TensorFlow rewrites other layers than
    a head's otherwise than in steps by themselves, and last digits differ (EfficientNet)."""
    waited: float = 0.0
    elsewhere: float = field(init=False, default=0.0)
    steps: int = field(init=False)
    table: Table | None = field(init=False, default=None)
    """The training features in memory, for loops; None where they do not fit."""
    _evaluations: dict[str, list[tuple[Any, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.stream is not None:
            self.steps = self.stream.photos.steps
            return
        parts = list(self.views.values()) or [self.features["train"]]
        self.steps = steps_in(len(parts[0].labels), self.batch_size)
        if self.loops and sum(part.array.nbytes for part in parts) <= memory_for_tables():
            labels = np.concatenate([part.labels for part in parts])
            every = np.concatenate([p.array for p in parts]) if self.views else parts[0].array
            self.table = Table(
                tf.constant(every),
                _one_hot(labels, self.classes),
                tf.constant(labels, tf.int32),
                self.batch_size,
            )

    def follow(self, photos: ImageFeed) -> None:
        """From now on give batches in the order of these, which have the same features."""
        self.seed = photos.seed
        if self.stream is not None:
            self.stream = replace(self.stream, photos=photos)

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        """As `Feed.course`."""
        if self.stream is not None:
            return self._streamed(self.stream, learner, epoch, start, rate)
        if self.table is None:
            found = self._seen(epoch)
            order = change.order(self.seed, epoch, len(found.labels), found.blocks)
            return self._one_by_one(learner, found, order, start, rate)
        table, rows = self.table, self.rows(epoch, self.seed)

        def call(first: int, count: int) -> None:
            rates = np.array([rate(step) for step in range(first, first + count)], np.float32)
            learner.table_steps(table, rows, first, rates)

        return in_calls(start, self.steps, call)

    def _streamed(
        self, stream: Stream, learner: Learner, epoch: int, start: int, rate: Rate
    ) -> Iterator[int]:
        before, waited = stream.forward.waited, self.waited
        batches = stream.photos.epoch(epoch, start)
        for step, (batch, found) in enumerate(stream.forward.over(batches), start):
            self.waited = waited + stream.forward.waited - before
            index, _, y, label = batch
            learner.step((index, tf.constant(found, stream.dtype), y, label), rate(step))
            yield step + 1

    def _seen(self, epoch: int) -> Features:
        view = change.view(self.augment, epoch)
        return self.views[view] if self.views else self.features["train"]

    def knows(self, epoch: int) -> bool:
        """Whether it has the features of that epoch."""
        return not self.views or change.view(self.augment, epoch) in self.views

    def rows(self, epoch: int, seed: int) -> np.ndarray:
        """Rows of the table in a seed's order of an epoch it knows: int64 (n,)."""
        found = self._seen(epoch)
        count = len(found.labels)
        order = change.order(seed, epoch, count, found.blocks)
        if not self.views:
            return order
        return order + list(self.views).index(change.view(self.augment, epoch)) * count

    def _one_by_one(
        self, learner: Learner, found: Features, order: np.ndarray, start: int, rate: Rate
    ) -> Iterator[int]:
        for step in range(start, self.steps):
            began = time.perf_counter()
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            batch = _batch(found, rows, self.classes)
            self.waited += time.perf_counter() - began
            learner.step(batch, rate(step))
            yield step + 1

    def evaluation(self, split: str) -> Any | None:
        """As `Feed.evaluation`."""
        found = self.features.get(split)
        if found is None:
            return None
        size = self.evaluation_batch_size
        starts = range(0, len(found.labels), size)
        if found.array.nbytes > memory_for_tables():
            every = np.arange(len(found.labels))
            return (_batch(found, every[i : i + size], self.classes) for i in starts)
        if split not in self._evaluations:
            every = np.arange(len(found.labels))
            self._evaluations[split] = [
                _batch(found, every[i : i + size], self.classes) for i in starts
            ]
        return self._evaluations[split]


def in_calls(start: int, steps: int, call: Callable[[int, int], None]) -> Iterator[int]:
    """Steps `start` to `steps` in graph calls of about `CALL_SECONDS`; yields the steps done.

    Args:
        call: Called with the first step and how many.
    """
    done, count = start, 1
    while done < steps:
        count = min(count, steps - done)
        began = time.perf_counter()
        call(done, count)
        done += count
        yield done
        a_step = (time.perf_counter() - began) / count
        count = max(1, min(math.ceil(CALL_SECONDS / max(a_step, 1e-6)), count * 64))


def memory_for_tables() -> int:
    """Bytes that tables of features may take at present."""
    return int(psutil.virtual_memory().available * MEMORY_SHARE)


def _batch(found: Features, rows: np.ndarray, classes: int) -> tuple[Any, ...]:
    label = found.labels[rows]
    return (
        tf.constant(rows, tf.int64),
        tf.constant(np.take(found.array, rows, axis=0)),
        _one_hot(label, classes),
        tf.constant(label, tf.int32),
    )


def _one_hot(labels: np.ndarray, classes: int) -> Any:
    return tf.one_hot(tf.constant(labels, tf.int32), classes)
