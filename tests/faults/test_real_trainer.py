"""The real trainer under the real supervisor: killed, resumed, stopped from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from faults.real import SLOW_SECONDS, detached, epoch_reached, events, tlui
from scheduler.bench import Bench, kill, wait_for

from tlui.runs.history import load
from tlui.runs.status import read_status
from tlui.trainer.checkpoint import Checkpoints

KILLS = int(os.environ.get("TLUI_KILLS", "200"))
"""How often the long tests kill; the figures in the README are of 200 unless they say else."""


@pytest.mark.timeout(400)
def test_killed_and_resumed(bench: Bench, tmp_path: Path) -> None:
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
    lost = before - events(run, "open")[1]["epoch"]
    print(f"\nreal trainer killed: state right after {right * 1000:.0f} ms, {lost} epochs lost")
    assert lost <= 1
    assert [e["epoch"] for e in load(run).epochs] == [1, 2, 3, 4]
    assert tlui("resume", run.id).returncode == 1
    bench.quiet()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_random_instants(bench: Bench, tmp_path: Path) -> None:
    """From the first moment (TensorFlow's import) to well into training, evaluations included."""
    chance = random.Random(3)
    slowest, resumed, lost, again = 0.0, 0, 0, 0.0
    longer = ("--set", "phase.0.epochs=100000", "--set", "dataset.image_size=64")
    run = detached(bench.home, tmp_path, *longer)
    writers = 0
    for _ in range(KILLS):
        wait_for(lambda: run.observe().alive, "a trainer", 60)
        if chance.random() < 0.7:  # else: before it has opened its log
            wait_for(lambda n=writers: len(events(run, "open")) > n, "a writer", SLOW_SECONDS)
        time.sleep(chance.uniform(0, 6))  # a random instant, not a synchronisation
        _, trainer = bench.holders(run)
        os.kill(trainer, signal.SIGKILL)
        began = time.monotonic()
        wait_for(
            lambda: (s := read_status(run.status)) and s.state == "interrupted", "interrupted", 5
        )
        slowest = max(slowest, time.monotonic() - began)
        writers = len(events(run, "open"))
        epochs = load(run).epochs
        checkpoint, notes = Checkpoints(run.checkpoints).load()
        assert notes == [], notes
        gone = epochs[int(checkpoint.state["epoch"]) if checkpoint else 0 :]
        lost, again = max(lost, len(gone)), max(again, sum(row["seconds"] for row in gone))
        done = tlui("resume", run.id, "--detach")
        assert done.returncode == 0, done.stderr
        resumed += 1
    reached = len(load(run).epochs)
    wait_for(lambda: len(load(run).epochs) > reached, "training to go on", SLOW_SECONDS)
    print(
        f"\n{KILLS} kills of the real trainer: 0 unreadable, state right after "
        f"{slowest * 1000:.0f} ms at worst, resumed {resumed} times, at most {lost} finished "
        f"epochs and {again:.1f} s trained again"
    )
    assert lost <= 1
    tlui("stop", run.id, "--now")
    bench.quiet()
