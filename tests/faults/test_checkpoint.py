"""SIGKILL while a checkpoint is written: the one before or the new one always loads."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults.real import ROOT

from tlui.trainer.checkpoint import Checkpoints

WRITER = str(Path(__file__).with_name("checkpointing.py"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "kills", [pytest.param(15, id="15"), pytest.param(200, id="200", marks=pytest.mark.slow)]
)
def test_one_always_loads(tmp_path: Path, kills: int) -> None:
    chance = random.Random(11)
    reported, halfway = 0, 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, WRITER, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.12))  # a random instant, not a synchronisation
            writer.kill()
            said = [int(line) for line in writer.stdout if line.endswith("\n")]
        reported = max([reported, *said])
        halfway += any(p.name.startswith(".") or "next" in p.name for p in tmp_path.iterdir())
        found, notes = Checkpoints(tmp_path).load()
        assert notes == []
        if reported == 0 and found is None:
            continue  # killed before the very first was whole
        assert found is not None and found.state["number"] >= reported
        assert np.all(found.arrays.pop("backbone/kernel") == 0) and len(found.arrays) == 8
        assert all((array == found.state["number"]).all() for array in found.arrays.values())
        again = Checkpoints(tmp_path)
        again.load()
        best = again.load_best()
        assert best is not None and best.arrays.keys() == {*found.arrays, "backbone/kernel"}
        assert (best.arrays["head/7"] >= found.state["number"]).all()
    print(
        f"\n{kills} kills, {halfway} in the middle of a write, {reported} checkpoints written: "
        "0 unreadable, 0 went back"
    )
    assert reported >= kills // 2 and halfway
    Checkpoints(tmp_path).sweep()
    names = {path.name for path in tmp_path.iterdir()}
    # `last.npz` is missing after a kill before its renaming
    assert names - {"last.npz"} == {"best.npz", "last-previous.npz", "moved.npz"}
