"""Small real trainings: run directories for digits, trained here or in a process of their own.

run = digits_run(home, epochs=3, train={"seed": 2})
outcome = train(run)                      # in this process
trainer = start(run); trainer.wait()      # python -m tlui.trainer, as the supervisor does
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlui.recipe.schema import Experiment
from tlui.recipe.toml import configuration, experiment_to_toml
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader

CONSTANT = {"policy": "constant", "initial": 1e-3}


def digits_experiment(**tables: Any) -> Experiment:
    """Three digits at 16 px, SmallConvNet from scratch; tables replace these."""
    epochs = tables.pop("epochs", 2)
    given = {
        "name": "digits",
        "dataset": {
            "source": "digits",
            "image_size": 16,
            "classes": ["0", "1", "2"],
            "validation": 0.2,
            "test": 0.2,
        },
        "backbone": {"name": "SmallConvNet", "weights": "none"},
        "phase": [{"freeze": "none", "epochs": epochs, "lr": CONSTANT}],
        **tables,
    }
    return Experiment.model_validate(given)


def make_run(home: Home, experiment: Experiment) -> RunDirectory:
    """A queued run of an experiment."""
    meta = {
        "name": experiment.name,
        "preset": experiment.name,
        "experiment": experiment.name,
        "config": configuration(experiment),
    }
    return home.create(experiment_to_toml(experiment), meta)


def digits_run(home: Home, **tables: Any) -> RunDirectory:
    return make_run(home, digits_experiment(**tables))


def train(run: RunDirectory, requests: Any = None) -> Any:
    """Train in this process; returns the Outcome, errors explained as the process would."""
    from tlui.trainer.__main__ import train_here
    from tlui.trainer.reporter import Reporter
    from tlui.trainer.signals import Requests

    reporter = Reporter(run)
    asked = requests or Requests(run.requests)
    outcome = train_here(run, reporter, asked)
    reporter.end(outcome.state, outcome.code, outcome.reason, outcome.advice)
    return outcome


def start(
    run: RunDirectory, pass_fds: tuple[int, ...] = (), **environment: str
) -> subprocess.Popen[bytes]:
    """Start `python -m tlui.trainer` in a session of its own."""
    root = Path(__file__).resolve().parent.parent
    with open(run.log, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tlui.trainer", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=pass_fds,
            env={**os.environ, "PYTHONPATH": str(root), **environment},
        )


def wait_for(
    run: RunDirectory,
    process: subprocess.Popen[bytes],
    seen: Callable[[dict[str, Any]], bool],
    seconds: float = 120,
) -> dict[str, Any]:
    """The first event from now on that `seen` accepts; fails when the process ends before."""
    reader = EventReader(run.events)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        for event in reader.read_all():
            if seen(event):
                return event
        if ended:
            raise AssertionError(f"the trainer ended first:\n{run.log.read_text()}")
        time.sleep(0.002)
    raise AssertionError(f"not seen within {seconds} s:\n{run.log.read_text()}")


def asking(run: RunDirectory, *when: tuple[int, str]) -> Any:
    """Requests that come at the n-th look: `asking(run, (5, "interrupt"))`; about one look a
    step."""
    from tlui.trainer.signals import Requests

    class Asking(Requests):
        looks = 0

        def poll(self) -> Any:
            self.looks += 1
            for at, request in when:
                if at == self.looks:
                    self.ask(request)  # type: ignore[arg-type]
            return super().poll()

    return Asking(run.requests)


def last_weights(run: RunDirectory) -> dict[str, np.ndarray]:
    """Every array of a run's last checkpoint: weights, dropout streams, optimizer."""
    with np.load(run.checkpoints / "last.npz", allow_pickle=False) as file:
        return {k: file[k] for k in file.files if k != "state.json"}


def assert_same_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    different = [k for k in a if a[k].tobytes() != b[k].tobytes()]
    assert not different, different


CURVES = ("train_loss", "train_f1", "val_loss", "val_accuracy", "lr", "best")


def photo_experiment(photos: Path, **tables: Any) -> Experiment:
    """A frozen MobileNet with a small head on the `photos` fixture; two epochs, Adam."""
    phase = {"freeze": "backbone", "batchnorm": "inference", "epochs": 2}
    rate = tables.pop("rate", 1e-2)
    lr = {"policy": "cosine", "initial": rate, "per": "step"}
    given = {
        "name": "frozen",
        "dataset": {"source": "folder", "path": str(photos), "image_size": 48},
        "backbone": {"name": "MobileNet", "alpha": 0.25, "weights": "none"},
        "head": {"dropout": 0.5, "hidden": [4]},
        "train": {"batch_size": 5},
        "phase": [{**phase, "lr": lr, **tables.pop("phase", {})}],
        **tables,
    }
    return Experiment.model_validate(given)


def assert_same_run(a: RunDirectory, b: RunDirectory) -> None:
    """Weights, metrics, curves and predictions, bit for bit."""
    from tlui.runs.history import load

    assert_same_arrays(last_weights(a), last_weights(b))
    assert a.read_result()["metrics"] == b.read_result()["metrics"]
    rows = [[{k: row.get(k) for k in CURVES} for row in load(run).epochs] for run in (a, b)]
    assert rows[0] == rows[1]
    splits = [sorted(path.name for path in run.predictions.glob("*.npz")) for run in (a, b)]
    assert splits[0] == splits[1] and "test.npz" in splits[0]
    for name in splits[0]:
        found = []
        for run in (a, b):
            with np.load(run.predictions / name) as file:
                found.append(file["probabilities"].tobytes())
        assert found[0] == found[1]
