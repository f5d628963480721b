"""A disk that fills up under the real trainer: training goes on, and what it says stays true."""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faults.real import (
    PRESET,
    SLOW_SECONDS,
    detached,
    epoch_reached,
    events,
    fill,
    has_computed,
    make_room,
    quota,
    small_disk,
    tlui,
)
from scheduler.bench import opened, wait_for

from tlui.runs.directory import Home
from tlui.runs.history import load
from tlui.runs.status import ENDED, LIVE, STALE_HERE_SECONDS, read_status
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.trainer.checkpoint import Checkpoints
from tlui.trainer.failure import explain

FULL = re.compile(r"No space left|Disk quota exceeded")


@pytest.mark.timeout(400)
def test_training_outlives_a_full_disk_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 24) as disk, opened(Home.at(disk / "home")) as bench:
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

        make_room(disk)
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
        make_room(disk)
        assert tlui("stop", waiting.id).returncode == 0
        done = tlui("resume", run.id, "--detach")
        assert done.returncode == 0, done.stderr
        epoch_reached(run, after.state["epoch"] + 1)
        assert tlui("stop", run.id, "--now").returncode == 0
        bench.quiet()


@pytest.mark.timeout(400)
def test_a_disk_that_is_full_at_the_start_leaves_nothing_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET + "[sweep]\ntrain.seed = [1, 2, 3, 4]\n")
    with small_disk(tmp_path / "disk", 24) as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        filler = fill(disk)
        size = filler.stat().st_size
        for free in (0, 16 << 10, 96 << 10):  # for nothing, for a run, for all but their start
            os.truncate(filler, size - free)
            for command in (["run"], ["run", "--detach"], ["queue", "add"]):
                done = tlui(*command, preset)
                assert done.returncode == 1
                assert done.stderr == (
                    f"tlui: {bench.home.path}: the disk is full; free some space, "
                    "nothing starts before\n"
                )
                assert list(bench.home.runs.iterdir()) == [] and order.entries(bench.home) == []
        make_room(disk)
        assert tlui("run", "--set", "train.seed=1", preset).returncode == 0


def test_a_disk_that_fills_up_while_runs_are_made_leaves_nothing_of_them(tmp_path: Path) -> None:
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET + "[sweep]\ntrain.seed = [1, 2, 3, 4]\n")
    with small_disk(tmp_path / "disk", 24, files=20) as disk:
        home = Home.at(disk / "home")
        done = tlui("run", preset, "--home", home.path)
        assert done.returncode == 1
        assert "cannot make a run there (No space left on device); free some space" in done.stderr
        assert list(home.runs.iterdir()) == [] and order.entries(home) == []


@pytest.mark.timeout(400)
def test_a_disk_that_fills_up_sends_the_foreground_home_and_keeps_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET + "[sweep]\ntrain.seed = [1, 2]\n")
    with small_disk(tmp_path / "disk", 24) as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        command = [sys.executable, "-m", "tlui.cli.main", "run", str(preset)]
        with subprocess.Popen(
            [*command, "--set", "phase.0.epochs=100000"], stdout=subprocess.PIPE, text=True
        ) as front:
            wait_for(lambda: len(order.entries(bench.home)) == 1, "the first one's start")
            (second,) = [entry.run for entry in order.entries(bench.home)]
            (first,) = [run for run in bench.home if run.id != second]
            epoch_reached(first, 2)
            fill(disk)
            assert tlui("stop", first.id, "--now").returncode == 0
            wait_for(lambda: fill(disk) and front.poll() is not None, "its end", SLOW_SECONDS)
            assert front.stdout is not None
            said = front.stdout.read()
        assert front.returncode in (1, 130), said
        assert f"({second}) stays queued: the disk is full" in said
        assert bench.state(bench.home.run(second)) == "queued"
        make_room(disk)
        assert tlui("stop", second).returncode == 0
        bench.quiet()


def test_a_quota_is_told_as_a_full_disk() -> None:
    outcome = explain(OSError(errno.EDQUOT, "Disk quota exceeded", "x"))
    assert outcome.state == "failed" and "Free some space" in outcome.advice


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_training_outlives_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that leaves no room for a single word, not even in the place of an old one."""
    with quota(tmp_path / "disk", 60) as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        run = detached(bench.home, tmp_path, "--set", "phase.0.epochs=100000")
        waiting = detached(bench.home, tmp_path)
        epoch_reached(run, 3)
        wait_for(lambda: (run.checkpoints / "last.npz").exists(), "a checkpoint", SLOW_SECONDS)
        _, trainer = bench.holders(run)
        fill(disk)
        before = len(load(run).epochs)
        has_computed(trainer, 3)  # a checkpoint is due every second
        assert run.observe().state in ("running", "stale") and run.observe().alive
        for words in (("ls",), ("show", run.id), ("queue",)):
            done = tlui(*words)
            said = " ".join((done.stdout + done.stderr).split())
            assert "nothing can be written (Disk quota exceeded): free some space" in said, (
                words,
                said,
            )
        later = run.observe(now=time.time() + STALE_HERE_SECONDS + 5)
        assert later.state == "stale" and "Disk quota exceeded" in later.reason
        checkpoint, notes = Checkpoints(run.checkpoints).load()
        assert checkpoint is not None and notes == []

        make_room(disk)
        epoch_reached(run, before + 2)
        wait_for(lambda: run.observe().reason == "", "the all-clear", SLOW_SECONDS)
        wait_for(
            lambda: any("could not be written" in e["message"] for e in events(run, "alert")),
            "word of what was lost",
            SLOW_SECONDS,
        )
        assert len(events(run, "open")) == 1, "it was the same training all along"

        fill(disk)
        assert tlui("stop", run.id).returncode == 0
        wait_for(lambda: fill(disk) and bench.state(run) not in LIVE, "the end", SLOW_SECONDS)
        bench.quiet()  # its device is free
        assert bench.state(run) in ("failed", "interrupted", "stopped")
        refused = tlui("queue")
        assert "Disk quota exceeded" in refused.stderr and "free some space" in refused.stderr
        assert bench.state(waiting) == "queued" and waiting.id in refused.stdout
        assert Claims(bench.home).all() == []
        after, notes = Checkpoints(run.checkpoints).load()
        assert after is not None and notes == []
        make_room(disk)
        assert tlui("stop", waiting.id).returncode == 0
        assert tlui("resume", run.id, "--detach").returncode == 0
        epoch_reached(run, after.state["epoch"] + 1)
        assert tlui("stop", run.id, "--now").returncode == 0
        bench.quiet()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "megabytes"), [(small_disk, 24), (quota, 60)], ids=["tmpfs", "quota"]
)
def test_a_disk_that_fills_up_at_random_instants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, megabytes: int
) -> None:
    """With more or less room left, so that it is full in the middle of a checkpoint, too."""
    chance, fills, ended = random.Random(6), 40, 0
    with kind(tmp_path / "disk", megabytes) as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        run = detached(bench.home, tmp_path, "--set", "phase.0.epochs=100000")
        attempts, known = 1, 0
        for number in range(fills):
            epoch_reached(run, len(load(run).epochs) + 1)
            best = run.checkpoints / "best.npz"
            wait_for(best.exists, "a checkpoint", SLOW_SECONDS)
            time.sleep(chance.uniform(0, 2))  # a random instant, not a synchronisation
            _, trainer = bench.holders(run)
            size = best.stat().st_size
            (disk / "reserve").write_bytes(bytes(chance.choice((0, 1, 2)) * size))
            fill(disk)
            (disk / "reserve").unlink()  # room for a checkpoint or so, or for none
            has_computed(trainer, chance.uniform(0.5, 2))
            wait_for(
                lambda: fill(disk) and FULL.search(run.observe().reason),
                f"a word of it, it is {run.observe()}",
                SLOW_SECONDS,
            )
            assert run.observe().state in ("running", "stale") and run.observe().alive
            checkpoint, notes = Checkpoints(run.checkpoints).load()
            assert checkpoint is not None and notes == [] and checkpoint.state["epoch"] >= known
            assert Checkpoints(run.checkpoints).load_best() is not None
            known = checkpoint.state["epoch"]
            if number % 5 == 4:  # it cannot go on: its device is free, and it resumes
                assert tlui("stop", run.id).returncode == 0
                wait_for(lambda: fill(disk) and not run.observe().alive, "the end", SLOW_SECONDS)
                bench.quiet()
                assert bench.state(run) in ("failed", "interrupted", "stopped")
                assert Claims(bench.home).all() == []
                make_room(disk)
                assert tlui("resume", run.id, "--detach").returncode == 0
                attempts, ended = attempts + 1, ended + 1
                wait_for(lambda: len(events(run, "open")) == attempts, "a start", SLOW_SECONDS)  # noqa: B023
            else:
                make_room(disk)
                wait_for(lambda: run.observe().reason == "", "the all-clear", SLOW_SECONDS)
            assert len(events(run, "open")) == attempts, "nothing else has ended it"
        unsaved = sum("checkpoint" in event["message"] for event in events(run, "alert"))
        print(
            f"\n{kind.__name__} filled {fills} times: told and a whole checkpoint each time "
            f"({unsaved} could not be written), stopped meanwhile and resumed {ended} times, "
            "ended by itself 0 times"
        )
        assert tlui("stop", run.id, "--now").returncode == 0
        bench.quiet()
