"""Where a step of full tuning goes, by the kind of layer: prints a Markdown table.

    python tests/benchmarks/layers.py [--backbone MobileNetV2] [--size 224] [--batch 32]

Runs each layer of a backbone by itself, forward alone and with the gradient of its input and
weights. That sees which kind of kernel is slow; in a whole step TensorFlow fuses some of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from machine import machine

ROUNDS = 5


@dataclass
class Kind:
    """Layers of one kind, together."""

    layers: int = 0
    forward: float = 0.0
    both: float = 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--alpha", type=float, default=0.35, help="of MobileNets")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    alpha = {"alpha": given.alpha} if given.backbone.startswith("MobileNet") else {}
    shape = (given.size, given.size, 3)
    build = getattr(keras.applications, given.backbone)
    backbone = build(input_shape=shape, include_top=False, weights=None, **alpha)
    kinds: dict[str, Kind] = {}
    for layer in backbone.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            _measure(layer, given.batch, kinds.setdefault(type(layer).__name__, Kind()))
    print(machine(), f"command: {' '.join(sys.argv)}\n")
    print("| kind | layers | forward | forward and backward |")
    print("|---|---|---|---|")
    for name, kind in sorted(kinds.items(), key=lambda x: -x[1].both):
        print(f"| {name} | {kind.layers} | {_ms(kind.forward)} | {_ms(kind.both)} |")
    print(f"| all | | | {_ms(sum(kind.both for kind in kinds.values()))} |")


def _measure(layer: Any, batch: int, kind: Kind) -> None:
    import tensorflow as tf

    shapes = [x.shape[1:] for x in tf.nest.flatten(layer.input)]
    made = [tf.random.normal((batch, *shape)) for shape in shapes]
    images = made if len(made) > 1 else made[0]
    weights = [variable.value for variable in layer.trainable_variables]

    @tf.function(autograph=False, jit_compile=False)
    def forward(x: Any) -> Any:
        return layer(x, training=False)

    @tf.function(autograph=False, jit_compile=False)
    def both(x: Any, seed: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=False)
        return tape.gradient(y, [x, *weights], seed)

    seed = tf.random.normal(forward(images).shape)
    kind.layers += 1
    kind.forward += _seconds(lambda: forward(images))
    kind.both += _seconds(lambda: both(images, seed))


def _seconds(run: Callable[[], Any]) -> float:
    """The least of several calls, after two that warm up."""
    found = []
    for _ in range(ROUNDS + 2):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found[2:])


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
