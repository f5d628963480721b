"""A network, or its frozen prefix, with the weights folded in as constants: the same function,
rounded otherwise.

With constants BatchNorm can be merged into the convolutions in front of it. What comes out differs
from the exact path in its last digits (below 5e-5 on ImageNet weights), so training uses this
only where a preset says `train.features = "folded"`. A network that learnt as a whole is evaluated
so where that takes less time (`result`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as to_constants,
)

from tlui.trainer.model.merge import merge_batchnorm
from tlui.trainer.model.network import Network
from tlui.trainer.model.padding import unpadded
from tlui.trainer.model.prefix import Prefix


def folded(prefix: Prefix) -> Callable[[Any], Any]:
    """From images (n, size, size, 3) in 0-255, uint8 or float32, to the prefix's features.

    The weights are those of this moment: later changes do not reach it.
    """
    return _constant(prefix.features, prefix.network, prefix.shape)


def folded_network(network: Network) -> Callable[[Any], Any]:
    """From images (n, size, size, 3) in 0-255, uint8 or float32, to float32 logits (n, k).

    The weights are those of this moment: later changes do not reach it.
    """

    def logits(images: Any) -> Any:
        with unpadded(network.backbone):
            return network.logits(images)

    return _constant(logits, network, (network.classes,))


def _constant(
    function: Callable[[Any], Any], network: Network, shape: tuple[int, ...]
) -> Callable[[Any], Any]:
    made: dict[Any, Any] = {}

    def run(x: Any) -> Any:
        return function(tf.cast(x, tf.float32))

    def call(x: Any) -> Any:
        if x.dtype not in made:
            with tf.init_scope():
                spec = tf.TensorSpec([None, *network.scaling.input_shape[1:]], x.dtype)
                graph = tf.function(run, input_signature=[spec], jit_compile=False)
                made[x.dtype] = merge_batchnorm(to_constants(graph.get_concrete_function()))
        found = made[x.dtype](x)
        return tf.ensure_shape(found[0] if isinstance(found, list) else found, [None, *shape])

    return call
