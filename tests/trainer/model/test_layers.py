"""The names kept for the checks without TensorFlow, against what Keras builds."""

import pytest

from tlui.recipe.catalogue import BACKBONES
from tlui.recipe.layers import layer_names, wrong_at
from tlui.trainer.model.layers import built_names

QUICK = {"SmallConvNet", "MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16", "Xception"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES],
)
def test_every_width_has_the_layers_on_record(name: str) -> None:
    for alpha in BACKBONES[name].alphas or (1.0,):
        assert layer_names(name, alpha) == built_names(name, alpha)


@pytest.mark.parametrize("name", [name for name, spec in BACKBONES.items() if spec.alphas])
@pytest.mark.parametrize("alpha", [0.1, 0.16, 0.22, 0.3, 0.57, 0.6, 2.0])
def test_other_widths_have_the_layers_they_are_said_to_have(name: str, alpha: float) -> None:
    assert layer_names(name, alpha) == built_names(name, alpha)


@pytest.mark.parametrize(
    ("name", "alpha", "layer"),
    [
        ("MobileNetV2", 0.02, "block_16_add"),
        ("MobileNetV2", 0.16, "block_10_add"),
        ("MobileNetV2", 0.22, "expanded_conv_add"),
        ("MobileNetV3Small", 0.3, "expanded_conv_6_add"),
        ("MobileNetV3Large", 0.14, "expanded_conv_10_add"),
    ],
)
def test_a_layer_that_only_some_widths_have(name: str, alpha: float, layer: str) -> None:
    assert layer in built_names(name, alpha)
    assert not wrong_at(f"from:{layer}", name, alpha)
    assert f'no layer "{layer}"' in wrong_at(f"from:{layer}", name, 1.0)
    assert not wrong_at(f"top:{len(layer_names(name, alpha))}", name, alpha)
    assert wrong_at(f"top:{len(layer_names(name, alpha)) + 1}", name, alpha)


def test_a_layer_that_only_wide_ones_have() -> None:
    assert not wrong_at("from:expanded_conv_add", "MobileNetV3Large", 0.75)
    assert "no layer" in wrong_at("from:expanded_conv_add", "MobileNetV3Large", 0.5)
    assert "expanded_conv_add" not in built_names("MobileNetV3Large", 0.5)


def test_what_no_width_has() -> None:
    assert "nearest: block_1_expand" in wrong_at("from:block_1_expnd", "MobileNetV2", 0.1)
