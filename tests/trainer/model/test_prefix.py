"""The frozen prefix: where the cut lies, and that both halves give the whole, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.network import save_portable
from tlui.trainer.model.prefix import frozen_prefix
from tlui.trainer.model.variables import named_variables


@pytest.fixture(scope="module")
def network(request):
    from tlui.recipe.schema import Experiment

    network = build(
        Experiment.model_validate(
            {
                "name": "cut",
                "dataset": {"source": "folder", "path": "photos", "image_size": 64},
                "backbone": {"name": "MobileNetV2", "alpha": 0.35, "weights": "none"},
                "head": {"dropout": 0.3, "hidden": [8]},
                "phase": [{"lr": {"policy": "constant", "initial": 1e-3}}],
            }
        ),
        4,
    )
    chance = np.random.default_rng(3)
    for key, variable in named_variables(network).items():
        if key.rsplit("/", 1)[-1] in ("moving_mean", "beta"):
            variable.assign(chance.normal(0, 0.2, variable.shape))
        if key.rsplit("/", 1)[-1] in ("moving_variance", "gamma"):
            variable.assign(chance.uniform(0.5, 1.5, variable.shape))
    return network


def graph(function, argument):
    return tf.function(function, autograph=False)(tf.constant(argument))


@pytest.mark.parametrize(
    ("freeze", "cut", "shape"),
    [
        ("backbone", "pooling", (1280,)),
        ("top:20", "block_14_add", (2, 2, 56)),
        ("from:block_16_project", "block_16_depthwise_relu", (2, 2, 336)),
        ("from:block_5_add", None, None),
    ],
)
def test_halves_give_the_whole_bit_for_bit(network, noise, freeze, cut, shape):
    set_regime(network, freeze)
    prefix = frozen_prefix(network)
    if cut is not None:
        assert (prefix.cut, prefix.shape, prefix.dtype) == (cut, shape, "float32")
    images = noise(5, 64)
    whole = np.asarray(graph(network.logits, images))
    features = np.asarray(graph(prefix.features, images))
    assert features.shape == (5, *prefix.shape)
    np.testing.assert_array_equal(whole, np.asarray(graph(prefix.logits, features)))


def test_the_cut_lies_in_front_of_every_learning_layer(network):
    set_regime(network, "top:20")
    prefix = frozen_prefix(network)
    inside = {id(v) for v in prefix.prefix.variables}
    assert not inside & {id(v) for v in network.trainable_variables}
    learning = {id(v) for v in [*prefix.upper.trainable_variables, *prefix.head.variables]}
    assert {id(v) for v in network.trainable_variables} <= learning


def test_a_skip_connection_is_never_cut_in_two(network):
    set_regime(network, "from:block_5_project")
    assert frozen_prefix(network).cut == "block_4_add"


@pytest.mark.parametrize("freeze", ["none", "batchnorm", "from:bn_Conv1", "from:Conv1"])
def test_nothing_worth_caching(network, freeze):
    set_regime(network, freeze)
    prefix = frozen_prefix(network)
    assert prefix is None or (freeze == "from:bn_Conv1" and prefix.cut == "Conv1")


def test_dropout_in_training_is_left_to_the_head(network, noise):
    set_regime(network, "backbone")
    prefix = frozen_prefix(network)
    features = prefix.features(noise(4, 64))
    calm = [np.asarray(prefix.logits(features)) for _ in range(2)]
    wild = [np.asarray(prefix.logits(features, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert np.abs(wild[0] - wild[1]).max() > 0


def test_the_network_can_be_saved_after_it_was_cut(network, noise, tmp_path):
    import keras

    set_regime(network, "top:20")
    frozen_prefix(network)
    save_portable(network, tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    images = noise(2, 64)
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), network.model.predict(images, verbose=0)
    )
