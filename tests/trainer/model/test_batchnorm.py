"""One kernel in place of Keras's sums and products: the same function, and the same file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlui.trainer.model.batchnorm import fuse_batchnorm

RNG = np.random.default_rng(3)
X = RNG.normal(1, 2, (4, 5, 6, 7)).astype(np.float32)


def model(**options):
    """A model of one BatchNorm with statistics of its own, and its layer."""
    image = keras.Input((5, 6, 7))
    layer = keras.layers.BatchNormalization(**options)
    made = keras.Model(image, layer(image))
    rng = np.random.default_rng(5)
    for variable in layer.variables:
        variable.assign(rng.uniform(0.5, 2, variable.shape))
    return made, layer


def answer(model, layer, training):
    """Outputs, and gradients for the input and all that learns."""
    x = tf.constant(X)
    sources = [x, *(v.value for v in layer.trainable_variables)]

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=training)
            loss = tf.reduce_sum(tf.sin(y))
        return [y, *tape.gradient(loss, sources)]

    traced = run.get_concrete_function()
    return [np.asarray(t) for t in traced()], {op.type for op in traced.graph.get_operations()}


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 1e-7}])
def test_the_function_that_keras_has(options):
    (plain, a), (fused, b) = model(**options), model(**options)
    fuse_batchnorm(fused)
    theirs, ops = answer(plain, a, training=False)
    assert not any(op.startswith("FusedBatchNorm") for op in ops)
    ours, ops = answer(fused, b, training=False)
    assert "FusedBatchNormV3" in ops
    assert len(theirs) == len(ours) == 2 + len(a.trainable_variables)
    for x, y in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_training_mode_is_kerass_bit_for_bit():
    (plain, a), (fused, b) = model(), model()
    fuse_batchnorm(fused)
    theirs, _ = answer(plain, a, training=True)
    ours, ops = answer(fused, b, training=True)
    assert not any(op.startswith("FusedBatchNorm") for op in ops)
    for x, y in zip(theirs, ours, strict=True):
        assert x.tobytes() == y.tobytes()
    for x, y in zip(a.variables, b.variables, strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    assert not np.allclose(a.moving_mean, model()[1].moving_mean)  # they did move


def test_frozen_means_inference_as_in_keras():
    made, layer = model()
    fuse_batchnorm(made)
    layer.trainable = False
    before = np.asarray(layer.moving_mean)
    _, ops = answer(made, layer, training=True)
    assert "FusedBatchNormV3" in ops
    assert np.array_equal(before, layer.moving_mean)


def test_others_stay_with_keras():
    image = keras.Input((5, 6, 7))
    half = keras.layers.BatchNormalization(dtype="mixed_bfloat16")(image)
    flat = keras.layers.BatchNormalization()(keras.layers.Flatten()(image))
    side = keras.layers.BatchNormalization(axis=1)(image)
    made = keras.Model(image, [half, flat, side])
    before = [np.asarray(keras.ops.cast(y, "float32")) for y in made(X)]
    fuse_batchnorm(made)
    for x, y in zip(before, made(X), strict=True):
        assert x.tobytes() == np.asarray(keras.ops.cast(y, "float32")).tobytes()


def test_what_is_saved_is_keras_alone(tmp_path):
    made, _ = model()
    fuse_batchnorm(made)
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[-1]) is keras.layers.BatchNormalization
    assert "call" not in vars(loaded.layers[-1])
    np.testing.assert_allclose(loaded(X), made(X), rtol=1e-4, atol=1e-4)
