"""Augmentation: random changes to a batch of images, each a function of (seed, epoch, index).

An image in an epoch comes out the same whatever the batch size, the order or the step training
was resumed at. Chances are drawn in numpy by a counter-based hash (`uniforms`); pixels are
changed by OpenCV where they move and by whole-batch TensorFlow operations where they change
colour. Flips and crops alone are copies of uint8 pixels; with rotation, zoom or shift all geometry
is one affine map, so that pixels are interpolated once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from tlui.data.items import WINDOW
from tlui.recipe.schema import Augment

FLIP_H, FLIP_V, CROP_Y, CROP_X, ANGLE, ZOOM, SHIFT_X, SHIFT_Y = range(8)
BRIGHTNESS, CONTRAST, CUTOUT_Y, CUTOUT_X, LAMBDA, BOX_Y, BOX_X = range(8, 15)
CHANCES = 15
"""Columns of the table of chances; a new one goes to the end, so that the others stay."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: Any) -> Any:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014), on arrays of uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keys(seed: int, epoch: int, indices: np.ndarray, streams: int) -> np.ndarray:
    """uint64 (n, streams): a hash of (seed, epoch, index, stream)."""
    with np.errstate(over="ignore"):
        root = _mix(_mix(np.array([seed], np.uint64) + _GOLDEN) ^ np.uint64(epoch + 1))
        of_image = _mix(root ^ _mix(np.asarray(indices, np.uint64) + _GOLDEN))
        steps = (np.arange(streams, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        return np.asarray(_mix(of_image[:, None] + steps[None, :]))


def uniforms(seed: int, epoch: int, indices: np.ndarray, streams: int) -> np.ndarray:
    """float64 (n, streams) in [0, 1): independent chances for each image."""
    return (keys(seed, epoch, indices, streams) >> np.uint64(11)) * 2.0**-53


def order(seed: int, epoch: int, count: int, blocks: np.ndarray | None = None) -> np.ndarray:
    """int64 (count,): the order of an epoch, a function of (seed, epoch).

    Args:
        blocks: int64 (count,), which block each image is read with. Then blocks are shuffled, and
            images within every `WINDOW` blocks of that order; all images at once where there are
            no more.
    """
    chances = keys(seed ^ 0x5EED, epoch, np.arange(count), 1)[:, 0]
    if blocks is None or not count:
        return np.argsort(chances, kind="stable")
    _, number = np.unique(blocks, return_inverse=True)
    shuffled = np.argsort(keys(seed ^ 0xB10C5, epoch, np.arange(number.max() + 1), 1)[:, 0])
    return np.lexsort((chances, np.argsort(shuffled)[number] // WINDOW))


def warps(augment: Augment) -> bool:
    """Whether pixels fall between pixels, so that they are interpolated."""
    return bool(augment.rotation or augment.zoom or augment.shift)


def mixes(augment: Augment) -> bool:
    """Whether each image is mixed with another of the epoch."""
    return bool(augment.mixup or augment.cutmix)


def changes(augment: Augment | None) -> bool:
    """Whether anything is on."""
    return augment is not None and augment != Augment(fill=augment.fill, views=augment.views)


def view(augment: Augment, epoch: int) -> int:
    """The epoch whose chances an epoch (from 1) sees: its own, or with `views` one of the first."""
    return 1 + (epoch - 1) % augment.views if augment.views else epoch


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """(n, size, size, 3): the middle; what evaluation sees where training crops at random."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return images[:, top : top + size, left : left + size]


def flips(augment: Augment, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool (n,), (n,): which images are mirrored left-right, and top-bottom."""
    horizontal = (chances[:, FLIP_H] < 0.5) & (augment.flip in ("horizontal", "both"))
    vertical = (chances[:, FLIP_V] < 0.5) & (augment.flip in ("vertical", "both"))
    return horizontal, vertical


def crop_corners(side: int, size: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int (n,), (n,): top and left of a random crop of `size` from images of `side`."""
    room = side - size + 1
    top = (chances[:, CROP_Y] * room).astype(np.int64)
    left = (chances[:, CROP_X] * room).astype(np.int64)
    return top, left


def flip_and_crop(
    images: np.ndarray, augment: Augment, size: int, chances: np.ndarray
) -> np.ndarray:
    """(n, size, size, 3), dtype kept: random crop, then flips; exact copies of pixels."""
    horizontal, vertical = flips(augment, chances)
    top, left = crop_corners(images.shape[1], size, chances)
    if not horizontal.any() and not vertical.any() and images.shape[1] == size:
        return images
    out = np.empty((len(images), size, size, images.shape[3]), images.dtype)
    for i, image in enumerate(images):
        part = image[top[i] : top[i] + size, left[i] : left[i] + size]
        rows = slice(None, None, -1) if vertical[i] else slice(None)
        columns = slice(None, None, -1) if horizontal[i] else slice(None)
        out[i] = part[rows, columns]
    return out


def transforms(augment: Augment, side: int, size: int, chances: np.ndarray) -> np.ndarray:
    """float64 (n, 2, 3): output pixel -> input pixel, for flips, crop, rotation, zoom and shift.

    The image is cropped, flipped, scaled by a factor in [1 - zoom, 1 + zoom], turned by up to
    `rotation` degrees counter-clockwise or clockwise about its centre, and moved.
    """
    u = chances
    angle = np.deg2rad((2 * u[:, ANGLE] - 1) * augment.rotation)
    factor = 1 + (2 * u[:, ZOOM] - 1) * augment.zoom
    move_x = (2 * u[:, SHIFT_X] - 1) * augment.shift * size
    move_y = (2 * u[:, SHIFT_Y] - 1) * augment.shift * size
    horizontal, vertical = flips(augment, chances)
    top, left = crop_corners(side, size, chances)
    return affine(size, angle, factor, move_x, move_y, horizontal, vertical, top, left)


def affine(
    size: int,
    angle: Any,
    factor: Any = 1.0,
    move_x: Any = 0.0,
    move_y: Any = 0.0,
    horizontal: Any = False,
    vertical: Any = False,
    top: Any = 0,
    left: Any = 0,
) -> np.ndarray:
    """float64 (n, 2, 3), from angles (radians, counter-clockwise), scale factors, moves in
    pixels, mirrors and crop corners; each a number or an array (n,)."""
    values = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(v, np.float64))
            for v in (angle, factor, move_x, move_y, horizontal, vertical, top, left)
        )
    )
    angle, factor, move_x, move_y, horizontal, vertical, top, left = values
    centre = (size - 1) / 2
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    sign_x, sign_y = 1 - 2 * horizontal, 1 - 2 * vertical
    # Output (x, y) about the centre, moved back, turned back, scaled back, mirrored back.
    a0, a1, b0, b1 = sign_x * cos, -sign_x * sin, sign_y * sin, sign_y * cos
    from_x, from_y = -centre - move_x, -centre - move_y
    a2 = a0 * from_x + a1 * from_y + centre + left
    b2 = b0 * from_x + b1 * from_y + centre + top
    return np.stack([a0, a1, a2, b0, b1, b2], axis=1).reshape(-1, 2, 3)


def warp(images: np.ndarray, matrices: np.ndarray, size: int, fill: str) -> np.ndarray:
    """uint8 (n, size, size, 3): each image through its matrix (2, 3), bilinear, rounded.

    `fill` is what stands where no pixel was: constant (black), nearest, reflect or wrap.
    """
    cv2 = _opencv()
    borders = {
        "constant": cv2.BORDER_CONSTANT,
        "nearest": cv2.BORDER_REPLICATE,
        "reflect": cv2.BORDER_REFLECT,
        "wrap": cv2.BORDER_WRAP,
    }
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, matrix, to in zip(images, matrices, out, strict=True):
        cv2.warpAffine(image, matrix, (size, size), to, how, borders[fill])
    return out


@cache
def _opencv() -> Any:
    import cv2

    cv2.setNumThreads(0)  # batches are shared out, not images
    return cv2


def brighten(images: Any, share: Any) -> Any:
    """Add `share` (n,) of 255 to every pixel."""
    return images + 255.0 * tf.reshape(tf.cast(share, tf.float32), (-1, 1, 1, 1))


def contrast(images: Any, factor: Any) -> Any:
    """Scale by `factor` (n,) about the mean of each channel of each image."""
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    return (images - mean) * tf.reshape(tf.cast(factor, tf.float32), (-1, 1, 1, 1)) + mean


def add_noise(images: Any, seeds: Any, deviation: float) -> Any:
    """Add Gaussian noise of `deviation` (in 0-255), drawn for each image from its seed (n, 2)."""
    shape = images.shape[1:]
    drawn = tf.map_fn(
        lambda seed: tf.random.stateless_normal(shape, seed, stddev=deviation),
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
        parallel_iterations=4,
    )
    return images + drawn


def box_mask(size: int, centre_y: Any, centre_x: Any, side: Any) -> Any:
    """bool (n, size, size, 1): a square of `side` pixels about each centre, cut off at the edge.

    Row r belongs to it where centre - side/2 <= r < centre + side/2, likewise columns.
    """
    at = tf.range(size, dtype=tf.float32)[None, :]
    half = tf.reshape(tf.cast(side, tf.float32), (-1, 1)) / 2
    y, x = (tf.reshape(tf.cast(c, tf.float32), (-1, 1)) for c in (centre_y, centre_x))
    rows = (at >= y - half) & (at < y + half)
    columns = (at >= x - half) & (at < x + half)
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def mixup(images: Any, labels: Any, others: Any, other_labels: Any, share: Any) -> tuple[Any, Any]:
    """`share` (n,) of each image and label, the rest of its partner's."""
    share = tf.cast(share, tf.float32)
    wide, flat = tf.reshape(share, (-1, 1, 1, 1)), tf.reshape(share, (-1, 1))
    return (
        wide * images + (1 - wide) * others,
        flat * labels + (1 - flat) * other_labels,
    )


def cutmix(
    images: Any, labels: Any, others: Any, other_labels: Any, share: Any, y: Any, x: Any
) -> tuple[Any, Any]:
    """A box of about 1 - `share` (n,) of the area comes from the partner; labels by true area."""
    size = int(images.shape[1])
    side = size * tf.sqrt(1 - tf.cast(share, tf.float32))
    inside = box_mask(size, y, x, side)
    kept = 1 - tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2))
    return tf.where(inside, others, images), kept * labels + (1 - kept) * other_labels


def beta(parameter: float, chances: np.ndarray) -> np.ndarray:
    """Beta(a, a) by its inverse distribution function, in [0, 1]."""
    from scipy.special import betaincinv  # type: ignore[import-untyped]

    return np.asarray(betaincinv(parameter, parameter, chances))


def recolour(augment: Augment, images: Any, size: int, chances: Any, seeds: Any) -> Any:
    """Brightness, contrast, noise and cutout, clipped to 0-255; float32 (n, size, size, 3).

    Args:
        chances: float32 (n, CHANCES).
        seeds: int64 (n, 2), of the noise.
    """
    images = tf.cast(images, tf.float32)
    if augment.brightness:
        images = brighten(images, (2 * chances[:, BRIGHTNESS] - 1) * augment.brightness)
    if augment.contrast:
        images = contrast(images, 1 + (2 * chances[:, CONTRAST] - 1) * augment.contrast)
    if augment.noise:
        images = add_noise(images, seeds, 255.0 * augment.noise)
    images = tf.clip_by_value(images, 0.0, 255.0)
    if augment.cutout:
        side = float(max(1, math.floor(augment.cutout * size + 0.5)))
        mask = box_mask(size, chances[:, CUTOUT_Y] * size, chances[:, CUTOUT_X] * size, [side])
        images = tf.where(mask, 0.0, images)
    return images
