"""A loss that is no number: the run says `diverged` and leaves nothing that is not finite."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
from faults.real import PRESET, tlui
from scheduler.bench import Bench

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
    seen = run.observe()
    assert seen.state == "diverged" and "not finite" in seen.reason
    assert "learning rate" in seen.status.advice

    checkpoints = Checkpoints(run.checkpoints)
    best = checkpoints.load_best()
    last, notes = checkpoints.load()
    kept = [one for one in (best, last) if one is not None]
    assert kept and notes == []
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
        rows = list(csv.DictReader(io.StringIO(exported.stdout)))
        assert rows and rows[0]["run_id"] == run.id
        cells = {cell for row in rows for cell in row.values()}
        assert not {c for c in cells if c.lower() in ("nan", "inf", "-inf")}
        numbers = [float(c) for c in cells if c.replace(".", "").replace("-", "").isdigit()]
        assert all(math.isfinite(n) for n in numbers)
    assert tlui("plot", run.id, "--metric", "val_loss").returncode == 0
