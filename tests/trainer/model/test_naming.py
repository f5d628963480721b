"""Names free of Keras's process-wide numbering."""

import keras
from keras import layers

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


def test_keys_reach_into_nested_models():
    nested = unnamed()[4]
    assert [key for key, _ in layer_variables(nested, "backbone/stem")] == [
        "backbone/stem/depthwise_conv2d/kernel",
        "backbone/stem/depthwise_conv2d/bias",
        "backbone/stem/conv2d/kernel",
        "backbone/stem/conv2d/bias",
    ]
