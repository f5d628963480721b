"""The queue under fire: many starters, random kills. Each test prints its figures."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.real import fill, make_room, small_disk
from faults.test_front_ends import FrontEnd
from scheduler.bench import Bench, kill, opened, wait_for

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.history import load
from tlui.runs.process import start_time
from tlui.runs.status import read_status
from tlui.scheduler import control
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes

STARTER = str(Path(__file__).with_name("starter.py"))
ROOT = str(Path(__file__).parents[2])


def starters(bench: Bench, count: int) -> list[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": ROOT}
    return [
        subprocess.Popen(
            [sys.executable, STARTER, str(bench.home.path)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("runs", "trainers"), [(24, 4), pytest.param(500, 8, marks=pytest.mark.slow)]
)
def test_every_run_is_started_exactly_once(bench: Bench, runs: int, trainers: int) -> None:
    """Four starters at the same instant, several trainers at a time, supervisors, two open apps."""
    wishes = Wishes(per_device=trainers)
    made = [bench.add(f"finish-{i}", wishes) for i in range(runs)]
    apps = [FrontEnd(), FrontEnd()]
    for app in apps:
        app.until("queued")
    began = time.monotonic()
    processes = starters(bench, 4)

    def over() -> bool:
        for app in apps:
            app.drain()
        return all(process.poll() is not None for process in processes)

    wait_for(over, "the end of the queue", runs * 2 + 60)
    outputs = [process.communicate() for process in processes]
    seconds = time.monotonic() - began
    for app in apps:
        app.until(rf"✓ (finished +)?finish-{runs - 1}\b")
        assert app.process.poll() is None, "the app is still there"
        app.end("close")
        assert b"Traceback" not in app.output and b"bug in tlui" not in app.output
    counts = Counter(bench.starts())
    duplicates = sum(n - 1 for n in counts.values())
    states = Counter(run.observe().state for run in made)
    lost = sum(1 for run in made if run.id not in counts)
    print(
        f"\n{runs} runs, 4 starters, {trainers} at a time, 2 apps: {seconds:.1f} s, "
        f"{duplicates} duplicate starts, {lost} lost, states {dict(states)}"
    )
    assert [errors for _, errors in outputs] == [""] * 4
    assert (duplicates, lost) == (0, 0)
    assert states == {"finished": runs}


def test_starters_killed_at_random_lose_nothing(bench: Bench) -> None:
    chance = random.Random(5)
    made = [bench.add(f"finish-{i}", Wishes(per_device=3)) for i in range(15)]
    killed = 0
    while any(run.observe().state == "queued" for run in made) and killed < 12:
        [one] = starters(bench, 1)
        time.sleep(chance.uniform(0.05, 0.5))  # a random instant, not a synchronisation
        one.kill()
        one.communicate()
        killed += 1
    [last] = starters(bench, 1)
    _, errors = last.communicate(timeout=60)
    counts = Counter(bench.starts())
    print(f"\n{killed} starters killed: {len(counts)} of {len(made)} runs, {max(counts.values())}x")
    assert errors == ""
    assert [run.observe().state for run in made] == ["finished"] * len(made)
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_a_trainer_killed_at_random_instants_is_resumable(bench: Bench, kills: int) -> None:
    """State right within 5 s, the run readable, resume works every time."""
    chance = random.Random(1)
    run = bench.add("wait")
    slowest = 0.0
    for attempt in range(1, kills + 1):
        wait_for(lambda: run.id in bench.start() or bench.state(run) != "queued", "a start")
        claim = wait_for(
            lambda: (c := Claims(bench.home).of_run(run.id)) and c.trainer and c, "a trainer"
        )
        time.sleep(chance.uniform(0, 0.3))  # a random instant, not a synchronisation
        began = time.monotonic()
        kill(claim.trainer.pid)
        wait_for(
            lambda: (s := read_status(run.status)) and s.state == "interrupted", "interrupted", 5
        )
        slowest = max(slowest, time.monotonic() - began)
        status = read_status(run.status)
        assert status is not None and status.attempt == attempt and "SIGKILL" in status.reason
        load(run)
        control.resume(bench.home, run)
    bench.go()
    bench.start()
    bench.ended(run)
    print(f"\n{kills} kills: state right after {slowest * 1000:.0f} ms at worst, all resumed")
    assert bench.state(run) == "finished"


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_training_does_not_notice_killed_supervisors(bench: Bench, kills: int) -> None:
    """Each supervisor of one run is killed; the trainer goes on, no point is missing."""
    chance = random.Random(2)
    run, second = bench.add("wait"), bench.add("finish")
    bench.start()
    bench.running(run)
    _, trainer = bench.holders(run)
    slowest = 0.0
    for _ in range(kills):
        supervisor, same = bench.holders(run)
        assert same == trainer
        time.sleep(chance.uniform(0, 0.2))  # a random instant, not a synchronisation
        kill(supervisor)
        began = time.monotonic()
        wait_for(lambda gone=supervisor: bench.start() or bench.holders(run)[0] != gone, "adopted")
        slowest = max(slowest, time.monotonic() - began)
        assert bench.state(run) == "running"
    assert start_time(trainer) is not None
    bench.go()
    bench.ended(run, second)
    steps = list(load(run).steps.x)
    missing = len(set(range(1, int(steps[-1]) + 1)) - set(map(int, steps)))
    print(
        f"\n{kills} supervisors killed: adopted after {slowest * 1000:.0f} ms at worst, "
        f"{missing} of {len(steps)} points missing, the queue went on"
    )
    assert missing == 0 and steps[0] == 1
    assert bench.starts() == [run.id, second.id]


@pytest.mark.parametrize("times", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_hangup_ends_nobody(bench: Bench, times: int) -> None:
    """SIGHUP to a supervisor and its trainer: both go on, and so does the queue, by itself."""
    chance = random.Random(4)
    run, second = bench.add("wait"), bench.add("finish")
    bench.start()
    bench.running(run)
    supervisor, trainer = holders = bench.holders(run)
    for number in range(times):
        time.sleep(chance.uniform(0, 0.2))  # a random instant, not a synchronisation
        known = load(run).steps.x[-1]
        os.killpg(supervisor, signal.SIGHUP)
        if number % 2:
            os.killpg(trainer, signal.SIGHUP)
        wait_for(lambda known=known: load(run).steps.x[-1] > known + 1, "training goes on")
        assert bench.state(run) == "running" and bench.holders(run) == holders
        assert start_time(supervisor) is not None
    bench.go()
    bench.ended(run, second)  # nobody else is there to start it
    bench.quiet()
    steps = [int(step) for step in load(run).steps.x]
    print(
        f"\n{times} hangups: nobody ended, {steps[-1] - len(steps)} of {len(steps)} points missing"
    )
    assert steps == list(range(1, len(steps) + 1))
    assert [bench.state(run), bench.state(second)] == ["finished", "finished"]
    assert bench.starts() == [run.id, second.id]


def test_a_full_disk_frees_the_device_and_says_so(tmp_path: Path) -> None:
    """A home on a disk of 1 MB that fills up while a run trains."""
    with small_disk(tmp_path / "disk", 1) as disk, opened(Home.at(disk / "home")) as bench:
        run, second = bench.add("wait"), bench.add("finish")
        bench.start()
        bench.running(run)
        wait_for(
            lambda: fill(disk) and bench.state(run) in ("interrupted", "failed"),
            "the end of the trainer",
        )
        bench.quiet()
        assert bench.state(second) == "queued"
        fill(disk)
        with pytest.raises(TluiError, match="the disk is full"):
            bench.start()
        make_room(disk)
        control.resume(bench.home, run)
        bench.go()
        bench.start()
        bench.ended(run, second)
        assert [bench.state(run), bench.state(second)] == ["finished", "finished"]
