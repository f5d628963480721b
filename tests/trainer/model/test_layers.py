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
        assert layer_names(name) == built_names(name, alpha)


@pytest.mark.parametrize("name", [name for name, spec in BACKBONES.items() if spec.alphas])
@pytest.mark.parametrize("alpha", [0.1, 0.6, 2.0])
def test_other_widths_differ_by_one_addition_at_most(name: str, alpha: float) -> None:
    built, known = built_names(name, alpha), layer_names(name)
    assert [x for x in built if x in known] == [x for x in known if x in built]
    differing = set(built) ^ set(known)
    assert len(differing) <= 1 and all(layer.endswith("_add") for layer in differing)
    for layer in built:
        assert not wrong_at(f"from:{layer}", name, alpha)
    assert not wrong_at(f"top:{len(built)}", name, alpha)


def test_what_no_width_has() -> None:
    most = len(layer_names("MobileNetV2")) + 1
    assert "top:1 to top:" in wrong_at(f"top:{most + 1}", "MobileNetV2", 0.1)
    assert "nearest: block_1_expand" in wrong_at("from:block_1_expnd", "MobileNetV2", 0.1)
    assert wrong_at(f"top:{most}", "MobileNetV2", 0.35)
