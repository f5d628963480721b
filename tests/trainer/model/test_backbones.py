"""Input scaling against keras.applications' own preprocess_input; our own backbone."""

import importlib
from collections import Counter

import keras
import numpy as np
import pytest

from tlui.errors import TluiError
from tlui.recipe.catalogue import BACKBONES
from tlui.recipe.schema import Backbone
from tlui.trainer.model.backbones import build_backbone, scaling_layers


def scaled(kind, images):
    image = x = keras.Input(images.shape[1:])
    for layer in scaling_layers(kind):
        x = layer(x)
    return np.asarray(keras.Model(image, x)(images))


@pytest.mark.parametrize("name", [n for n, spec in BACKBONES.items() if spec.module != "tlui"])
def test_scaling_is_the_familys_preprocess_input(name, noise):
    spec = BACKBONES[name]
    module = importlib.import_module(f"keras.applications.{spec.module}")
    images = noise(2, 16)
    expected = module.preprocess_input(images.copy())
    np.testing.assert_allclose(scaled(spec.scaling, images), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("tf", "mobilenet_v2"),
        ("torch", "densenet"),
        ("caffe", "resnet"),
        ("own", "efficientnet"),
    ],
)
def test_every_kind_of_scaling(kind, module, noise):
    images = noise(3, 8)
    module = importlib.import_module(f"keras.applications.{module}")
    expected = module.preprocess_input(images.copy())
    np.testing.assert_allclose(scaled(kind, images), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["tf", "torch", "caffe", "own"])
def test_scaling_stays_float32_under_mixed_precision(kind, noise):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = scaled(kind, noise(2, 8))
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(half, scaled(kind, noise(2, 8)))


def test_small_conv_net_has_batchnorm_and_takes_tiny_images():
    model = build_backbone(Backbone(name="SmallConvNet", weights="none"), 8)
    kinds = Counter(type(layer).__name__ for layer in model.layers)
    assert kinds["BatchNormalization"] == kinds["Conv2D"] == 6
    assert model.output_shape == (None, 2, 2, 128)


def test_too_small_images_are_refused_by_name():
    with pytest.raises(TluiError, match=r"MobileNetV2 needs images of at least 32 px.*16"):
        build_backbone(Backbone(name="MobileNetV2", weights="none"), 16)
