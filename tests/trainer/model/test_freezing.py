"""Regimes: who learns, and whether BatchNorm's statistics stay put, shown by training steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlui.errors import TluiError
from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import batchnorm_mode, set_regime, settling_steps
from tlui.trainer.model.variables import named_variables


@pytest.fixture
def network(experiment):
    return build(experiment("SmallConvNet", size=16), 3)


def train(network, noise, steps=2):
    """A few steps of SGD; which keys changed."""
    before = {k: v.numpy().copy() for k, v in named_variables(network).items()}
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(network.trainable_variables)
    images, labels = tf.constant(noise(6, network.size)), tf.constant([0, 1, 2, 0, 1, 2])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network.logits(images, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    for _ in range(steps):
        step()
    return {k for k, v in named_variables(network).items() if (v.numpy().copy() != before[k]).any()}


def keys(network, *parts):
    return {k for k in named_variables(network) if any(p in k for p in parts)}


def test_backbone_frozen_leaves_only_the_head(network, noise):
    report = set_regime(network, "backbone")
    assert train(network, noise) == keys(network, "head/")
    assert report.trainable_parameters == 128 * 3 + 3
    assert report.first_learning is None


def test_everything_learns_but_statistics_stay_put_in_inference(network, noise):
    set_regime(network, "none", "inference")
    changed = train(network, noise)
    assert changed == keys(network, "head/", "kernel", "gamma", "beta")


def test_statistics_move_in_train_mode(network, noise):
    set_regime(network, "none", "train")
    assert train(network, noise) == set(named_variables(network))


def test_inference_mode_ignores_the_batchs_own_statistics(network, noise):
    set_regime(network, "none", "inference")
    alone = np.asarray(network.logits(noise(6, 16)[:1], training=True))
    together = np.asarray(network.logits(noise(6, 16), training=True))[:1]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    set_regime(network, "none", "train")
    alone = np.asarray(network.logits(noise(6, 16)[:1], training=True))
    together = np.asarray(network.logits(noise(6, 16), training=True))[:1]
    assert np.abs(alone - together).max() > 1e-3


@pytest.mark.parametrize("mode", ["inference", "train"])
def test_everything_but_batchnorm(network, noise, mode):
    set_regime(network, "batchnorm", mode)
    assert train(network, noise) == keys(network, "kernel", "head/")


def test_frozen_layers_keep_their_statistics_in_train_mode(network, noise):
    set_regime(network, "from:block3_conv2", "train")
    assert train(network, noise) == keys(network, "block3_conv2", "head/")


def test_top_counts_layers_from_the_end(network, noise):
    report = set_regime(network, "top:3", "inference")
    assert [name for name, frozen in report.layers if not frozen] == [
        *("block3_conv2", "block3_conv2_bn")
    ]
    assert report.first_learning == [n for n, _ in report.layers].index("block3_conv2")
    assert train(network, noise) == keys(network, "block3_conv2/", "gamma", "beta", "head/") - {
        k for k in keys(network, "gamma", "beta") if "block3_conv2_bn" not in k
    }


def test_switching_regimes_keeps_weights_and_the_order_of_variables(network, noise):
    set_regime(network, "none", "train")
    train(network, noise)
    before = {k: v.numpy().copy() for k, v in named_variables(network).items()}
    everything = [id(v) for v in network.trainable_variables]
    set_regime(network, "backbone")
    assert len(network.trainable_variables) == 2
    set_regime(network, "none", "train")
    assert [id(v) for v in network.trainable_variables] == everything
    for key, variable in named_variables(network).items():
        np.testing.assert_array_equal(variable.numpy(), before[key])


def test_counts_are_those_of_keras(network):
    report = set_regime(network, "none", "train")
    assert report.total_parameters == network.model.count_params()
    learning = sum(int(np.prod(v.shape)) for v in network.model.trainable_weights)
    assert report.trainable_parameters == learning


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("top:999", r"the backbone has 21 layers, so it is top:1 to top:21"),
        ("top:0", r"top:1 to top:21"),
        ("from:block3_con2", r"no layer \"block3_con2\" \(nearest: .*block3_conv2"),
        ("batchnorms", r"not a regime \(nearest: batchnorm\)"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest(network, freeze, message):
    with pytest.raises(TluiError, match=message):
        set_regime(network, freeze)


def test_auto_is_inference_when_transferring():
    assert batchnorm_mode("auto", transfers=True) == "inference"
    assert batchnorm_mode("auto", transfers=False) == "train"
    assert batchnorm_mode("train", transfers=True) == "train"
    assert batchnorm_mode("inference", transfers=False) == "inference"


@pytest.mark.parametrize(
    ("name", "freeze", "mode", "steps"),
    [
        ("SmallConvNet", "none", "train", 29),  # 0.9 ** 29 = 0.047
        ("SmallConvNet", "none", "inference", 0),
        ("SmallConvNet", "backbone", "train", 0),
        ("SmallConvNet", "batchnorm", "train", 0),
        ("MobileNetV2", "none", "train", 2995),  # 0.999 ** 2995 = 0.05
    ],
)
def test_how_long_moving_statistics_take_to_settle(experiment, name, freeze, mode, steps):
    network = build(experiment(name, size=32), 3)
    set_regime(network, freeze, mode)
    assert settling_steps(network) == steps
