"""Reboots, reused pids and stalled disks: never `running` of a dead one, never failed of a live."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from factory import age
from faults.real import detached, epoch_reached, events, stalled, stalling_disk, tlui
from scheduler.bench import Bench, kill, opened, wait_for
from scheduler.test_claims import forge

from tlui.cli.main import run as main
from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.history import load
from tlui.runs.index import Index
from tlui.runs.process import Identity, boot_time, identify
from tlui.runs.status import LIVE, STALE_HERE_SECONDS, Status, read_status, write_status
from tlui.scheduler import control, order
from tlui.scheduler.claims import CPU, Claims
from tlui.tui.live import LiveRun
from tlui.tui.watch import Query, answer


def shown(run: RunDirectory) -> str:
    """The state `tlui ls` shows."""
    done = tlui("ls", "--json")
    assert done.returncode == 0, done.stderr
    return next(row["state"] for row in json.loads(done.stdout) if row["run_id"] == run.id)


@pytest.mark.parametrize("what", ["reboot", "reused pid"])
def test_what_another_life_left_is_settled(bench: Bench, what: str) -> None:
    """Status, claim and device of a run that was training when the machine went down."""
    run, waiting = bench.add("finish-1"), bench.add("finish-2")
    order.remove(bench.home, run.id)
    mine = identify()  # a pid that lives now, as after a reboot or a reuse
    if what == "reboot":
        old = replace(mine, boot_id="00000000-0000-0000-0000-000000000000")
    else:
        old = replace(mine, start_time=mine.start_time - 1)
    device = f"device-{old.host}-cpu-0"
    for name in (f"run-{run.id}", device):
        claim = forge(bench.home, name, run.id, old)
        if what == "reboot":
            age(claim, time.time() - boot_time() + 60)
    write_status(run.status, Status("running", owner=old, supervisor=old, attempt=1, started=1.0))
    if what == "reboot":
        before = boot_time() - 60
        os.utime(run.status, (before, before))

    assert shown(run) == "interrupted"
    assert "running" not in tlui("ls").stdout
    bench.start()
    bench.ended(waiting)
    status = read_status(run.status)
    assert status is not None and status.state == "interrupted" and "resume" in status.advice
    control.resume(bench.home, run)
    bench.start()
    wait_for(lambda: bench.state(run) == "finished", "the resumed run")
    bench.quiet()


def another_life(way: str, alive: int) -> Identity:
    """Whom a run names that was training when the machine went down."""
    if way == "boot":
        return replace(identify(), boot_id="00000000-0000-0000-0000-000000000000")
    reused = identify(alive)  # somebody lives under its number
    earlier = reused.start_time - (1 if way == "reused" else 100_000)
    return replace(reused, start_time=earlier)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runs", [9, pytest.param(180, marks=pytest.mark.slow)])
def test_nobody_shows_another_life_as_running(
    bench: Bench, capfd: pytest.CaptureFixture[str], runs: int
) -> None:
    """Every live state, after a reboot or with a pid that another live process has by now."""
    ways, wrong = ("boot", "reused", "later"), Counter[str]()
    others = [subprocess.Popen(["sleep", "3600"]) for _ in range(3)]
    made = [bench.add(f"finish-{number}") for number in range(runs)]
    held = Claims(bench.home)
    assert held.take("ffffffff", [CPU]), "nothing starts meanwhile"
    for number, run in enumerate(made):
        order.remove(bench.home, run.id)
        state, way = sorted(LIVE)[number % 3], ways[number // 3 % 3]
        old = another_life(way, others[number % 3].pid)
        claim = forge(bench.home, f"run-{run.id}", run.id, old)
        write_status(run.status, Status(state, owner=old, supervisor=old, attempt=1, started=1.0))
        if way == "boot":
            for path in (claim, run.status):
                age(path, time.time() - boot_time() + 60)

    def said(*words: str) -> str:
        capfd.readouterr()
        assert main([*words]) == 0
        return capfd.readouterr().out

    truths = {"interrupted"}
    for _ in range(2):  # before anybody has settled them, and after
        seen = {row["run_id"]: row["state"] for row in json.loads(said("ls", "--json", "--all"))}
        with Index(bench.home) as index:
            index.refresh()
            app = {row.id: row.state for row in answer(index, Query(limit=runs)).rows}
        for run in made:
            live = LiveRun(run)
            live.poll()
            shows = json.loads(said("show", "--json", run.id))["state"]
            states = (seen[run.id], app[run.id], live.state, shows, bench.state(run))
            wrong.update(state for state in states if state not in truths)
        waiting = [json.loads(line)["state"] for line in said("queue", "--json").splitlines()]
        wrong.update(state for state in waiting if state != "queued")
        truths = {"interrupted", "queued"}  # whose training had not begun keeps its turn
    print(
        f"\n{runs} runs of another life, 5 views, twice each: {wrong.total()} wrong {dict(wrong)}"
    )
    assert wrong.total() == 0
    held.release("ffffffff")
    for run in made:
        status = read_status(run.status)
        assert status is not None
        if status.state == "interrupted":
            assert "resume" in status.advice
            control.resume(bench.home, run)
    wait_for(lambda: bench.start() is None or not order.entries(bench.home), "the queue", runs * 3)
    bench.ended(*made)
    assert Counter(map(bench.state, made)) == {"finished": runs}
    assert all(other.poll() is None for other in others), "nobody signalled a stranger"
    for other in others:
        other.kill()
        other.wait()


def test_a_trainer_that_stands_still_is_stale_and_left_alone(bench: Bench) -> None:
    """As on a disk that hangs: the process exists and says nothing (here: it is frozen)."""
    run, waiting = bench.add("wait"), bench.add("finish")
    bench.start()
    bench.running(run)
    supervisor, trainer = bench.holders(run)
    os.kill(trainer, signal.SIGSTOP)
    try:
        seen = run.observe(now=time.time() + STALE_HERE_SECONDS + 5)
        assert seen.state == "stale" and seen.alive and "no heartbeat" in seen.reason
        for seconds in (3600.0, 86400.0 * 30):
            age(run.status, seconds)
            assert run.observe().state == "stale"
        assert shown(run) == "stale"
        kill(supervisor)  # even without anybody who watches it
        bench.start()
        age(run.status, 3600)
        assert run.observe().state == "stale" and bench.state(waiting) == "queued"
        with pytest.raises(TluiError, match="while it is stale"):
            control.resume(bench.home, run)
        refused = tlui("rm", "--yes", run.id)
        assert refused.returncode == 1 and "stale" in refused.stderr
        assert bench.holders(run)[1] == trainer, "its device is not given away"
    finally:
        os.kill(trainer, signal.SIGCONT)
    bench.until(run, "running")
    bench.go()
    bench.ended(run, waiting)
    assert bench.starts() == [run.id, waiting.id]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("stalls", "real"), [(2, False), pytest.param(12, True, marks=pytest.mark.slow)]
)
def test_a_stalled_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stalls: int, real: bool
) -> None:
    """Every write to the home hangs, now and then for longer than a heartbeat may be late."""
    chance, seen = random.Random(stalls), Counter[str]()
    with stalling_disk(tmp_path / "disk") as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        if real:
            run = detached(bench.home, tmp_path, "--set", "phase.0.epochs=100000")
            epoch_reached(run, 2)
        else:
            run = bench.add("wait")
            bench.start()
        waiting = bench.add("finish")
        bench.running(run)
        holders = bench.holders(run)

        def looked() -> str:
            for state in (shown(run), run.observe().state):
                seen[state] += 1
            assert shown(waiting) == "queued" and bench.holders(run) == holders
            return state

        for number in range(stalls):
            with stalled(disk):
                if real and number % 3 == 0:
                    wait_for(lambda: looked() == "stale", "stale", STALE_HERE_SECONDS + 30)
                    assert "its disk may hang" in tlui("show", run.id).stdout
                    assert "while it is stale" in tlui("resume", run.id).stderr
                end = time.monotonic() + chance.uniform(0, 20 if real else 1)
                while time.monotonic() < end:  # a random length, not a synchronisation
                    looked()
                known = load(run).steps.x[-1]
            bench.until(run, "running")
            wait_for(lambda known=known: load(run).steps.x[-1] > known, "training goes on", 60)
        print(f"\n{stalls} stalls of the disk, {seen.total()} looks: {dict(seen)}")
        assert set(seen) <= {"running", "stale"}
        if real:  # whose supervisor would start a real trainer next
            control.drop(bench.home, waiting)
            assert tlui("stop", run.id, "--now").returncode == 0
        bench.go()
        bench.ended(run)
        steps, epochs = list(load(run).steps.x), [row["epoch"] for row in load(run).epochs]
        points = epochs if real else steps  # a real trainer of fast steps writes a few of them
        assert points == list(range(1, len(points) + 1)), "no point is missing"
        assert len(events(run, "open")) == 1
        bench.ended(waiting)
        bench.quiet()


def test_a_status_that_cannot_be_read_keeps_its_turn(bench: Bench) -> None:
    run = bench.add("finish")
    aside = run.status.rename(run.path / "aside")
    run.status.symlink_to(run.status)  # the kernel refuses to follow a link to itself
    assert bench.start() == []
    seen = run.observe()
    assert seen.state == "stale" and "status.json cannot be read" in seen.reason
    assert order.find(bench.home, run.id) is not None
    aside.replace(run.status)
    assert bench.start() == [run.id]
    bench.ended(run)


def test_a_status_that_is_half_there_keeps_its_turn_for_a_while(bench: Bench) -> None:
    """A network disk's cache may show a part of what another host has just replaced."""
    run = bench.add("finish")
    whole = run.status.read_bytes()
    run.status.write_bytes(whole[:40])
    assert bench.start() == [] and order.find(bench.home, run.id) is not None
    run.status.write_bytes(whole)
    assert bench.start() == [run.id]
    bench.ended(run)
    bench.quiet()
    broken = bench.add("finish")
    broken.status.write_bytes(whole[:40])
    age(broken.status, 61)
    assert bench.start() == [] and order.find(bench.home, broken.id) is None


def test_a_stale_one_proven_dead_is_interrupted(bench: Bench) -> None:
    run = bench.add("wait")
    bench.start()
    bench.running(run)
    _, trainer = bench.holders(run)
    os.kill(trainer, signal.SIGSTOP)
    age(run.status, 3600)
    assert run.observe().state == "stale"
    kill(trainer)
    bench.until(run, "interrupted")
    bench.quiet()


def test_another_hosts_silence_is_never_more_than_stale(bench: Bench) -> None:
    run = bench.add("finish")
    mine = identify()
    far = Identity("elsewhere", mine.boot_id, mine.namespace, 1, 1)
    forge(bench.home, f"run-{run.id}", run.id, far)
    write_status(run.status, Status("running", owner=far, supervisor=far))
    age(run.status, 86400.0 * 365)
    bench.start()
    assert run.observe().state == "stale" and shown(run) == "stale"
    Claims(bench.home).evict(run.id)


def test_a_copy_of_a_run_that_trains_is_not_taken_for_it(bench: Bench) -> None:
    """What is done to a `cp -r` leaves the original's trainer alone."""
    run = bench.add("wait")
    bench.start()
    bench.running(run)
    copy = bench.home.run("0badcafe")
    shutil.copytree(run.path, copy.path)
    said = json.loads(tlui("show", "--json", copy.id).stdout)
    assert said["state"] == shown(copy) == "interrupted"
    assert copy.observe().reason == f"a copy of {run.id}, made while that was running"
    for words in (["stop"], ["stop", "--now"]):
        assert "nothing to stop" in tlui(*words, copy.id).stderr
    control.resume(bench.home, copy)
    assert (bench.state(run), bench.state(copy)) == ("running", "queued")
    bench.go()
    bench.ended(run, copy)
    assert bench.starts() == [run.id, copy.id]
    assert (bench.state(run), bench.state(copy)) == ("finished", "finished")
