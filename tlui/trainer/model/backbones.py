"""Backbones by their catalogue name, and the input scaling each family wants.

A backbone is built without its top and with random weights; where its weights come from is
`weights.py`. Scaling is made of Keras's own layers, so that a saved network needs no tlui. A
backbone of ours is one function in `OWN` and one entry in the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from tlui.errors import TluiError
from tlui.recipe.catalogue import BACKBONES, BackboneSpec, Scaling, unknown
from tlui.recipe.schema import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_BGR_MEAN = (103.939, 116.779, 123.68)


def spec_of(name: str) -> BackboneSpec:
    """The catalogue's entry.

    Raises:
        TluiError: No backbone of that name; the message has the nearest.
    """
    if name not in BACKBONES:
        raise TluiError(unknown("backbone", name, BACKBONES), code=2)
    return BACKBONES[name]


def build_backbone(backbone: Backbone, size: int, weights: str | None = None) -> keras.Model:
    """The backbone without its top: (n, size, size, 3) scaled images to a feature map.

    Args:
        backbone: Name and alpha; its `weights` are not looked at.
        size: Side of the input, in pixels.
        weights: What the builder of keras.applications gets: None, "imagenet" or a file.

    Raises:
        TluiError: The images are too small for it.
    """
    spec = spec_of(backbone.name)
    if size < spec.least:
        raise TluiError(
            f"{backbone.name} needs images of at least {spec.least} px. "
            f"Received: dataset.image_size={size}",
            code=2,
        )
    if spec.module == "tlui":
        return OWN[backbone.name](size)
    arguments: dict[str, Any] = {
        "include_top": False,
        "weights": weights,
        "input_shape": (size, size, 3),
    }
    if spec.alphas:
        arguments["alpha"] = backbone.alpha
    return getattr(keras.applications, backbone.name)(**arguments)


def scaling_layers(kind: Scaling) -> list[Callable[[Any], Any]]:
    """What turns RGB 0-255 into what the family was trained on, in order.

    The same numbers as the family's `preprocess_input`, computed in float32 whatever the
    mixed-precision policy. `own` is empty: the backbone scales by itself.
    """
    if kind == "tf":
        return [layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="scaling")]
    if kind == "torch":
        scale = [1 / (255 * s) for s in IMAGENET_STD]
        offset = [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        return [layers.Rescaling(scale, offset, dtype="float32", name="scaling")]
    if kind == "caffe":
        offset = [-m for m in CAFFE_BGR_MEAN]
        return [
            lambda x: keras.ops.flip(x, axis=-1),
            layers.Rescaling([1.0, 1.0, 1.0], offset, dtype="float32", name="scaling"),
        ]
    return []


def small_conv_net(size: int) -> keras.Model:
    """Six 3x3 convolutions with BatchNorm, 32 to 128 filters: learns 32 px digits in seconds."""
    image = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(image)
    for block, filters in enumerate((32, 64, 128), start=1):
        for conv in (1, 2):
            stem = f"block{block}_conv{conv}"
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=stem)(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"{stem}_bn")(x)
            x = layers.ReLU(name=f"{stem}_relu")(x)
        if block < 3:
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(image, x, name="small_conv_net")


OWN: dict[str, Callable[[int], keras.Model]] = {"SmallConvNet": small_conv_net}
"""Backbones that keras.applications does not have."""
