"""From images to batches: order, augmentation and prefetch, the same whenever it is asked again.

The order of an epoch is a function of (seed, epoch), augmentation of (seed, epoch, index), so a
run resumed at a step sees exactly what it would have seen. Only positions travel through
tf.data; pixels are gathered a whole batch at a time, with no work per image unless augmentation
asks for it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tlui.data.parallel import cpus
from tlui.errors import TluiError
from tlui.recipe.schema import Augment
from tlui.trainer import augment as change


class ImageSource(Protocol):
    """What is read of `tlui.data`'s Images."""

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,)."""

    @property
    def blocks(self) -> np.ndarray | None:
        """int64 (n,), which block each image is read with; None: each by itself."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, /) -> np.ndarray:
        """uint8 (k, side, side, 3) of these rows."""


MOST_CALLS = 8
"""Batches augmented at once; each holds its pixels in memory."""


def steps_in(count: int, batch_size: int) -> int:
    """Steps of an epoch over `count` images, the last partial batch included."""
    return -(-count // batch_size)


def batches(
    images: ImageSource,
    *,
    batch_size: int,
    size: int,
    seed: int,
    epoch: int | None,
    classes: int,
    start_step: int = 0,
    augment: Augment | None = None,
    in_order: bool = False,
    prefetch: int = 2,
) -> tf.data.Dataset:
    """One epoch of batches, global ones under a distribution strategy.

    Args:
        images: What to train or evaluate on; of side `augment.crop_from` where that is set.
        size: Side the network takes; larger images are cropped, at random in training and in
            the middle otherwise.
        seed: Of order and augmentation.
        epoch: Counted over the whole run from 1; None is evaluation: natural order, no
            augmentation.
        classes: Width of the one-hot labels.
        start_step: Leave out this many batches at the start, without reading them.
        augment: Random changes; None or all off leaves pixels uint8.
        in_order: Natural order whatever the epoch.
        prefetch: Batches made ahead.

    Returns:
        A dataset of (index int64 (b,), x uint8 or float32 (b, size, size, 3) in 0-255,
        y float32 (b, classes), label int32 (b,)). y is one-hot, or mixed with mixup and cutmix;
        label is always the image's own. `index` counts rows of `images`.

    Raises:
        TluiError: The images are smaller than `size`.
    """
    if images.size < size:
        raise TluiError(
            f"the images have {images.size} px, the network takes {size} px; augment.crop_from "
            "must not be smaller than dataset.image_size",
            code=2,
        )
    count = len(images)
    steps = steps_in(count, batch_size)
    natural = epoch is None or in_order
    positions = (
        np.arange(count) if natural else change.order(seed, epoch or 0, count, images.blocks)
    )
    active = augment if epoch is not None and change.changes(augment) else None
    view = change.view(active, epoch) if active is not None and epoch is not None else 0
    labels = np.asarray(images.labels, np.int32)
    gather = _Gather(images, labels, positions, batch_size, size, seed, view, active)

    def load(step: Any) -> tuple[Any, ...]:
        return _load(gather, step, classes)

    dataset = tf.data.Dataset.range(min(start_step, steps), steps)
    calls = min(MOST_CALLS, cpus()) if active is not None else 1
    dataset = dataset.map(
        tf.autograph.experimental.do_not_convert(load),
        num_parallel_calls=calls,
        deterministic=True,
    )
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.max_intra_op_parallelism = 1 if active is None else 0
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(prefetch).with_options(options)


class _Gather:
    """Reads the images of one step and draws their chances; runs in Python."""

    def __init__(
        self,
        images: ImageSource,
        labels: np.ndarray,
        positions: np.ndarray,
        batch_size: int,
        size: int,
        seed: int,
        view: int,
        augment: Augment | None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.positions = positions
        self.batch_size = batch_size
        self.size = size
        self.seed = seed
        self.view = view
        self.augment = augment
        self.mixes = augment is not None and change.mixes(augment)
        self.warps = augment is not None and change.warps(augment)

    def plain(self, step: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices, pixels and labels of a step."""
        start = int(step) * self.batch_size
        indices = self.positions[start : start + self.batch_size]
        if self.mixes:
            # Each image's partner is the one before it in the epoch's order: known whatever the
            # batch size, and all but the first are in the batch already.
            indices = np.concatenate([self.positions[start - 1 : start or None][-1:], indices])
        pixels = self.images.batch(indices)
        if self.augment is None and pixels.shape[1] != self.size:
            pixels = np.ascontiguousarray(change.centre_crop(pixels, self.size))
        return indices.astype(np.int64), pixels, self.labels[indices]

    def random(self, step: Any) -> tuple[np.ndarray, ...]:
        """The same, moved, with chances and noise seeds for each image."""
        assert self.augment is not None
        indices, pixels, labels = self.plain(step)
        side = pixels.shape[1]
        drawn = change.uniforms(self.seed, self.view, indices, change.CHANCES)
        if self.warps:
            matrices = change.transforms(self.augment, side, self.size, drawn)
            pixels = change.warp(pixels, matrices, self.size, self.augment.fill)
        else:
            pixels = change.flip_and_crop(pixels, self.augment, self.size, drawn)
        if self.mixes:
            parameter = self.augment.mixup or self.augment.cutmix
            drawn[:, change.LAMBDA] = change.beta(parameter, drawn[:, change.LAMBDA])
        seeds = change.keys(self.seed ^ 0x0015E, self.view, indices, 2).view(np.int64)
        return indices, pixels, labels, drawn.astype(np.float32), seeds


def _load(gather: _Gather, step: Any, classes: int) -> tuple[Any, ...]:
    size = gather.size
    if gather.augment is None:
        index, x, label = tf.numpy_function(
            gather.plain, [step], (tf.int64, tf.uint8, tf.int32), stateful=False
        )
        y = tf.one_hot(tf.ensure_shape(label, (None,)), classes)
    else:
        kinds = (tf.int64, tf.uint8, tf.int32, tf.float32, tf.int64)
        index, x, label, drawn, seeds = tf.numpy_function(
            gather.random, [step], kinds, stateful=False
        )
        x = tf.ensure_shape(x, (None, size, size, 3))
        y = tf.one_hot(tf.ensure_shape(label, (None,)), classes)
        if _needs_float(gather.augment):
            x = change.recolour(gather.augment, x, size, drawn, seeds)
        if gather.mixes:
            x, y = _mixed(gather, x, y, drawn[1:])
            index, label = index[1:], label[1:]
    return (
        tf.ensure_shape(index, (None,)),
        tf.ensure_shape(x, (None, size, size, 3)),
        y,
        tf.ensure_shape(label, (None,)),
    )


def _needs_float(augment: Augment) -> bool:
    """Whether colours change, or images are mixed."""
    moves = {"flip": "none", "crop_from": None, "rotation": 0.0, "zoom": 0.0, "shift": 0.0}
    return change.changes(augment.model_copy(update=moves))


def _mixed(gather: _Gather, x: Any, y: Any, drawn: Any) -> tuple[Any, Any]:
    assert gather.augment is not None
    share = drawn[:, change.LAMBDA]
    if gather.augment.mixup:
        return change.mixup(x[1:], y[1:], x[:-1], y[:-1], share)
    where = drawn[:, change.BOX_Y] * gather.size, drawn[:, change.BOX_X] * gather.size
    return change.cutmix(x[1:], y[1:], x[:-1], y[:-1], share, *where)
