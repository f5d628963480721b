"""A frozen prefix with its weights folded in as constants: the same function, rounded otherwise.

With constants TensorFlow merges BatchNorm into the convolutions in front of it and picks faster
kernels. Features then differ from the exact path in their last digits (below 5e-5 on ImageNet
weights), so this is only used where a preset says `train.features = "folded"`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as to_constants,
)

from tlui.trainer.model.prefix import Prefix


def folded(prefix: Prefix) -> Callable[[Any], Any]:
    """From images (n, size, size, 3) in 0-255, uint8 or float32, to the prefix's features.

    The weights are those of this moment: later changes do not reach it.
    """
    made: dict[Any, Any] = {}

    def run(x: Any) -> Any:
        return prefix.prefix(tf.cast(x, tf.float32), training=False)

    def features(x: Any) -> Any:
        if x.dtype not in made:
            with tf.init_scope():
                spec = tf.TensorSpec([None, *prefix.network.scaling.input_shape[1:]], x.dtype)
                graph = tf.function(run, input_signature=[spec], jit_compile=False)
                made[x.dtype] = to_constants(graph.get_concrete_function())
        [found] = made[x.dtype](x)
        return tf.ensure_shape(found, [None, *prefix.shape])

    return features
