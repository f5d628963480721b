"""The names kept for the checks without TensorFlow, against what Keras builds."""

import pytest

from tlui.recipe.catalogue import BACKBONES
from tlui.recipe.layers import layer_names
from tlui.trainer.model.layers import built_names

QUICK = {"SmallConvNet", "MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16", "Xception"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES],
)
def test_every_width_has_the_layers_on_record(name: str) -> None:
    for alpha in BACKBONES[name].alphas or (1.0,):
        assert layer_names(name, alpha) == built_names(name, alpha)


def test_what_is_not_on_record() -> None:
    assert layer_names("MobileNetV2", 0.1) is None
    assert layer_names("Nothing") is None
    assert built_names("MobileNetV2", 0.1) != layer_names("MobileNetV2")
