"""What a frozen prefix makes of every image, computed once: the numbers of the ordinary path.

Used for phases whose regime leaves a frozen prefix and that see every image unchanged, or in a
limited number of augmented views, each of which then has a table of its own. Features lie in the
user's cache under a key of everything that shapes them: the prefix's weights and architecture, the
images, their order and how they are changed, sizes, dtype, batch size, device and library
versions; a sweep over learning rates computes them once. Tables that fit into memory are trained on
inside one graph call; larger ones are gathered from the memory map. Where every epoch changes
images anew, or no table fits anywhere, the prefix runs ahead of the steps (`Stream`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from tlui.data.cache import Lease, NoRoomError, obtain
from tlui.data.store import Images
from tlui.recipe.schema import Augment, Experiment
from tlui.runs.files import to_json
from tlui.trainer import augment as change
from tlui.trainer.callers import Callers
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
    waited: float = 0.0
    elsewhere: float = field(init=False, default=0.0)
    steps: int = field(init=False)
    table: Table | None = field(init=False, default=None)
    """The training features in memory; None where they do not fit."""
    _evaluations: dict[str, list[tuple[Any, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.stream is not None:
            self.steps = self.stream.photos.steps
            return
        parts = list(self.views.values()) or [self.features["train"]]
        self.steps = steps_in(len(parts[0].labels), self.batch_size)
        if sum(part.array.nbytes for part in parts) <= _memory_for_tables():
            labels = np.concatenate([part.labels for part in parts])
            every = np.concatenate([p.array for p in parts]) if self.views else parts[0].array
            self.table = Table(
                tf.constant(every),
                _one_hot(labels, self.classes),
                tf.constant(labels, tf.int32),
                self.batch_size,
            )

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        """As `Feed.course`."""
        if self.stream is not None:
            return self._streamed(self.stream, learner, epoch, start, rate)
        if self.table is None:
            found = self._seen(epoch)
            order = change.order(self.seed, epoch, len(found.labels))
            return self._one_by_one(learner, found, order, start, rate)
        table, rows = self.table, self.rows(epoch)

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

    def rows(self, epoch: int) -> np.ndarray:
        """Rows of the table in the order of an epoch it knows: int64 (n,)."""
        count = len(self._seen(epoch).labels)
        order = change.order(self.seed, epoch, count)
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
        if found.array.nbytes > _memory_for_tables():
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


def is_separable(experiment: Experiment, gpu: bool) -> bool:
    """Whether a frozen prefix may run apart from the rest: once for every image where epochs see
    it unchanged or in a few views, else, on a CPU, ahead of the steps."""
    if os.environ.get("TLUI_FEATURES") == "off" or experiment.train.devices > 1:
        return False
    return not gpu or not is_streamed(experiment)


def is_streamed(experiment: Experiment) -> bool:
    """Whether every epoch changes the training images anew."""
    return change.changes(experiment.augment) and not experiment.augment.views


def views_ahead(experiment: Experiment, first: int, epochs: int) -> tuple[int, ...]:
    """The views that `epochs` epochs from `first` on see; none where images are not changed."""
    augment = experiment.augment
    if not change.changes(augment) or not augment.views:
        return ()
    return tuple(sorted({change.view(augment, first + i) for i in range(epochs)}))


def cached_feed(
    prefix: Prefix,
    feed: ImageFeed,
    images: dict[str, Images],
    experiment: Experiment,
    device: str,
    told: Callable[[str], Told],
    views: Sequence[int] = (),
) -> CachedFeed | None:
    """A feed of train's and val's features; None where they fit neither cache nor memory.

    Args:
        told: From a split's name to the callback that hears of its progress. Splits that are
            only evaluated have their features computed when they are.
        views: From `views_ahead`: train on these rather than on the unchanged images.
    """
    through: Callable[[Any], Any] = partial(prefix.prefix, training=False)
    if experiment.train.features == "folded":
        through = folded(prefix)
    side, gpu = experiment.dataset.image_size, device != "cpu"
    forward, changed = (
        Callers(predictor(lambda x, training: through(x)), side, gpu) for _ in range(2)
    )
    streamed = is_streamed(experiment)
    weights = _fingerprint(prefix, experiment, device)

    def make(split: str) -> Features | None:
        if split not in images or not len(images[split]):
            return None
        size = feed.batch_size if split == "train" else feed.evaluation_batch_size
        key = _key(weights, images[split].key, size)
        source = _Source(images[split], lambda: feed.natural(images[split], size), forward)
        return _features(prefix, source, key, told(split))

    def make_view(view: int) -> Features | None:
        augment = experiment.augment.model_dump_json(exclude={"views"})
        key = _key(weights, images["train"].key, feed.batch_size, augment, feed.seed, view)
        source = _Source(images["train"], lambda: feed.view(view), changed)
        return _features(prefix, source, key, told(f"train, view {view}"))

    seen: dict[int, Features] = {}
    features: dict[str, Features] = {}
    for view in views:
        found = make_view(view)
        if found is None:
            seen, streamed = {}, True
            break
        seen[view] = found
    for split in ("val",) if seen or streamed else ("train", "val"):
        found = make(split)
        if found is not None:
            features[split] = found
        elif split == "train":
            streamed = True
        elif len(images.get(split, ())):
            return None
    if streamed and gpu:
        return None
    cached = FeatureFeed(
        features,
        feed.batch_size,
        feed.evaluation_batch_size,
        feed.seed,
        feed.classes,
        experiment.augment,
        seen,
        Stream(feed, changed, _storable(prefix.dtype)) if streamed else None,
    )
    return CachedFeed(prefix, cached, weights, make)


@dataclass(frozen=True)
class _Source:
    """Images, how they come in batches in natural order, and what makes features of a batch."""

    images: Images
    batches: Callable[[], Any]
    forward: Callers


def _key(*facts: Any) -> str:
    return hashlib.sha256(":".join(map(str, facts)).encode()).hexdigest()[:40]


def _features(prefix: Prefix, source: _Source, key: str, told: Told) -> Features | None:
    images = source.images
    shape, dtype = (len(images), *prefix.shape), np.dtype(_storable(prefix.dtype))
    size = int(np.prod(shape)) * dtype.itemsize
    lease: Lease | None = None

    def store(folder: Path) -> dict[str, Any]:
        before = source.forward.seconds
        with open(folder / FILE, "wb") as file:
            for _, x in _compute(source, told):
                file.write(np.ascontiguousarray(x, dtype).data)
            file.flush()
            os.fsync(file.fileno())
        side, seconds = prefix.network.size, source.forward.seconds - before
        return {"images": len(images), "size": side, "cut": prefix.cut, "seconds": seconds}

    try:
        lease = obtain("features", key, store, size, waiting=lambda: told(0, len(images)))
        array = np.memmap(lease.path / FILE, dtype, "r", 0, shape).view(np.ndarray)
        return Features(array, images.labels, float(lease.meta["seconds"]), lease)
    except NoRoomError:
        if size > _memory_for_tables():
            return None
    array, before = np.empty(shape, dtype), source.forward.seconds
    for start, x in _compute(source, told):
        array[start : start + len(x)] = x
    return Features(array, images.labels, source.forward.seconds - before)


def _compute(source: _Source, told: Told) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, features) of each batch in natural order."""
    done = 0
    for _, found in source.forward.over(source.batches()):
        yield done, found
        done += len(found)
        told(done, len(source.images))


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
