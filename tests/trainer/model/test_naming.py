"""Names free of Keras's process-wide numbering."""

import keras
from keras import layers

from tlui.trainer.checkpoint import key_of_today
from tlui.trainer.model.naming import fresh_names, layer_variables


def unnamed():
    image = x = keras.Input((8, 8, 3))
    for filters in (2, 3):
        x = layers.Conv2D(filters, 1)(x)
        x = layers.BatchNormalization()(x)
    x = keras.Sequential([layers.DepthwiseConv2D(3), layers.Conv2D(1, 1)])(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="last")(x)).layers[1:]


def test_names_are_those_of_a_fresh_process():
    first, second = unnamed(), unnamed()
    assert [x.name for x in first] != [x.name for x in second]
    assert fresh_names(first) == fresh_names(second)
    assert fresh_names(second) == [
        *("conv2d", "batch_normalization", "conv2d_1", "batch_normalization_1"),
        *("sequential", "last"),
    ]


def test_variables_without_a_name_of_their_own_as_well():
    """ConvNeXt's: what one process has counted to is nothing to another."""
    found = []
    for _ in range(2):
        network = keras.applications.ConvNeXtTiny(weights=None, include_top=False)
        named = zip(network.layers, fresh_names(network.layers), strict=True)
        found.append([key for layer, name in named for key, _ in layer_variables(layer, name)])
    assert found[0] == found[1] and len(set(found[0])) == len(found[0])
    scale = "convnext_tiny_stage_0_block_1_layer_scale"
    assert f"{scale}/unnamed" in found[0]
    assert key_of_today(f"{scale}/variable_19") == key_of_today(f"{scale}/variable")
    assert key_of_today(f"{scale}/variable") == f"{scale}/unnamed"
    assert key_of_today("optimizer/001") == "optimizer/001"


def test_keys_reach_into_nested_models():
    nested = unnamed()[4]
    assert [key for key, _ in layer_variables(nested, "backbone/stem")] == [
        "backbone/stem/depthwise_conv2d/kernel",
        "backbone/stem/depthwise_conv2d/bias",
        "backbone/stem/conv2d/kernel",
        "backbone/stem/conv2d/bias",
    ]
