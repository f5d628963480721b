"""A file written from a template is what Keras would have written."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tlui.trainer.model.build import build
from tlui.trainer.model.template import WEIGHTS, template


def numbers(x):
    return (x[()].tobytes(), x.shape) if isinstance(x, h5py.Dataset) else None


def contents(path):
    """Everything in a .keras file but when it was saved."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    found = {}
    with h5py.File(io.BytesIO(parts.pop(WEIGHTS)), "r") as file:
        file.visititems(lambda place, x: found.update({place: (dict(x.attrs), numbers(x))}))
    parts["metadata.json"] = parts["metadata.json"][:30]
    return parts, found


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_the_same_as_keras_writes(experiment, noise, tmp_path, name):
    network = build(experiment(name, head={"dropout": 0.2, "hidden": [8]}), 3)
    before = [keras.ops.convert_to_numpy(v) for v in network.model.variables]
    made = template(network.model, tmp_path / "aside.keras")
    assert made is not None and not list(tmp_path.iterdir())
    for old, variable in zip(before, network.model.variables, strict=True):
        assert np.array_equal(old, keras.ops.convert_to_numpy(variable))
    rng = np.random.default_rng(1)
    for variable in network.model.trainable_variables:
        variable.assign(variable + 0.01 * rng.normal(size=variable.shape))
    made.write(tmp_path / "ours.keras")
    network.model.save(tmp_path / "keras.keras")
    assert contents(tmp_path / "ours.keras") == contents(tmp_path / "keras.keras")
    loaded = keras.saving.load_model(tmp_path / "ours.keras", safe_mode=True)
    x = noise(2, network.size)
    np.testing.assert_allclose(loaded(x), network.model(x), atol=1e-4)


def test_a_file_that_lacks_something_is_no_template(tmp_path):
    class Forgetful(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(2,))

        def call(self, x):
            return x + self.w

        def save_own_variables(self, store):
            store["w"] = np.zeros(2)

    model = keras.Sequential([keras.Input((2,)), Forgetful()])
    assert template(model, tmp_path / "a.keras") is None
