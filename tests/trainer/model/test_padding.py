"""Zeros that convolutions add by themselves: the same numbers, bit by bit, and fewer copies."""

import numpy as np
import pytest
import tensorflow as tf

from tlui.recipe.catalogue import BACKBONES
from tlui.recipe.schema import Experiment
from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.padding import unpadded
from tlui.trainer.model.prefix import frozen_prefix

PADDED = ("MobileNet", "EfficientNet", "NASNet")


def network(name, side=96):
    given = {
        "name": "x",
        "dataset": {"source": "folder", "path": "x", "image_size": side},
        "backbone": {"name": name, "weights": "none"},
        "phase": [{"lr": {"policy": "constant", "initial": 1e-3}}],
    }
    made = build(Experiment.model_validate(given), 3)
    rng = np.random.default_rng(0)
    for variable in made.backbone.variables:
        if variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return made


def copies(model):
    """How many layers of a model make zeros around images."""
    layers = [x for x in model.layers if type(x).__name__ == "ZeroPadding2D"]
    return sum(np.any(layer.padding) for layer in layers)


def traced(function, side):
    spec = tf.TensorSpec([None, side, side, 3], tf.float32)
    return tf.function(function, input_signature=[spec], autograph=False, jit_compile=False)


@pytest.mark.parametrize(
    "name,side,before,left",
    [
        ("MobileNet", 96, 4, 0),
        ("MobileNetV2", 96, 4, 0),
        ("MobileNetV2", 84, 4, 0),  # sides that are odd further up: zeros on both ends
        ("MobileNetV3Small", 96, 4, 0),
        ("EfficientNetB0", 96, 5, 0),
        ("ResNet50", 96, 2, 2),  # always zeros on both ends, unlike `same`
        ("DenseNet121", 96, 2, 2),
    ],
)
def test_the_same_bits_without_copies(name, side, before, left):
    model = network(name, side).backbone
    pixels = tf.constant(np.random.default_rng(3).uniform(0, 255, (9, side, side, 3)), tf.float32)
    plain = traced(lambda x: model(x, training=False), side)(pixels)
    assert copies(model) == before

    def without(x):
        with unpadded(model):
            assert copies(model) == left
            return model(x, training=False)

    found = traced(without, side)(pixels)
    np.testing.assert_array_equal(found, plain)
    assert copies(model) == before  # as it was, to be saved


@pytest.mark.slow
@pytest.mark.parametrize("name", [x for x in BACKBONES if x.startswith(PADDED)])
def test_the_same_bits_of_every_backbone_with_such_zeros(name):
    side = max(BACKBONES[name].least, 75)
    model = network(name, side).backbone
    pixels = tf.constant(np.random.default_rng(3).uniform(0, 255, (8, side, side, 3)), tf.float32)
    plain = traced(lambda x: model(x, training=False), side)(pixels)
    with unpadded(model):
        found = traced(lambda x: model(x, training=False), side)(pixels)
    np.testing.assert_array_equal(found, plain)


def test_a_cut_at_zeros_keeps_them():
    made = network("MobileNetV2")
    set_regime(made, "from:block_3_depthwise")
    prefix = frozen_prefix(made)
    assert prefix.cut == "block_3_pad"
    pixels = tf.constant(np.random.default_rng(3).uniform(0, 255, (4, 96, 96, 3)), tf.float32)
    features = traced(prefix.features, 96)(pixels)
    assert features.shape[1:] == prefix.shape
    assert not np.any(features[:, -1]) and np.any(features[:, -2])
    whole = traced(made.logits, 96)(pixels)
    parts = tf.function(prefix.logits, autograph=False)(features)
    np.testing.assert_array_equal(parts, whole)


def test_a_failed_trace_leaves_it_as_it_was():
    model = network("MobileNetV2").backbone
    with pytest.raises(ZeroDivisionError), unpadded(model):
        raise ZeroDivisionError
    assert copies(model) == 4
    assert model.get_layer("block_1_depthwise").padding == "valid"
