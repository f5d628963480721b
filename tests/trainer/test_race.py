"""XLA's graph of a step against the plain one; and what else only a GPU makes the trainer do.

XLA compiles for the CPU as well, only slower, so its numbers and its part in training are real
here; which of the two is faster is decided by a clock of the test's own.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import assert_same_arrays, digits_run, last_weights, train
from tlui.recipe.optimizers import Adam
from tlui.runs.events import EventReader
from tlui.trainer import prepare, race
from tlui.trainer.environment import Devices
from tlui.trainer.feed import ahead
from tlui.trainer.objective import Objective
from tlui.trainer.optimizers import make_optimizer
from tlui.trainer.race import TIMED, WARM, Race
from tlui.trainer.step import Learner, to_array

LAP = WARM + TIMED


class Track:
    """A race over graphs that take as long as the test says."""

    def __init__(self, plain: float, compiled: float | Exception, steps: int = 10_000_000):
        self.now, self.taken, self.said = 0.0, [], []
        self.costs = {"plain": plain, "compiled": compiled}
        self.race = Race(steps, self.said.append, lambda: self.now)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.race.step({name: lambda name=name: self.take(name) for name in self.costs}, int)

    def take(self, name: str) -> None:
        cost = self.costs[name]
        if isinstance(cost, Exception):
            raise cost
        self.now += cost + (30 if len(self.taken) % LAP < WARM else 0)  # tracing, compiling
        self.taken.append(name)


class TestRace:
    @pytest.mark.parametrize("compiled,winner", [(0.05, "compiled"), (0.097, "plain")])
    def test_the_faster_trains_on(self, compiled, winner):
        track = Track(0.1, compiled)
        track.run(2 * LAP + 5)
        assert track.taken == ["plain"] * LAP + ["compiled"] * LAP + [winner] * 5
        assert len(track.said) == 1 and "100.0 ms" in track.said[0]
        assert ("not used" in track.said[0]) == (winner == "plain")

    def test_little_training_is_not_worth_it(self):
        track = Track(0.1, 0.01, steps=3000)
        track.run(2 * LAP)
        assert track.taken == ["plain"] * 2 * LAP
        assert track.said == []

    def test_the_next_run_is_judged_by_its_own_length(self):
        track = Track(0.1, 0.05, steps=100)
        track.run(2 * LAP)
        assert track.taken == ["plain"] * 2 * LAP
        said = []
        track.race.go_on(10_000_000, said.append)
        track.taken.clear()
        track.run(LAP + 5)
        assert track.taken == ["compiled"] * (LAP + 5)
        assert track.said == [] and len(said) == 1
        track.race.go_on(100, said.append)
        track.run(1)
        assert track.taken[-1] == "compiled" and len(said) == 1, "what was measured holds"

    def test_what_cannot_be_compiled_is_taken_plain(self):
        track = Track(0.1, RuntimeError("no kernel\nfor this"))
        track.run(LAP + 5)
        assert track.taken == ["plain"] * (LAP + 5), "no step is lost"
        assert track.said == ["XLA cannot compile the training step: no kernel"]

    def test_what_the_plain_graph_raises_is_raised(self):
        with pytest.raises(RuntimeError, match="broken"):
            Track(RuntimeError("broken"), 0.1).run(1)


def learner_of(race):
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))

    def forward(x, training):
        return model(x, training=training)

    optimizer = make_optimizer(Adam(name="adam"), 1e-2)
    objective = Objective(3)
    return model, Learner(forward, model.trainable_variables, optimizer, objective, race=race)


def test_compiled_steps_are_the_same_steps():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (22, 8, 8, 3), np.uint8)
    labels = rng.integers(0, 3, 22).astype(np.int32)
    models = []
    for winner in ("plain", "compiled"):
        contest = Race(10, print)
        contest.winner = winner
        model, learner = learner_of(contest)
        for start in (0, 8, 16):  # the last batch is a partial one
            rows = slice(start, start + 8)
            label = tf.constant(labels[rows])
            batch = (tf.range(len(label)), tf.constant(x[rows]), tf.one_hot(label, 3), label)
            learner.step(batch, 1e-2)
        assert learner.counts.totals()[2] == 22
        models.append([to_array(v) for v in model.variables])
    for plain, compiled in zip(*models, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


def test_photos_are_sent_one_batch_ahead():
    asked = []

    def batches():
        for i in range(3):
            asked.append(i)
            yield tf.constant(i), tf.fill([2], i), "y", "label"

    seen = []
    for index, x, y, label in ahead(batches(), "/CPU:0"):
        seen.append((int(index), x.numpy().tolist(), y, label, len(asked)))
    assert seen == [
        (0, [0, 0], "y", "label", 2),
        (1, [1, 1], "y", "label", 3),
        (2, [2, 2], "y", "label", 3),
    ]


@pytest.mark.parametrize("worth", [300.0, 0.0])
def test_a_training_as_on_a_gpu(home, monkeypatch, worth):
    """Every branch that a GPU takes, its operations placed on the CPU."""
    usual = digits_run(home, epochs=3)
    assert train(usual).state == "finished"
    monkeypatch.setattr(race, "WORTH_SECONDS", worth)
    monkeypatch.setattr(prepare, "prepare_devices", lambda *_, **__: Devices("gpu", True))
    run = digits_run(home, epochs=3)
    assert train(run).state == "finished"
    logs = [e["message"] for e in EventReader(run.events).read_all() if e["type"] == "log"]
    tried = [line for line in logs if "XLA" in line]
    if worth:
        assert tried == []
        assert_same_arrays(last_weights(run), last_weights(usual))
    else:
        assert len(tried) == 1 and "a training step takes" in tried[0]
