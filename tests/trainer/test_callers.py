"""Several callers give what one gives, in order, and stop when nobody listens any more."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tlui.recipe.schema import Experiment
from tlui.trainer import callers
from tlui.trainer.callers import Callers
from tlui.trainer.model.build import build
from tlui.trainer.step import predictor


def batches(count, size, batch, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    for start in range(0, count, batch):
        x = tf.constant(pixels[start : start + batch])
        yield (tf.range(start, start + len(x)), x, None, None)


def several(run, size, monkeypatch, count=3):
    monkeypatch.setattr(callers, "cpus", lambda: count)
    return Callers(run, size)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121"])
def test_bit_for_bit_what_whole_batches_give(name, monkeypatch):
    given = {
        "name": "x",
        "dataset": {"source": "folder", "path": "x", "image_size": 96},
        "backbone": {"name": name, "weights": "none"},
        "phase": [{"lr": {"policy": "constant", "initial": 1e-3}}],
    }
    network = build(Experiment.model_validate(given), 3)
    run = predictor(lambda x, training: network.backbone(network.scaling(x), training=False))
    monkeypatch.setattr(callers, "PIXELS", 8 * 96 * 96)
    seen = []

    def counted(x):
        seen.append(len(x))
        return run(x)

    found = [y for _, y in several(counted, 96, monkeypatch).over(batches(75, 96, 32))]
    assert seen[0] == 32 and seen.count(8) == 8 and seen.count(11) == 1  # 4 + 4, and 11
    whole = [run(x) for _, x, _, _ in batches(75, 96, 32)]
    assert [y.tobytes() for y in found] == [y.tobytes() for y in whole]


def test_whole_batches_where_pieces_round_otherwise(monkeypatch):
    lengths = []

    def run(x):
        lengths.append(len(x))
        return np.full((len(x), 1), len(x), np.float32)

    monkeypatch.setattr(callers, "PIXELS", 0)
    found = list(several(run, 4, monkeypatch).over(batches(64, 4, 32)))
    assert [int(y[0, 0]) for _, y in found] == [32, 32]
    assert lengths[0] == 32 and sorted(lengths[1:5]) == [8] * 4 and lengths[5:] == [32, 32]


def test_batches_stay_whole_on_a_gpu():
    lengths = []

    def run(x):
        lengths.append(len(x))
        return np.zeros((len(x), 1), np.float32)

    forward = Callers(run, 4000, whole=True)
    assert len(list(forward.over(batches(70, 4, 32)))) == 3
    assert lengths == [32, 32, 32, 6]  # the first one to warm up


def test_comes_in_order_with_its_batch(monkeypatch):
    forward = several(lambda x: np.asarray(x)[:, 0, 0, :1].astype(np.float32), 4, monkeypatch)
    rows = [
        (index.numpy().tolist(), np.asarray(x)[:, 0, 0, 0].tolist(), y[:, 0].tolist())
        for (index, x, _, _), y in forward.over(batches(103, 4, 10))
    ]
    assert [i for index, _, _ in rows for i in index] == list(range(103))
    assert all(x == y for _, x, y in rows)
    assert forward.seconds > 0


def test_reads_only_a_little_ahead(monkeypatch):
    read = []

    def counted():
        for i, batch in enumerate(batches(400, 4, 10)):
            read.append(i)
            yield batch

    forward = several(lambda x: np.zeros((len(x), 1), np.float32), 4, monkeypatch, count=2)
    for done, _ in enumerate(forward.over(counted())):
        assert len(read) - done <= 6


@pytest.mark.parametrize("where", ["network", "photos", "reader"])
def test_ends_where_something_fails(where, monkeypatch):
    calls = []

    def run(x):
        calls.append(1)
        if where == "network" and len(calls) > 6:
            raise ArithmeticError("lost")
        return np.zeros((len(x), 1), np.float32)

    def photos():
        yield from batches(40, 4, 10)
        if where == "photos":
            raise ArithmeticError("lost")
        yield from batches(400, 4, 10)

    with pytest.raises(ArithmeticError):
        for done, _ in enumerate(several(run, 4, monkeypatch).over(photos())):
            if where == "reader" and done == 3:
                raise ArithmeticError("lost")
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("forward") for name in names)


def test_a_network_that_was_given_something_else_still_answers(monkeypatch):
    """TensorFlow's functions keep a lock after such an error, and the next call waits for ever."""
    run = predictor(lambda x, training: tf.reshape(x, (-1, 48)))
    whole = list(several(run, 4, monkeypatch).over(batches(40, 4, 10)))
    floats = ((index, tf.cast(x, tf.float32), y, z) for index, x, y, z in batches(40, 4, 10))
    with pytest.raises(Exception, match="float"):
        list(several(run, 4, monkeypatch).over(floats))
    again = list(several(run, 4, monkeypatch).over(batches(40, 4, 10)))
    assert [y.tobytes() for _, y in again] == [y.tobytes() for _, y in whole]
