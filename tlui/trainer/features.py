"""What a frozen prefix makes of every image, computed once: the numbers of the ordinary path.

Used for phases whose regime leaves a frozen prefix and that see every image unchanged, or in a
limited number of augmented views, each of which then has a table of its own. Features lie in the
user's cache under a key of everything that shapes them: the prefix's weights and architecture, the
images, their order and how they are changed, sizes, dtype, batch size, device, library versions
and what else decides how kernels round; a sweep over learning rates computes them once, and so do
machines of one kind that share a cache. Heads are trained inside one graph call on tables that fit
into memory; all else is gathered from the memory map. Where every epoch changes images anew, or no
table fits anywhere, the prefix runs ahead of the steps (`Stream`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlui.data.cache import Lease, NoRoomError, obtain
from tlui.data.items import ELSEWHERE, Progress
from tlui.data.store import Images
from tlui.recipe.schema import Experiment
from tlui.runs.files import to_json
from tlui.trainer import augment as change
from tlui.trainer.callers import Callers
from tlui.trainer.environment import Devices, arithmetic, versions
from tlui.trainer.feature_feed import FeatureFeed, Features, Stream, memory_for_tables
from tlui.trainer.feed import ImageFeed
from tlui.trainer.model.fold import folded
from tlui.trainer.model.prefix import Prefix
from tlui.trainer.step import predictor, to_array

FILE = "features.bin"
FOLDED = "folded 2"
"""`folded`, and how that is done."""


@dataclass(frozen=True)
class CachedFeed:
    """A feed of features and the cut they were taken at."""

    prefix: Prefix
    feed: FeatureFeed
    fingerprint: str
    forward: Callers

    def has(self, split: str, photos: ImageFeed, images: Images, told: Progress) -> bool:
        """Whether the feed has a split's features, which are computed now if they must be.

        Args:
            photos: The feed of the run that asks, which may be another than the first.
            images: Of the split.
        """
        if split not in self.feed.features:
            given = self.prefix, self.fingerprint, self.forward
            found = _of_split(*given, split, photos, images, told) if len(images) else None
            if found is None:
                return False
            self.feed.features[split] = found
        return True

    def holds(self, experiment: Experiment, devices: Devices) -> bool:
        """Whether these are the features of what there is: the prefix still has the weights they
        were computed with, and no image was given as black."""
        held = (*self.feed.features.values(), *self.feed.views.values())
        if not all(found.whole for found in held):
            return False
        return self.fingerprint == _fingerprint(self.prefix, experiment, devices)


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
    devices: Devices,
    told: Callable[[str], Progress],
    views: Sequence[int] = (),
) -> CachedFeed | None:
    """A feed of train's and val's features; None where they fit neither cache nor memory.

    Args:
        told: From a split's name to the callback that hears of its progress. Splits that are
            only evaluated have their features computed when they are.
        views: From `views_ahead`: train on these rather than on the unchanged images.
    """
    through = folded(prefix) if experiment.train.features == "folded" else prefix.features
    side = experiment.dataset.image_size
    forward, changed = (
        Callers(predictor(lambda x, training: through(x)), side, whole=devices.gpu)
        for _ in range(2)
    )
    streamed = is_streamed(experiment)
    weights = _fingerprint(prefix, experiment, devices)

    def make(split: str) -> Features | None:
        if not len(images.get(split, ())):
            return None
        return _of_split(prefix, weights, forward, split, feed, images[split], told(split))

    def make_view(view: int) -> Features | None:
        augment = experiment.augment.model_dump_json(exclude={"views"})
        key = _key(weights, images["train"].key, feed.batch_size, augment, feed.seed, view)
        source = _Source(images["train"], lambda: feed.epoch(view, in_order=True), changed)
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
    if streamed and devices.gpu:
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
        loops=prefix.upper is None,
    )
    return CachedFeed(prefix, cached, weights, forward)


@dataclass(frozen=True)
class _Source:
    """Images, how they come in batches in natural order, and what makes features of a batch."""

    images: Images
    batches: Callable[[], Any]
    forward: Callers


class _NotWholeError(Exception):
    """Features that no other run may have, in a file without a name."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__()
        self.array = array


def _of_split(
    prefix: Prefix,
    weights: str,
    forward: Callers,
    split: str,
    photos: ImageFeed,
    images: Images,
    told: Progress,
) -> Features | None:
    size = photos.batch_size if split == "train" else photos.evaluation_batch_size
    source = _Source(images, lambda: photos.natural(images, size), forward)
    return _features(prefix, source, _key(weights, images.key, size), told)


def _key(*facts: Any) -> str:
    return hashlib.sha256(":".join(map(str, facts)).encode()).hexdigest()[:40]


def _features(prefix: Prefix, source: _Source, key: str, told: Progress) -> Features | None:
    images = source.images
    shape, dtype = (len(images), *prefix.shape), np.dtype(_storable(prefix.dtype))
    size = int(np.prod(shape)) * dtype.itemsize
    before, black = source.forward.seconds, images.lost.total()
    lease: Lease | None = None

    def mapped(folder: Path) -> np.ndarray:
        return np.memmap(folder / FILE, dtype, "r", 0, shape).view(np.ndarray)

    def store(folder: Path) -> dict[str, Any]:
        with open(folder / FILE, "wb") as file:
            for _, x in _compute(source, told):
                file.write(np.ascontiguousarray(x, dtype).data)
            file.flush()
            os.fsync(file.fileno())
        if images.lost.total() > black:
            raise _NotWholeError(mapped(folder))
        side, seconds = prefix.network.size, source.forward.seconds - before
        facts = {"dataset": images.dataset, "images": len(images), "size": side}
        return {**facts, "cut": prefix.cut, "seconds": seconds}

    try:
        lease = obtain("features", key, store, size, waiting=lambda: told(ELSEWHERE, len(images)))
        seconds = float(lease.meta["seconds"])
        return Features(mapped(lease.path), images.labels, images.blocks, seconds, lease)
    except _NotWholeError as found:
        array = found.array
    except NoRoomError:
        if size > memory_for_tables():
            return None
        array, before = np.empty(shape, dtype), source.forward.seconds
        for start, x in _compute(source, told):
            array[start : start + len(x)] = x
    seconds, whole = source.forward.seconds - before, images.lost.total() == black
    return Features(array, images.labels, images.blocks, seconds, whole=whole)


def _compute(source: _Source, told: Progress) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, features) of each batch in natural order."""
    done = 0
    for _, found in source.forward.over(source.batches()):
        yield done, found
        done += len(found)
        told(done, len(source.images))


def _fingerprint(prefix: Prefix, experiment: Experiment, devices: Devices) -> str:
    """Everything but the images that shapes features."""
    digest = hashlib.sha256()
    facts = {
        "format": 2,
        "backbone": [experiment.backbone.name, experiment.backbone.alpha],
        "pooling": experiment.head.pooling,
        "cut": prefix.cut,
        "shape": list(prefix.shape),
        "dtype": prefix.dtype,
        "mixed_precision": experiment.train.mixed_precision,
        "features": FOLDED if experiment.train.features == "folded" else "exact",
        "image_size": experiment.dataset.image_size,
        "device": devices.label,
        "arithmetic": arithmetic(),
        "versions": versions(),
    }
    digest.update(json.dumps(json.loads(to_json(facts)), sort_keys=True).encode())
    for layer in prefix.layers:
        for variable in layer.weights:
            array = to_array(variable)
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _storable(dtype: str) -> str:
    """The type features are kept in: NumPy has no bfloat16, float32 holds it exactly."""
    return "float32" if dtype == "bfloat16" else dtype
