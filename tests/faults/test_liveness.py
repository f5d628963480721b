"""Reboots, reused pids and stalled disks: never `running` of a dead one, never failed of a live."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from factory import age
from faults.real import stalled, stalling_disk, tlui
from scheduler.bench import Bench, kill, opened, wait_for
from scheduler.test_claims import forge

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.history import load
from tlui.runs.process import Identity, boot_time, identify
from tlui.runs.status import STALE_HERE_SECONDS, Status, read_status, write_status
from tlui.scheduler import control, order
from tlui.scheduler.claims import Claims


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


@pytest.mark.slow
def test_a_stalled_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write to the home hangs for longer than a heartbeat may be late."""
    with stalling_disk(tmp_path / "disk") as disk, opened(Home.at(disk / "home")) as bench:
        monkeypatch.setenv("TLUI_HOME", str(bench.home.path))
        run, waiting = bench.add("wait"), bench.add("finish")
        bench.start()
        bench.running(run)
        holders = bench.holders(run)
        assert shown(run) == "running"
        with stalled(disk):
            wait_for(lambda: shown(run) == "stale", "stale", STALE_HERE_SECONDS + 20)
            assert "its disk may hang" in tlui("show", run.id).stdout
            assert shown(waiting) == "queued" and bench.holders(run) == holders
            known = load(run).steps.x[-1]
        bench.until(run, "running")
        wait_for(lambda: load(run).steps.x[-1] > known, "training goes on")
        bench.go()
        bench.ended(run, waiting)
        bench.quiet()
        steps = [int(step) for step in load(run).steps.x]
        assert steps == list(range(1, len(steps) + 1)), "no point is missing"
        assert bench.starts() == [run.id, waiting.id]


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
