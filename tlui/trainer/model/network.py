"""The network of one run: input scaling, backbone and head, and how they run together.

Owns the graph's three parts and the one question a regime leaves open at run time: whether the
backbone is called in training mode. A saved network takes RGB 0-255 and needs plain Keras only.
Knows nothing of data, losses or optimizers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from tlui.trainer.model.naming import fresh_names
from tlui.trainer.model.template import Template

BatchNorm = Literal["inference", "train"]


@dataclass
class Network:
    """What is trained.

    `model` is the whole of it as one functional model: float32 RGB (n, size, size, 3) in 0-255
    to float32 probabilities, (n, classes) for softmax and (n, 1) for sigmoid. `scaling`,
    `backbone` and `head` are its parts as models of their own over the same layers; `head` gives
    logits. Train with `logits`, which runs the backbone as the regime says.
    """

    model: keras.Model
    scaling: keras.Model
    backbone: keras.Model
    head: keras.Model
    output: Literal["softmax", "sigmoid"]
    size: int
    """Side of the input, in pixels."""
    batchnorm: BatchNorm = "inference"
    """`inference`: the backbone is called with training=False, so BatchNorm uses its moving
    statistics and leaves them alone, and the backbone's own dropout (EfficientNet's stochastic
    depth) is off. Set by `set_regime`."""

    @property
    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The backbone's layers in order, without its input: what top:N and from:LAYER count."""
        return [x for x in self.backbone.layers if not isinstance(x, keras.layers.InputLayer)]

    @property
    def head_layers(self) -> list[keras.layers.Layer]:
        """The head's layers in order: pooling, hidden, dropout, logits."""
        return [x for x in self.head.layers if not isinstance(x, keras.layers.InputLayer)]

    @property
    def backbone_names(self) -> list[str]:
        """Names of `backbone_layers` as a fresh process would give them: stable everywhere."""
        return fresh_names(self.backbone_layers)

    @property
    def classes(self) -> int:
        """Width of the probabilities: classes for softmax, 1 for sigmoid."""
        return int(self.model.output_shape[-1])

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What the gradient may change under the present regime, backbone before head.

        The order is that of the layers, so an optimizer built for it lines up on resume.
        """
        return [
            *self.backbone.trainable_variables,
            *self.head.trainable_variables,
        ]

    def logits(self, images: Any, training: bool = False) -> Any:
        """Float32 logits of (n, size, size, 3) images in 0-255: (n, classes) or (n, 1).

        Use inside a tf.function traced after `set_regime`: the backbone's mode is a Python value.
        """
        features = self.backbone(
            self.scaling(images), training=training and self.batchnorm == "train"
        )
        return self.head(features, training=training)

    def probabilities(self, logits: Any) -> Any:
        """What `model` makes of these logits."""
        activate = keras.ops.softmax if self.output == "softmax" else keras.ops.sigmoid
        return activate(logits)


def save_portable(network: Network, path: Path, template: Template | None = None) -> None:
    """Write the network as a .keras file that plain Keras loads (safe mode, no tlui).

    The file appears whole: written aside, synced, then moved into place.

    Args:
        template: Of this very network: writes the same file in a fraction of the time.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        if template is not None:
            template.write(aside)
        else:
            network.model.save(aside)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        aside.chmod(0o600)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
