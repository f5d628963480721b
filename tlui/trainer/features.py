"""What a frozen prefix makes of every image, computed once: the numbers of the ordinary path.

Used for phases whose regime leaves a frozen prefix and that change no image at random. Features
lie in the user's cache under a key of everything that shapes them: the prefix's weights and
architecture, the images and their order, sizes, dtype, batch size, device and library versions; a
sweep over learning rates computes them once. A table that fits into memory is trained on inside
one graph call; a larger one is gathered from the memory map.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from tlui.data.cache import Lease, NoRoomError, obtain
from tlui.data.store import Images
from tlui.recipe.schema import Experiment
from tlui.runs.files import to_json
from tlui.trainer import augment as change
from tlui.trainer.environment import versions
from tlui.trainer.feed import ImageFeed, Rate
from tlui.trainer.model.fold import folded
from tlui.trainer.model.prefix import Prefix
from tlui.trainer.pipeline import steps_in
from tlui.trainer.step import Learner, Table, predictor, to_array

FILE = "features.bin"
MEMORY_SHARE = 0.25
"""Of the memory that is free, what a table may take; beyond it features stay on disk."""
CALL_SECONDS = 0.2
"""About how long one graph call over a table may take before requests are looked for."""

Told = Callable[[int, int], None]
"""Called with (done, total) images; may raise to end it."""


@dataclass(frozen=True)
class Features:
    """The features of one split: float (n, …) in natural order."""

    array: np.ndarray
    labels: np.ndarray
    seconds: float
    """Inference it took, reading images left out."""
    lease: Lease | None = None


@dataclass(frozen=True)
class CachedFeed:
    """A feed of features and the cut they were taken at."""

    prefix: Prefix
    feed: FeatureFeed
    fingerprint: str
    make: Callable[[str], Features | None]

    def has(self, split: str) -> bool:
        """Whether the feed has a split's features, which are computed now if they must be."""
        if split not in self.feed.features:
            found = self.make(split)
            if found is None:
                return False
            self.feed.features[split] = found
        return True

    def holds(self, experiment: Experiment, device: str) -> bool:
        """Whether the prefix still has the weights that the features were computed with."""
        return self.fingerprint == _fingerprint(self.prefix, experiment, device)


@dataclass
class FeatureFeed:
    """Batches of cached features, in the order and with the labels photos would have had."""

    features: dict[str, Features]
    batch_size: int
    evaluation_batch_size: int
    seed: int
    classes: int
    waited: float = 0.0
    steps: int = field(init=False)
    _table: Table | None = field(init=False, default=None)
    _evaluations: dict[str, list[tuple[Any, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        train = self.features["train"]
        self.steps = steps_in(len(train.labels), self.batch_size)
        if train.array.nbytes <= _memory_for_tables():
            self._table = Table(
                tf.constant(train.array),
                _one_hot(train.labels, self.classes),
                tf.constant(train.labels, tf.int32),
                self.batch_size,
            )

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        """As `Feed.course`."""
        order = change.order(self.seed, epoch, len(self.features["train"].labels))
        if self._table is None:
            yield from self._one_by_one(learner, order, start, rate)
            return
        done, count = start, 1
        while done < self.steps:
            count = min(count, self.steps - done)
            rates = np.array([rate(step) for step in range(done, done + count)], np.float32)
            began = time.perf_counter()
            learner.table_steps(self._table, order, done, rates)
            done += count
            yield done
            a_step = (time.perf_counter() - began) / count
            count = max(1, min(math.ceil(CALL_SECONDS / max(a_step, 1e-6)), count * 64))

    def _one_by_one(
        self, learner: Learner, order: np.ndarray, start: int, rate: Rate
    ) -> Iterator[int]:
        train = self.features["train"]
        for step in range(start, self.steps):
            began = time.perf_counter()
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            batch = _batch(train, rows, self.classes)
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
        if found.array.nbytes > _memory_for_tables():
            every = np.arange(len(found.labels))
            return (_batch(found, every[i : i + size], self.classes) for i in starts)
        if split not in self._evaluations:
            every = np.arange(len(found.labels))
            self._evaluations[split] = [
                _batch(found, every[i : i + size], self.classes) for i in starts
            ]
        return self._evaluations[split]


def is_cacheable(experiment: Experiment) -> bool:
    """Whether training sees every image the same in every epoch."""
    if os.environ.get("TLUI_FEATURES") == "off" or experiment.train.devices > 1:
        return False
    return not change.changes(experiment.augment) and experiment.augment.crop_from is None


def cached_feed(
    prefix: Prefix,
    feed: ImageFeed,
    images: dict[str, Images],
    experiment: Experiment,
    device: str,
    told: Callable[[str], Told],
) -> CachedFeed | None:
    """A feed of train's and val's features; None where they fit neither cache nor memory.

    Args:
        told: From a split's name to the callback that hears of its progress. Splits that are
            only evaluated have their features computed when they are.
    """
    if experiment.train.features == "folded":
        through = folded(prefix)
        forward = predictor(lambda x, training: through(x))
    else:
        forward = predictor(lambda x, training: prefix.prefix(x, training=False))
    weights = _fingerprint(prefix, experiment, device)

    def make(split: str) -> Features | None:
        if split not in images or not len(images[split]):
            return None
        size = feed.batch_size if split == "train" else feed.evaluation_batch_size
        key = hashlib.sha256(f"{weights}:{images[split].key}:{size}".encode()).hexdigest()[:40]
        return _features(prefix, images[split], feed, size, key, forward, told(split))

    features: dict[str, Features] = {}
    for split in ("train", "val"):
        if split in images and len(images[split]):
            found = make(split)
            if found is None:
                return None
            features[split] = found
    cached = FeatureFeed(
        features, feed.batch_size, feed.evaluation_batch_size, feed.seed, feed.classes
    )
    return CachedFeed(prefix, cached, weights, make)


def _features(
    prefix: Prefix,
    images: Images,
    feed: ImageFeed,
    batch_size: int,
    key: str,
    forward: Callable[[Any], np.ndarray],
    told: Told,
) -> Features | None:
    shape, dtype = (len(images), *prefix.shape), np.dtype(_storable(prefix.dtype))
    size = int(np.prod(shape)) * dtype.itemsize
    lease: Lease | None = None

    def batches() -> Iterator[tuple[int, np.ndarray, float]]:
        return _compute(images, feed, batch_size, forward, told)

    def store(folder: Path) -> dict[str, Any]:
        seconds = 0.0
        with open(folder / FILE, "wb") as file:
            for _, x, spent in batches():
                file.write(np.ascontiguousarray(x, dtype).data)
                seconds += spent
            file.flush()
            os.fsync(file.fileno())
        return {"images": len(images), "size": feed.size, "cut": prefix.cut, "seconds": seconds}

    try:
        lease = obtain("features", key, store, size, waiting=lambda: told(0, len(images)))
        array = np.memmap(lease.path / FILE, dtype, "r", 0, shape).view(np.ndarray)
        return Features(array, images.labels, float(lease.meta["seconds"]), lease)
    except NoRoomError:
        if size > _memory_for_tables():
            return None
    array, seconds = np.empty(shape, dtype), 0.0
    for start, x, spent in batches():
        array[start : start + len(x)] = x
        seconds += spent
    return Features(array, images.labels, seconds)


def _compute(
    images: Images,
    feed: ImageFeed,
    batch_size: int,
    forward: Callable[[Any], np.ndarray],
    told: Told,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """(first row, features, seconds of inference) of each batch in natural order."""
    done = 0
    for _, x, _, _ in feed.natural(images, batch_size):
        if not done:
            forward(x)  # traces and warms up, so that the seconds are those of inference
        began = time.perf_counter()
        found = forward(x)
        spent = time.perf_counter() - began
        yield done, found, spent
        done += len(found)
        told(done, len(images))


def _fingerprint(prefix: Prefix, experiment: Experiment, device: str) -> str:
    """Everything but the images that shapes features, on this machine."""
    digest = hashlib.sha256()
    facts = {
        "format": 1,
        "backbone": [experiment.backbone.name, experiment.backbone.alpha],
        "pooling": experiment.head.pooling,
        "cut": prefix.cut,
        "shape": list(prefix.shape),
        "dtype": prefix.dtype,
        "mixed_precision": experiment.train.mixed_precision,
        "features": experiment.train.features,
        "image_size": experiment.dataset.image_size,
        "device": device,
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "versions": versions(),
    }
    digest.update(json.dumps(json.loads(to_json(facts)), sort_keys=True).encode())
    for layer in prefix.layers:
        for variable in layer.weights:
            array = to_array(variable)
            digest.update(f"{variable.name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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


def _storable(dtype: str) -> str:
    """The type features are kept in: NumPy has no bfloat16, float32 holds it exactly."""
    return "float32" if dtype == "bfloat16" else dtype


def _memory_for_tables() -> int:
    return int(psutil.virtual_memory().available * MEMORY_SHARE)
