"""The frozen prefix: the part of a network whose outputs never change while it trains.

What a feature cache stands on. The cut is a place that a single tensor crosses, before the first
layer that learns; everything in front of it gives the same numbers for the same image at every
step. With the whole backbone frozen it reaches into the head, up to its pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from tlui.trainer.model.naming import fresh_names
from tlui.trainer.model.network import Network
from tlui.trainer.model.padding import unpadded


@dataclass(frozen=True)
class Prefix:
    """A network in two: `features(images)`, then `logits` of them, is `network.logits(images)`."""

    network: Network
    prefix: keras.Model
    """float32 RGB (n, size, size, 3) in 0-255 to features."""
    upper: keras.Model | None
    """Features to the backbone's output; None where the backbone is in the prefix as a whole."""
    head: keras.Model
    """What of the head comes after the prefix, to logits."""
    cut: str
    """Name of the last layer in the prefix, the same in every process; part of a cache's key."""
    shape: tuple[int, ...]
    """Of one image's features."""
    dtype: str

    def features(self, images: Any) -> Any:
        """(n, *shape) from (n, size, size, 3) images in 0-255; use inside a tf.function."""
        with unpadded(self.prefix):
            return self.prefix(images, training=False)

    def logits(self, features: Any, training: bool = False) -> Any:
        """Float32 logits from features, in the modes of the present regime."""
        if self.upper is not None:
            mode = training and self.network.batchnorm == "train"
            features = self.upper(features, training=mode)
        return self.head(features, training=training)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Every layer in the prefix: their weights are what the features depend on."""
        return [x for x in self.prefix._flatten_layers(include_self=False) if x.weights]


def frozen_prefix(network: Network) -> Prefix | None:
    """The longest frozen prefix under the present regime, or None where there is none.

    None when the first layers learn, or when no tensor alone crosses in front of the first that
    does, or when all there is in front of it has no weights (nothing worth caching).
    """
    stochastic = network.batchnorm == "train"
    tensor, done = _last_cut(network.backbone, stochastic)
    if tensor is None:
        return None
    image = network.scaling.input
    scaled = network.scaling.output
    if not done:
        lower = keras.Model(network.backbone.input, tensor, name="lower")
        upper = keras.Model(tensor, network.backbone.output, name="upper")
        return Prefix(
            network=network,
            prefix=keras.Model(image, lower(scaled), name="prefix"),
            upper=upper,
            head=network.head,
            cut=_name_of(network, tensor),
            shape=tuple(tensor.shape[1:]),
            dtype=str(tensor.dtype),
        )
    rest = list(network.head_layers)
    features = network.backbone(scaled)
    cut = network.backbone_names[-1]
    names = iter(fresh_names(rest))
    while rest and not rest[0].weights and not _random(rest[0]):
        features = rest.pop(0)(features)
        cut = next(names)
    entry = keras.Input(features.shape[1:], dtype=features.dtype, name="cached_features")
    logits = entry
    for layer in rest:
        logits = layer(logits)
    return Prefix(
        network=network,
        prefix=keras.Model(image, features, name="prefix"),
        upper=None,
        head=keras.Model(entry, logits, name="head_rest"),
        cut=cut,
        shape=tuple(features.shape[1:]),
        dtype=str(features.dtype),
    )


def _nodes(model: keras.Model) -> Iterator[Any]:
    """The calls of a functional model in the order it runs them."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def _random(operation: Any) -> bool:
    """Whether it draws random numbers in training (dropout, stochastic depth)."""
    layers = operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else ()
    return any(hasattr(layer, "seed_generator") or hasattr(layer, "seed") for layer in layers)


def _learnable(operation: Any) -> bool:
    """Whether it has weights that cost something to apply; mere input statistics do not."""
    weights = getattr(operation, "weights", None)
    return bool(weights) and not isinstance(operation, keras.layers.Normalization)


def _last_cut(model: keras.Model, stochastic: bool) -> tuple[Any, bool]:
    """The tensor at the last cut in front of what changes, and whether it is the model's output.

    (None, False) where there is no cut behind a layer with weights.
    """
    nodes = list(_nodes(model))
    last_use = {id(t): len(nodes) for t in model.outputs}
    for i, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[id(tensor)] = max(i, last_use.get(id(tensor), -1))
    cut, done, weighty = None, False, False
    alive: list[Any] = []
    for i, node in enumerate(nodes):
        operation = node.operation
        if getattr(operation, "trainable_weights", None) or (stochastic and _random(operation)):
            break
        weighty = weighty or _learnable(operation)
        alive = [t for t in [*alive, *node.outputs] if last_use.get(id(t), -1) > i]
        if len(alive) == 1 and weighty:
            cut, done = alive[0], i == len(nodes) - 1
    return cut, done


def _name_of(network: Network, tensor: Any) -> str:
    operation = tensor._keras_history.operation
    for layer, name in zip(network.backbone_layers, network.backbone_names, strict=True):
        if layer is operation:
            return name
    return str(operation.name)
