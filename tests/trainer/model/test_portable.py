"""A saved network in a fresh interpreter: plain Keras, safe mode, no tlui."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tlui.recipe.catalogue import BACKBONES
from tlui.trainer.model.backbones import scaling_layers
from tlui.trainer.model.build import build
from tlui.trainer.model.freezing import set_regime
from tlui.trainer.model.network import save_portable
from tlui.trainer.model.prefix import frozen_prefix

SCRIPT = """
import json, sys
import numpy as np
import keras
jobs = json.load(sys.stdin)
for model, images, out in jobs:
    network = keras.saving.load_model(model, safe_mode=True)
    np.save(out, network.predict(np.load(images), verbose=0, batch_size=2))
assert not [name for name in sys.modules if name.split(".")[0] == "tlui"]
"""


def predict_elsewhere(folder, networks, noise):
    """Save each network, predict in a fresh interpreter outside the source tree."""
    jobs, expected = [], []
    for i, network in enumerate(networks):
        model, pixels, out = (folder / f"{i}{end}" for end in (".keras", ".in.npy", ".out.npy"))
        save_portable(network, model)
        np.save(pixels, noise(2, network.size).astype(np.uint8))
        jobs.append([str(model), str(pixels), str(out)])
        expected.append(network.model.predict(np.load(pixels), verbose=0, batch_size=2))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT],
        input=json.dumps(jobs), text=True, cwd=folder, env=environment, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [(np.load(job[2]), e) for job, e in zip(jobs, expected, strict=True)]


def scaling_alone(kind):
    """Only the input scaling: ResNet50 would be 94 MB to say the same."""
    image = x = keras.Input((8, 8, 3))
    for layer in scaling_layers(kind):
        x = layer(x)
    return keras.Model(image, x)


def test_plain_keras_gives_the_same_outputs(experiment, noise, tmp_path):
    head = {"dropout": 0.2, "hidden": [8]}
    made = [
        build(experiment(size=32, head=head), 4),
        build(experiment("SmallConvNet", size=16, head={"output": "sigmoid"}), 2),
        build(experiment(size=32, train={"mixed_precision": True}), 3),
        *(SimpleNamespace(model=scaling_alone(kind), size=8) for kind in ("torch", "caffe")),
    ]
    for got, expected in predict_elsewhere(tmp_path, made, noise):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_a_failed_save_leaves_the_old_file(experiment, tmp_path, monkeypatch):
    network = build(experiment("SmallConvNet", size=16), 3)
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        save_portable(network, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def small_enough(name):
    return BACKBONES[name].parameters < 30_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in BACKBONES if small_enough(n)])
def test_every_backbone_builds_freezes_cuts_saves_and_loads(name, experiment, noise, tmp_path):
    spec = BACKBONES[name]
    size = max(spec.least, 64)
    network = build(experiment(name, alpha=1.0, size=size), 3)
    counted = sum(int(np.prod(v.shape)) for v in network.backbone.weights)
    assert counted == spec.parameters
    images = noise(2, size)
    for freeze in ("none", "batchnorm", "top:5", f"from:{network.backbone_names[-4]}", "backbone"):
        report = set_regime(network, freeze)
        assert report.trainable_parameters > 0
        partly = freeze not in ("none", "batchnorm")
        assert (report.trainable_parameters < report.total_parameters) or not partly
        prefix = frozen_prefix(network)
        if prefix is not None:
            features = prefix.features(images)
            np.testing.assert_allclose(
                np.asarray(prefix.logits(features)),
                np.asarray(network.logits(images)), rtol=1e-4, atol=1e-5,
            )  # fmt: skip
        assert (prefix is not None) == partly
    [(got, expected)] = predict_elsewhere(tmp_path, [network], noise)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
