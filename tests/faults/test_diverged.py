"""A loss that is no number: the run says `diverged` and leaves nothing that is not finite."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from faults.real import PRESET, tlui
from scheduler.bench import Bench

from tlui.runs.directory import RunDirectory
from tlui.runs.history import load
from tlui.trainer.checkpoint import Checkpoints

POLICY = 'phase.0.lr={policy="piecewise", initial=1e-3, boundaries=[0.5], values=[1000]}'
"""Two sane epochs, then a learning rate that plain SGD does not survive."""
DIVERGE = (
    "--set",
    POLICY,
    "--set",
    "phase.0.optimizer=sgd",
    "--set",
    "phase.0.batchnorm=inference",
)


def only_finite(text: str) -> str:
    raise AssertionError(f"{text} in JSON")


def test_nan_under_the_real_trainer(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(PRESET)
    done = tlui("run", tmp_path / "tiny.toml", *DIVERGE, "--set", "phase.0.epochs=8")
    assert done.returncode == 3, done.stdout + done.stderr
    (run,) = bench.home
    assert_diverged(run)
    assert tlui("plot", run.id, "--metric", "val_loss").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nan_at_random_steps(bench: Bench, tmp_path: Path) -> None:
    """In any step of any epoch of any phase, beside runs that stay sane."""
    chance, runs = random.Random(8), 30
    ended: Counter[str] = Counter()
    trained: Counter[int] = Counter()
    for _ in range(runs):
        phases, bad = chance.randint(1, 3), chance.randrange(3)
        text = PRESET.partition("[[phase]]")[0]
        for number in range(phases):
            epochs, per = chance.randint(1, 4), chance.choice(["step", "epoch"])
            last = 1000 if number == bad % phases else 1e-4
            text += f"""
[[phase]]
freeze = "{chance.choice(["none", "backbone", "batchnorm"]) if number else "none"}"
batchnorm = "inference"
epochs = {epochs}
optimizer = "{chance.choice(["sgd", "sgd", "rmsprop"])}"
[phase.lr]
policy = "piecewise"
initial = 1e-3
per = "{per}"
boundaries = [{chance.uniform(0.01, epochs):.3f}]
values = [{last}]
"""
        (tmp_path / "tiny.toml").write_text(text)
        more = ("--set", f"train.seed={chance.randrange(100)}")
        batch = ("--set", f"train.batch_size={chance.choice([8, 32, 128])}")
        known = {run.id for run in bench.home}
        done = tlui("run", tmp_path / "tiny.toml", *more, *batch)
        (run,) = (run for run in bench.home if run.id not in known)
        state = run.observe().state
        ended[state] += 1
        assert (state, done.returncode) in (("diverged", 3), ("finished", 0)), (text, done)
        if state == "diverged":
            assert_diverged(run)
            trained[len(load(run).epochs)] += 1
    rows = list(csv.DictReader(io.StringIO(tlui("export").stdout)))
    assert Counter(row["state"] for row in rows) == ended
    print(f"\n{runs} trainings: {dict(ended)}, after so many whole epochs: {dict(trained)}")
    assert ended["diverged"] >= runs // 3 and len(trained) > 2


def assert_diverged(run: RunDirectory) -> None:
    """It says so with advice; checkpoints, records and exports hold finite numbers only."""
    seen = run.observe()
    assert seen.state == "diverged" and "not finite" in seen.reason
    assert "learning rate" in seen.status.advice

    checkpoints = Checkpoints(run.checkpoints)
    last, notes = checkpoints.load()
    kept = [one for one in (checkpoints.load_best(), last) if one is not None]
    assert notes == [] and (kept or not load(run).epochs), "the last finite one is kept"
    for one in kept:
        assert all(np.isfinite(a).all() for a in one.arrays.values() if a.dtype.kind == "f")

    for path in run.path.glob("*.json*"):
        for line in (
            path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        ):
            json.loads(line, parse_constant=only_finite)
    for arguments in (["ls", "--json"], ["show", run.id, "--json"]):
        shown = tlui(*arguments)
        assert shown.returncode == 0, shown.stderr
        json.loads(shown.stdout, parse_constant=only_finite)
    for arguments in (["export"], ["export", "--epochs", run.id]):
        exported = tlui(*arguments)
        assert exported.returncode == 0, exported.stderr
        rows = [
            row for row in csv.DictReader(io.StringIO(exported.stdout)) if row["run_id"] == run.id
        ]
        assert rows or (len(arguments) > 1 and not load(run).epochs)
        cells = {cell for row in rows for cell in row.values()}
        assert not {c for c in cells if c.lower() in ("nan", "inf", "-inf")}
        numbers = [float(c) for c in cells if c.replace(".", "").replace("-", "").isdigit()]
        assert all(math.isfinite(n) for n in numbers)
