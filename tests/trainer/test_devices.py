"""Several devices: the batch shared out, the same numbers up to rounding."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from training import digits_run, last_weights, start

from tlui.runs.files import read_json
from tlui.runs.history import load
from tlui.runs.status import read_status

ROOT = Path(__file__).resolve().parent.parent.parent


class TestTwoLogicalCpus:
    def test_learns_what_one_device_learns(self, home):
        """Without dropout and with BatchNorm in inference a shared batch is the same sum."""
        tables = {
            "phase": [
                {
                    "freeze": "none",
                    "batchnorm": "inference",
                    "epochs": 1,
                    "optimizer": {"name": "sgd", "momentum": 0.9},
                    "lr": {"policy": "constant", "initial": 0.01},
                }
            ]
        }
        # 8 does not divide the images: the last batch is filled up
        one = digits_run(home, train={"batch_size": 8}, **tables)
        two = digits_run(home, train={"batch_size": 8, "devices": 2}, **tables)
        for run, process in [(run, start(run)) for run in (one, two)]:
            assert process.wait(180) == 0, run.log.read_text()
        assert [self.said_of(run) for run in (one, two)] == [{"cpu"}, {"2 x cpu"}]
        a, b = last_weights(one), last_weights(two)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(b[key], a[key], rtol=1e-3, atol=1e-4, err_msg=key)
        rows = zip(load(one).epochs, load(two).epochs, strict=True)
        for row, other in rows:
            assert abs(row["train_loss"] - other["train_loss"]) < 1e-4
            assert row["val_accuracy"] == other["val_accuracy"]

    @staticmethod
    def said_of(run):
        """Everything a run's files say it was trained on."""
        status = read_status(run.status)
        return {status.device, read_json(run.env)["device"], run.read_result()["device"]}


class TestSharedBatch:
    def test_batchnorm_stays_finite_where_a_replica_has_no_image(self):
        code = """
import numpy as np, tensorflow as tf, keras
cpus = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpus[0], two)
from tlui.trainer.objective import Objective
from tlui.trainer.step import Learner, to_array
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = keras.optimizers.Adam()
learner = Learner(
    lambda x, t: model(x, training=t), model.trainable_variables, optimizer,
    Objective(2), strategy,
)
x, label = tf.random.normal((1, 3)), tf.constant([1])
for _ in range(2):
    learner.step((tf.constant([0]), x, tf.one_hot(label, 2), label), 0.01)
assert all(np.isfinite(to_array(v)).all() for v in model.variables)
loss, _, images = learner.counts.totals()
assert images == 2 and 0 < loss < 10, (loss, images)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr[-2000:]
