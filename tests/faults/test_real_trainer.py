"""The real trainer under the real supervisor: killed, resumed, stopped from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from scheduler.bench import Bench, kill, wait_for

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader
from tlui.runs.history import load
from tlui.runs.status import read_status

ROOT = Path(__file__).parents[2]
SLOW_SECONDS = 120.0
PRESET = """
version = 1
name = "tiny"
dataset = { source = "digits", image_size = 32 }
backbone = { name = "SmallConvNet", weights = "none" }
evaluate = { splits = ["test"] }
[[phase]]
freeze = "none"
epochs = 4
lr = { policy = "constant", initial = 1e-3 }
"""


def tlui(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tlui.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SLOW_SECONDS,
    )


def detached(home: Home, tmp_path: Path, *more: str) -> RunDirectory:
    (tmp_path / "tiny.toml").write_text(PRESET)
    done = tlui("run", str(tmp_path / "tiny.toml"), "--detach", "--json", *more)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return home.run(next(r["id"] for r in records if r["type"] == "run"))


def epoch_reached(run: RunDirectory, epoch: int) -> None:
    wait_for(lambda: len(load(run).epochs) >= epoch, f"epoch {epoch}", SLOW_SECONDS)


def opens(run: RunDirectory) -> list[dict[str, Any]]:
    return [e for e in EventReader(run.events).read_all() if e["type"] == "open"]


@pytest.mark.timeout(400)
def test_killed_resumed_and_stopped(bench: Bench, tmp_path: Path) -> None:
    run = detached(bench.home, tmp_path)
    epoch_reached(run, 2)
    _, trainer = bench.holders(run)
    kill(trainer)
    began = time.monotonic()
    wait_for(lambda: (s := read_status(run.status)) and s.state == "interrupted", "interrupted", 5)
    right = time.monotonic() - began
    before = len(load(run).epochs)

    done = tlui("resume", run.id, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[-1] == {**records[-1], "type": "done", "runs": {run.id: "finished"}}
    lost = before - opens(run)[1]["epoch"]
    print(f"\nreal trainer killed: state right after {right * 1000:.0f} ms, {lost} epochs lost")
    assert lost <= 1
    assert [e["epoch"] for e in load(run).epochs] == [1, 2, 3, 4]
    assert tlui("resume", run.id).returncode == 1

    second = detached(bench.home, tmp_path, "--set", "phase.0.epochs=500")
    epoch_reached(second, 1)
    assert tlui("stop", second.id).returncode == 0
    wait_for(lambda: bench.state(second) == "stopped", "stopped", SLOW_SECONDS)
    assert "test_accuracy" in (second.read_result() or {})["metrics"]
    bench.quiet()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_200_random_instants(bench: Bench, tmp_path: Path) -> None:
    chance = random.Random(3)
    kills, lost, slowest = 0, 0, 0.0
    run = detached(bench.home, tmp_path, "--set", "phase.0.epochs=2000")
    for _ in range(200):
        claim_seen = wait_for(lambda: bench.home.run(run.id).observe().alive, "alive", 60)
        assert claim_seen
        time.sleep(chance.uniform(0, 12))  # a random instant, not a synchronisation
        before = len(load(run).epochs)
        _, trainer = bench.holders(run)
        os.kill(trainer, signal.SIGKILL)
        began = time.monotonic()
        wait_for(
            lambda: (s := read_status(run.status)) and s.state == "interrupted", "interrupted", 5
        )
        slowest = max(slowest, time.monotonic() - began)
        kills += 1
        starts = len(opens(run))
        done = tlui("resume", run.id, "--detach")
        assert done.returncode == 0, done.stderr
        if chance.random() < 0.3:
            wait_for(lambda n=starts: len(opens(run)) > n, "a writer", 120)
            lost = max(lost, before - opens(run)[-1]["epoch"])
    print(
        f"\n{kills} kills of the real trainer: state right after {slowest * 1000:.0f} ms at "
        f"worst, at most {lost} epochs lost, resumed every time"
    )
    assert lost <= 1
    tlui("stop", run.id, "--now")
