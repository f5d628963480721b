"""From an experiment to a network: scaling, backbone with its weights, random head.

Deterministic given the seed: the same experiment and seed give the same weights in any process.
Called within a distribution strategy's scope (`strategy=`) the variables are its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.trainer.model.backbones import build_backbone, scaling_layers, spec_of
from tlui.trainer.model.batchnorm import fuse_batchnorm
from tlui.trainer.model.head import head_layers
from tlui.trainer.model.network import Network
from tlui.trainer.model.weights import backbone_with_weights


def build(
    experiment: Experiment,
    classes: int,
    seed: int | None = None,
    *,
    runs: Path | None = None,
    load_weights: bool = True,
    strategy: Any = None,
    mixed_precision: bool | None = None,
) -> Network:
    """Build what the experiment describes, everything trainable; `set_regime` comes next.

    Args:
        experiment: Fully resolved.
        classes: Number of classes, 2 or more.
        seed: Of the random weights and dropout; the experiment's where not given.
        runs: The folder of all runs, for `backbone.weights = "run:ID"`.
        load_weights: Off for a resume or a count: the backbone stays random and nothing is
            read or downloaded.
        strategy: A tf.distribute strategy; the present one where not given.
        mixed_precision: The experiment's where not given.

    Raises:
        TluiError: Images too small, weights absent or not fitting, or a sigmoid head for other
            than two classes.
    """
    if classes < 2:
        raise TluiError(f"a classifier needs at least 2 classes. Received: {classes}", code=2)
    if experiment.head.output == "sigmoid" and classes != 2:
        raise TluiError(
            f'head.output = "sigmoid" is for two classes; this dataset has {classes}. '
            'Set head.output = "softmax"',
            code=2,
        )
    seed = experiment.train.seed if seed is None else seed
    mixed = experiment.train.mixed_precision if mixed_precision is None else mixed_precision
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope(), _precision(mixed):
        keras.utils.set_random_seed(seed)
        size = experiment.dataset.image_size
        if load_weights:
            backbone = backbone_with_weights(experiment.backbone, size, runs)
        else:
            backbone = build_backbone(experiment.backbone, size)
        network = _assemble(experiment, backbone, classes, seed)
        if not tf.config.list_physical_devices("GPU"):
            fuse_batchnorm(backbone)
        return network


def _assemble(experiment: Experiment, backbone: keras.Model, classes: int, seed: int) -> Network:
    head = experiment.head
    size = experiment.dataset.image_size
    scaling = scaling_layers(spec_of(experiment.backbone.name).scaling)
    stack = head_layers(head, classes, seed)
    activation = keras.layers.Activation(head.output, dtype="float32", name="probabilities")

    image = keras.Input((size, size, 3), name="image", dtype="float32")
    features = keras.Input(backbone.output_shape[1:], name="features", dtype=backbone.output.dtype)
    scaled = _through(scaling, image)
    logits = _through(stack, backbone(scaled))
    return Network(
        model=keras.Model(image, activation(logits), name="network"),
        scaling=keras.Model(image, scaled, name="scaling_part"),
        backbone=backbone,
        head=keras.Model(features, _through(stack, features), name="head"),
        output=head.output,
        size=size,
    )


def _through(stack: list[Any], x: Any) -> Any:
    for layer in stack:
        x = layer(x)
    return x


@contextlib.contextmanager
def _precision(mixed: bool) -> Iterator[None]:
    """Layers made within compute in half precision: float16 on a GPU, bfloat16 on the CPU."""
    before = keras.config.dtype_policy()
    if mixed:
        gpu = bool(tf.config.list_physical_devices("GPU"))
        keras.config.set_dtype_policy("mixed_float16" if gpu else "mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
