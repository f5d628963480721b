"""Networks from experiments: shapes, determinism, heads, mixed precision, strategies."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlui.errors import TluiError
from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.variables import named_variables


def test_probabilities_come_from_the_logits(experiment, noise):
    network = build(experiment(size=32), 5)
    images = noise(3, 32)
    probabilities = np.asarray(network.model(images))
    assert probabilities.shape == (3, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    logits = network.logits(images)
    np.testing.assert_allclose(probabilities, np.asarray(network.probabilities(logits)), rtol=1e-5)


def test_sigmoid_is_one_unit_for_two_classes(experiment, noise):
    network = build(experiment("SmallConvNet", size=16, head={"output": "sigmoid"}), 2)
    out = np.asarray(network.model(noise(3, 16)))
    assert out.shape == (3, 1)
    assert ((out > 0) & (out < 1)).all()


def test_sigmoid_is_refused_for_more_classes(experiment):
    with pytest.raises(TluiError, match=r"sigmoid.*two classes; this dataset has 3"):
        build(experiment("SmallConvNet", size=16, head={"output": "sigmoid"}), 3)


@pytest.mark.parametrize(
    ("pooling", "width"), [("avg", 128), ("max", 128), ("flatten", 4 * 4 * 128)]
)
def test_pooling_gives_the_head_its_width(experiment, pooling, width):
    network = build(experiment("SmallConvNet", size=16, head={"pooling": pooling}), 3)
    assert named_variables(network)["head/logits/kernel"].shape == (width, 3)


def test_dropout_stands_before_every_dense_layer(experiment):
    head = {"hidden": [8, 4], "dropout": 0.5}
    network = build(experiment("SmallConvNet", size=16, head=head), 3)
    names = [layer.name for layer in network.head_layers]
    assert names == [
        *("pooling", "dropout1", "hidden1", "dropout2", "hidden2", "dropout3", "logits")
    ]


def test_same_seed_same_weights_and_another_seed_others(experiment):
    one, two, other = (build(experiment(size=32), 3, seed) for seed in (1, 1, 2))
    keys = list(named_variables(one))
    assert keys == list(named_variables(two))
    for key in keys:
        a, b = (np.asarray(named_variables(n)[key]) for n in (one, two))
        np.testing.assert_array_equal(a, b)
    kernels = [np.asarray(named_variables(n)["head/logits/kernel"]) for n in (one, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0


def test_keys_do_not_depend_on_what_was_built_before(experiment):
    keys = list(named_variables(build(experiment("SmallConvNet", size=16), 3)))
    keras.layers.Dense(1), keras.layers.Conv2D(1, 1)
    assert keys == list(named_variables(build(experiment("SmallConvNet", size=16), 3)))
    assert len(set(keys)) == len(keys)


def test_mixed_precision_computes_in_half_and_answers_in_float32(experiment, noise):
    network = build(experiment(size=32, train={"mixed_precision": True}), 3)
    images = noise(2, 32)
    assert network.backbone.output.dtype in ("bfloat16", "float16")
    assert network.logits(images).dtype == tf.float32
    assert network.model(images).dtype == tf.float32
    assert all(v.dtype == "float32" for v in network.trainable_variables)
    assert keras.config.dtype_policy().name == "float32"


def test_builds_within_a_strategy(experiment):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    network = build(experiment("SmallConvNet", size=16), 3, strategy=strategy)
    set_regime(network, "backbone")
    values = [v.value for v in network.trainable_variables]
    assert all(v.distribute_strategy is strategy for v in values)


def test_backbone_weights_may_be_left_out(experiment):
    build(experiment(weights="/no/such/file.h5", size=32), 3, load_weights=False)
    with pytest.raises(TluiError, match=r"/no/such/file\.h5: no such weights file"):
        build(experiment(weights="/no/such/file.h5", size=32), 3)
