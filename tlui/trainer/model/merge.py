"""BatchNorm in inference mode, merged into the convolution in front of it.

There it is one multiplication and one addition for each channel, with numbers that stay as they
are: y = gamma (conv(x, W) + b - mean) / sqrt(variance + epsilon) + beta. So the filter becomes
gamma / sqrt(variance + epsilon) W, and the rest a bias (batch normalization folding: Jacob et al.
2018, arXiv:1712.05877, section 3.2). TensorFlow fuses a bias and an activation with convolutions
of every kind; BatchNorm itself it leaves behind depthwise ones, which costs a good part of the time
of a MobileNet on a CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
PASSED = ("Identity", "Reshape", "Squeeze")
"""What may stand between a constant of a channel each and its use."""


def merge_batchnorm(function: Any) -> Any:
    """The same function with every such BatchNorm merged; of its last digits some differ.

    Args:
        function: A concrete function of one input and one output whose weights are constants.
    """
    graph = function.graph.as_graph_def()
    nodes = {node.name: node for node in graph.node}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    merged = [
        constant
        for node in list(graph.node)
        if node.op == "FusedBatchNormV3" and not node.attr["is_training"].b
        for constant in _merge(node, nodes, uses)
    ]
    if not merged:
        return function
    graph.node.extend(merged)
    names = [tensor.name for tensor in (*function.inputs, *function.outputs)]
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    feed, fetch = (wrapped.graph.get_tensor_by_name(name) for name in names)
    return wrapped.prune(feed, fetch)


def _merge(norm: Any, nodes: dict[str, Any], uses: dict[str, int]) -> list[Any]:
    """Make a BatchNorm the addition of a bias, its scale part of the filter; the new constants,
    none where that cannot be done."""
    before = convolution = nodes.get(norm.input[0])
    bias = None
    if before is not None and before.op == "BiasAdd" and uses[before.name] == 1:
        bias = _constant(before.input[1], nodes)
        convolution = nodes.get(before.input[0])
    if convolution is None or convolution.op not in CONVOLUTIONS:
        return []
    if uses[convolution.name] != 1 or not (convolution is before or bias is not None):
        return []
    filter = _constant(convolution.input[1], nodes, flat=False)
    given = [_constant(name, nodes) for name in norm.input[1:]]
    used = any(f"{norm.name}:{i}" in uses for i in range(1, 6))
    if filter is None or any(x is None for x in given) or filter.dtype != np.float32 or used:
        return []
    gamma, beta, mean, variance = (np.asarray(x, np.float64) for x in given)
    factor = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
    shift = beta + factor * ((0.0 if bias is None else bias) - mean)
    depthwise = convolution.op == "DepthwiseConv2dNative"
    scaled = filter * (factor.reshape(filter.shape[2:]) if depthwise else factor)
    added = [_node(f"{norm.name}/filter", scaled), _node(f"{norm.name}/bias", shift)]
    convolution.input[1] = added[0].name
    data_format = norm.attr["data_format"].s
    del norm.input[:]
    norm.input.extend([convolution.name, added[1].name])
    norm.op = "BiasAdd"
    norm.attr.clear()
    norm.attr["T"].type = tf.float32.as_datatype_enum
    norm.attr["data_format"].s = data_format
    return added


def _constant(name: str, nodes: dict[str, Any], flat: bool = True) -> np.ndarray | None:
    """The value of a constant, flattened; None of what is none."""
    node = nodes.get(name.removesuffix(":0"))
    while node is not None and node.op in (PASSED if flat else ("Identity",)):
        node = nodes.get(node.input[0].removesuffix(":0"))
    if node is None or node.op != "Const":
        return None
    found: np.ndarray = tf.make_ndarray(node.attr["value"].tensor)
    return found.reshape(-1) if flat else found


def _node(name: str, value: np.ndarray) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
    return node
