"""A disk that fills up under the real trainer: training goes on, and what it says stays true."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from faults.real import (
    SLOW_SECONDS,
    detached,
    epoch_reached,
    events,
    fill,
    has_computed,
    small_disk,
    tlui,
)
from scheduler.bench import Bench, wait_for

from tlui.runs.directory import Home
from tlui.runs.history import load
from tlui.runs.status import ENDED, read_status
from tlui.trainer.checkpoint import Checkpoints
from tlui.trainer.failure import explain


@pytest.mark.timeout(400)
def test_training_outlives_a_full_disk_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        bench = Bench(Home.at(disk / "home"))
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        run = detached(bench.home, tmp_path, "--set", "phase.0.epochs=100000")
        waiting = detached(bench.home, tmp_path)
        epoch_reached(run, 3)
        wait_for(lambda: (run.checkpoints / "last.npz").exists(), "a checkpoint", SLOW_SECONDS)
        _, trainer = bench.holders(run)

        wait_for(  # filled again and again: files that were being replaced leave gaps
            lambda: fill(disk) and "No space left" in run.observe().reason,
            f"a word of it in {run.status}",
            SLOW_SECONDS,
        )
        before = len(load(run).epochs)
        has_computed(trainer, 3)  # a checkpoint is due every second
        seen = run.observe()
        assert seen.state == "running" and seen.alive and "free some space" in seen.reason
        assert "No space left" in tlui("show", run.id).stdout
        checkpoint, notes = Checkpoints(run.checkpoints).load()
        assert checkpoint is not None and notes == []

        (disk / "filler").unlink()
        epoch_reached(run, before + 2)
        wait_for(lambda: run.observe().reason == "", "the all-clear", SLOW_SECONDS)
        alerts = {e["kind"]: e["message"] for e in events(run, "alert")}
        assert "could not be written" in alerts["records_lost"], alerts
        assert len(events(run, "open")) == 1, "it was the same training all along"

        fill(disk)
        assert tlui("stop", run.id).returncode == 0, "a full disk does not keep it from stopping"
        wait_for(lambda: fill(disk) and bench.state(run) in ENDED, "the end", SLOW_SECONDS)
        status = read_status(run.status)
        assert status is not None and status.state == "failed", status
        assert "the disk is full" in status.reason, status
        assert "free some space" in status.advice.lower()
        bench.quiet()
        assert bench.state(waiting) == "queued", "nothing starts on a full disk"
        after, notes = Checkpoints(run.checkpoints).load()
        assert after is not None and notes == []
        assert after.state["epoch"] >= checkpoint.state["epoch"]
        (disk / "filler").unlink()
        assert tlui("stop", waiting.id).returncode == 0
        done = tlui("resume", run.id, "--detach")
        assert done.returncode == 0, done.stderr
        epoch_reached(run, after.state["epoch"] + 1)
        assert tlui("stop", run.id, "--now").returncode == 0
        bench.quiet()


def test_a_quota_is_told_as_a_full_disk() -> None:
    outcome = explain(OSError(errno.EDQUOT, "Disk quota exceeded", "x"))
    assert outcome.state == "failed" and "Free some space" in outcome.advice
