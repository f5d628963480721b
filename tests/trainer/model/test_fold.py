"""Networks with their weights as constants: the same function, with BatchNorm merged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlui.recipe.schema import Experiment
from tlui.trainer.model.build import build
from tlui.trainer.model.fold import folded, folded_network, to_constants
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.merge import merge_batchnorm
from tlui.trainer.model.prefix import frozen_prefix

SIDE = 72


def network(name, side=SIDE, **backbone):
    """One whose BatchNorms do something."""
    given = {
        "name": "x",
        "dataset": {"source": "folder", "path": "x", "image_size": side},
        "backbone": {"name": name, "weights": "none", **backbone},
        "phase": [{"lr": {"policy": "constant", "initial": 1e-3}}],
    }
    made = build(Experiment.model_validate(given), 3)
    rng = np.random.default_rng(0)
    for variable in made.backbone.variables:
        kind = variable.path.rsplit("/", 1)[-1]
        if kind in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif kind in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return made


def photos(dtype=np.uint8):
    rng = np.random.default_rng(1)
    return tf.constant(rng.integers(0, 256, (4, SIDE, SIDE, 3)).astype(dtype))


def operations(function):
    return [node.op for node in function.graph.as_graph_def().node]


@pytest.mark.parametrize(
    "name,backbone",
    [("MobileNetV2", {"alpha": 0.35}), ("ResNet50", {}), ("DenseNet121", {}), ("Xception", {})],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_same_answers(name, backbone, dtype):
    made = network(name, **backbone)
    exact = made.logits(photos(np.float32)).numpy()
    found = folded_network(made)(photos(dtype)).numpy()
    np.testing.assert_allclose(found, exact, rtol=0, atol=5e-5 * np.abs(exact).max())


@pytest.mark.parametrize("name,left", [("MobileNetV2", 0), ("ResNet50", 0), ("DenseNet121", 62)])
def test_batchnorm_behind_a_convolution_is_gone(name, left):
    made = network(name)
    spec = tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)
    graph = to_constants(tf.function(made.logits, input_signature=[spec]).get_concrete_function())
    merged = merge_batchnorm(graph)
    assert operations(graph).count("FusedBatchNormV3") > left
    assert operations(merged).count("FusedBatchNormV3") == left


def test_a_prefix_keeps_its_shape():
    made = network("MobileNetV2", alpha=0.35)
    set_regime(made, "backbone", "inference")
    prefix = frozen_prefix(made)
    found = folded(prefix)(photos())
    assert tuple(found.shape[1:]) == prefix.shape
    exact = prefix.features(photos(np.float32)).numpy()
    np.testing.assert_allclose(found.numpy(), exact, rtol=0, atol=5e-5 * np.abs(exact).max())


def test_what_else_needs_the_convolution_keeps_it():
    """Its output is used twice: with the BatchNorm and without."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    model = keras.Model(image, x + keras.layers.BatchNormalization()(x))
    for variable in model.variables:
        variable.assign(np.random.default_rng(2).uniform(0.5, 1.5, variable.shape))
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    run = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    graph = to_constants(run.get_concrete_function())
    assert merge_batchnorm(graph) is graph
    pixels = tf.ones((2, 8, 8, 3))
    np.testing.assert_allclose(graph(pixels)[0], run(pixels), rtol=1e-6)
