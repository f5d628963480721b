"""Experiments and arrays small enough to train in a test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import signal

import numpy as np
import pytest

from tlui.recipe.schema import Experiment


@pytest.fixture
def experiment():
    """Make an experiment: `experiment("MobileNetV2", alpha=0.35, size=64, head={...})`."""

    def make(name="MobileNetV2", alpha=None, weights="none", size=64, **tables):
        if alpha is None:
            alpha = 0.35 if name == "MobileNetV2" else 1.0
        phase = [{"lr": {"policy": "constant", "initial": 1e-3}}]
        return Experiment.model_validate(
            {
                "name": "test",
                "dataset": {"source": "folder", "path": "photos", "image_size": size},
                "backbone": {"name": name, "alpha": alpha, "weights": weights},
                "phase": phase,
                **tables,
            }
        )

    return make


@pytest.fixture
def noise():
    """Random RGB images: `noise(4, 64)` is float32 (4, 64, 64, 3) in 0-255."""

    def make(count, size, seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3))
        return pixels.astype(np.float32)

    return make


class Arrays:
    """Images held in memory, as the pipeline wants them."""

    def __init__(self, pixels, labels):
        self.pixels = np.asarray(pixels, np.uint8)
        self.labels = np.asarray(labels)
        self.size = self.pixels.shape[1]
        self.blocks = None

    def __len__(self):
        return len(self.pixels)

    def batch(self, indices):
        return self.pixels[indices]


@pytest.fixture
def images():
    """Make images: `images(10, 16)` or `images(pixels=array)`; labels go round three classes."""

    def make(count=10, size=16, seed=0, pixels=None):
        if pixels is None:
            shape = (count, size, size, 3)
            pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        return Arrays(pixels, np.arange(len(pixels)) % 3)

    return make


@pytest.fixture
def forgetting():
    """Nothing is kept for the next test, and this process has its own signal handlers back."""
    from tlui.trainer import reuse

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    reuse.keep(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def told_apart(tmp_path_factory):
    """The backbone of `photo_experiment` with weights from a file that tell images apart: with
    random ones as they are made its features are all but 0."""
    import keras
    from training import photo_experiment

    from tlui.trainer.model.build import build

    network = build(photo_experiment("photos"), 2, seed=9)
    for layer in network.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 48, 3)).astype(np.float32)
    network.backbone(network.scaling(pixels), training=True)
    path = tmp_path_factory.mktemp("backbone") / "backbone.weights.h5"
    network.backbone.save_weights(path)
    return {"name": "MobileNet", "alpha": 0.25, "weights": str(path)}
