"""The head: what stands on the backbone, up to the logits.

Pooling, hidden ReLU layers, dropout before every dense layer. Initial weights are a function of
the seed alone, whatever the backbone. Logits are float32 under mixed precision.
"""

from __future__ import annotations

import zlib
from typing import Any

import keras
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
                kernel_initializer=keras.initializers.GlorotUniform(derived_seed(seed, name)),
                name=name,
                dtype="float32" if last else None,
            )
        )
    return stack
