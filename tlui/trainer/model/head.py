"""The head: what stands on the backbone, up to the logits.

Pooling, hidden ReLU layers, dropout before every dense layer. Initial weights are a function of
the seed alone, whatever the backbone. Logits are float32 under mixed precision.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

from tlui.recipe.schema import Head

POOLING = {
    "avg": lambda: layers.GlobalAveragePooling2D(name="pooling"),
    "max": lambda: layers.GlobalMaxPooling2D(name="pooling"),
    "flatten": lambda: layers.Flatten(name="pooling"),
}
"""From a feature map (n, h, w, c) to a vector."""


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for `purpose`, the same in every process."""
    return zlib.crc32(f"{seed}:{purpose}".encode()) & 0x7FFFFFFF


def head_layers(head: Head, classes: int, seed: int) -> list[Any]:
    """The layers from the feature map to the logits, in order.

    Args:
        head: As the preset says.
        classes: Number of classes; a sigmoid head has one unit whatever it is.
        seed: Seed of the initial weights and of dropout.
    """
    stack: list[Any] = [POOLING[head.pooling]()]
    widths = [*head.hidden, 1 if head.output == "sigmoid" else classes]
    for i, units in enumerate(widths, start=1):
        last = i == len(widths)
        name = "logits" if last else f"hidden{i}"
        if head.dropout:
            drop = derived_seed(seed, f"dropout{i}")
            stack.append(layers.Dropout(head.dropout, seed=drop, name=f"dropout{i}"))
        stack.append(
            layers.Dense(
                units,
                activation=None if last else "relu",
                kernel_initializer=_initializer(seed, name),
                name=name,
                dtype="float32" if last else None,
            )
        )
    return stack


def beginnings(stack: Iterable[Any], seed: int) -> list[tuple[keras.Variable, np.ndarray]]:
    """Each variable of layers of a built head, and what it begins with under a seed."""
    found: list[tuple[keras.Variable, np.ndarray]] = []
    for layer in stack:
        if isinstance(layer, layers.Dropout) and layer.rate:
            state = layer.seed_generator.state
            found.append((state, np.array([derived_seed(seed, layer.name), 0], state.dtype)))
        elif isinstance(layer, layers.Dense):
            kernel, bias = layer.kernel, layer.bias
            drawn = _initializer(seed, layer.name)(kernel.shape, dtype=kernel.dtype)
            found.append((kernel, keras.ops.convert_to_numpy(drawn)))
            found.append((bias, np.zeros(bias.shape, bias.dtype)))
    return found


def reseed(stack: Iterable[Any], seed: int) -> None:
    """Make layers of a built head what they are when they are built under another seed."""
    stack = list(stack)
    for variable, array in beginnings(stack, seed):
        variable.assign(array)
    for layer in stack:
        if isinstance(layer, layers.Dropout):
            layer.seed = derived_seed(seed, layer.name)
        elif isinstance(layer, layers.Dense):
            layer.kernel_initializer = _initializer(seed, layer.name)


def _initializer(seed: int, name: str) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(derived_seed(seed, name))
