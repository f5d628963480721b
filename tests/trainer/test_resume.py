"""A run cut off anywhere and resumed ends with the weights it would have had."""

import signal

import pytest
from training import (
    asking,
    assert_same_arrays,
    digits_run,
    last_weights,
    start,
    train,
    wait_for,
)

from tlui.runs.history import load
from tlui.runs.status import read_status
from tlui.trainer.checkpoint import Checkpoints

EVERYTHING = {
    "dataset": {
        "source": "digits",
        "image_size": 16,
        "classes": ["0", "1", "2"],
        "validation": 0.2,
        "test": 0.2,
    },
    "head": {"dropout": 0.3, "hidden": [8], "class_weights": "balanced"},
    "augment": {"flip": "horizontal", "rotation": 10, "noise": 0.02, "mixup": 0.2},
    "train": {"batch_size": 32, "seed": 5},
    "phase": [
        {
            "freeze": "none",
            "epochs": 3,
            "lr": {
                "policy": "plateau",
                "initial": 2e-3,
                "factor": 0.3,
                "patience": 1,
                "min_delta": 0.2,
                "warmup": {"epochs": 1},
            },
        },
        {
            "freeze": "top:6",
            "batchnorm": "train",
            "epochs": 2,
            "optimizer": {"name": "sgd", "momentum": 0.9, "global_clipnorm": 1.0},
            "lr": {"policy": "cosine", "initial": 1e-2, "per": "step"},
        },
    ],
}
"""Dropout, augmentation, BatchNorm in training, Adam and momentum, both kinds of LR policy."""

KILLABLE = {**EVERYTHING, "phase": [{**EVERYTHING["phase"][0], "epochs": 12}]}


def epochs_of(run):
    keep = ("epoch", "phase", "lr", "train_loss", "train_f1", "val_loss", "val_accuracy", "best")
    return [{k: row[k] for k in keep} for row in load(run).epochs]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    from tlui.runs.directory import Home

    run = digits_run(Home.at(tmp_path_factory.mktemp("reference")), **EVERYTHING)
    assert train(run).state == "finished"
    return run


class TestInterruptedInOneProcess:
    def test_at_many_steps_then_the_same_weights_and_metrics(self, home, uninterrupted):
        run = digits_run(home, **EVERYTHING)
        outcomes = []
        # counted in looks for requests, about one a step: mid-epoch, an epoch's first and last
        # step, over the border of the phases
        for at in (4, 9, 25, 8):
            outcome = train(run, asking(run, (at, "interrupt")))
            outcomes.append((outcome.state, outcome.code))
        assert outcomes == [("interrupted", 75)] * 4, outcomes
        assert train(run).state == "finished"
        assert_same_arrays(last_weights(run), last_weights(uninterrupted))
        assert epochs_of(run) == epochs_of(uninterrupted)
        for name in ("metrics", "best"):
            assert run.read_result()[name] == uninterrupted.read_result()[name]
        resumed_at = [event["step"] for event in load(run).attempts[1:]]
        assert any(step % 11 for step in resumed_at)  # 11 steps an epoch: in the middle of some


class TestKilled:
    def test_sigkill_and_sigterm_then_the_same_weights(self, home, tmp_path):
        from tlui.runs.directory import Home

        reference = digits_run(Home.at(tmp_path / "reference"), **KILLABLE)
        assert start(reference).wait(300) == 0  # with the threads of a process of its own
        run = digits_run(home, **KILLABLE)

        process = start(run)
        wait_for(run, process, lambda e: (run.checkpoints / "last.npz").exists())
        wait_for(run, process, lambda e: e["type"] == "epoch" and e["epoch"] >= 5)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert read_status(run.status).state == "running"
        assert run.observe().state == "interrupted"

        process = start(run)
        wait_for(run, process, lambda e: e["type"] == "step" and e["epoch"] >= 8)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
        status = read_status(run.status)
        assert (status.state, status.attempt, status.exit_code) == ("interrupted", 2, 75)

        process = start(run)
        assert process.wait(120) == 0, run.log.read_text()
        assert_same_arrays(last_weights(run), last_weights(reference))
        assert epochs_of(run) == epochs_of(reference)
        opened = load(run).attempts
        assert opened[1]["epoch"] >= 1  # from a checkpoint, not from the start
        assert opened[2]["step"] > opened[1]["step"]

    def test_among_epochs_of_milliseconds_one_is_lost_at_most(self, home, tmp_path):
        """Kills while only what moves is written, in a head and after it; the best epoch stays."""
        from tlui.runs.directory import Home

        head = {"lr": {"policy": "cosine", "initial": 1e-2}, "freeze": "backbone"}
        tables = {
            **EVERYTHING,
            "backbone": {"name": "SmallConvNet", "weights": "none"},
            "augment": {},
            "phase": [{**head, "epochs": 300}, {**head, "epochs": 40, "freeze": "top:3"}],
        }
        reference = digits_run(Home.at(tmp_path / "reference"), **tables)
        assert start(reference).wait(300) == 0  # with the threads of a process of its own
        run = digits_run(home, **tables)
        for until in (20, 70, 310):
            process = start(run)
            wait_for(run, process, lambda e, n=until: e["type"] == "epoch" and e["epoch"] >= n)
            process.kill()
            process.wait()
            reached = len(load(run).epochs)
            checkpoints = Checkpoints(run.checkpoints)
            found, notes = checkpoints.load()
            assert notes == [] and found.state["epoch"] >= reached - 1
            assert checkpoints.load_best().state["best"]["epoch"] >= found.state["best"]["epoch"]
            assert (run.checkpoints / "moved.npz").exists()
        process = start(run)
        assert process.wait(120) == 0, run.log.read_text()
        assert_same_arrays(last_weights(run), last_weights(reference))
        assert epochs_of(run) == epochs_of(reference)
        for name in ("metrics", "best"):
            assert run.read_result()[name] == reference.read_result()[name]
