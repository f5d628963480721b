"""Several hosts on one store: each is believed about its own processes and nobody else's; runs
start once; what a dead host left is said, and can be taken over."""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from factory import age
from faults.machine import Machine, machine
from faults.real import PRESET, ROOT, SLOW_SECONDS, epoch_reached, events
from faults.test_queue import STARTER
from scheduler.bench import Bench, wait_for

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.history import load
from tlui.runs.status import read_status
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes
from tlui.trainer.checkpoint import Checkpoints

LONG = ("--set", "phase.0.epochs=100000")


@pytest.fixture
def alpha() -> Iterator[Machine]:
    with machine("alpha") as host:
        yield host


@pytest.fixture
def beta() -> Iterator[Machine]:
    with machine("beta") as host:
        yield host


def shown(host: Machine, run: RunDirectory) -> dict[str, str]:
    """What `tlui ls` on a host shows of a run."""
    done = host.tlui("ls", "--json")
    assert done.returncode == 0, done.stderr
    return next(row for row in json.loads(done.stdout) if row["run_id"] == run.id)


def says(host: Machine, *words: str, code: int = 0) -> str:
    """All that a `tlui` command says."""
    done = host.tlui(*words)
    assert done.returncode == code, (words, done)
    return done.stdout + done.stderr


def trained(host: Machine, home: Home, tmp_path: Path, *more: str) -> RunDirectory:
    """A run of the real trainer on a host, some epochs old."""
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET)
    done = host.tlui("run", preset, "--detach", "--json", *more)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    run = home.run(next(r["id"] for r in records if r["type"] == "run"))
    epoch_reached(run, 2)
    wait_for(lambda: (run.checkpoints / "last.npz").exists(), "a checkpoint", SLOW_SECONDS)
    return run


def beats(run: RunDirectory) -> None:
    """Wait until the heartbeat has risen."""
    first = read_status(run.status)
    assert first is not None
    wait_for(lambda: (s := read_status(run.status)) and s.heartbeat > first.heartbeat, "a beat")


@contextmanager
def looks(path: Path) -> Iterator[Callable[[], int]]:
    """How often a file was opened meanwhile, by whomever: the kernel tells (inotify)."""
    libc, opened = ctypes.CDLL(None), 0x20
    handle = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(handle, os.fsencode(path), opened) >= 0
    seen = 0

    def count() -> int:
        nonlocal seen
        try:
            seen += len(os.read(handle, 4096)) // 16
        except BlockingIOError:
            pass
        return seen

    try:
        yield count
    finally:
        os.close(handle)


def until(run: RunDirectory, state: str) -> None:
    wait_for(
        lambda: (s := read_status(run.status)) and s.state == state,
        f"{state}, it is {run.observe()}",
        SLOW_SECONDS,
    )


@pytest.mark.parametrize("names", [("alpha", "beta"), ("node", "node")], ids=["two", "namesakes"])
def test_a_live_run_is_running_on_every_host(
    home: Home, tmp_path: Path, names: tuple[str, str]
) -> None:
    """Also where both bear one name and have the same process numbers, as cloned machines do."""
    with machine(names[0]) as here, machine(names[1]) as there:
        run = trained(here, home, tmp_path, *LONG)
        claim = Claims(home).of_run(run.id)
        assert claim is not None and len(claim.holders) == 2
        for _ in range(2):
            beats(run)
            assert shown(there, run)["state"] == shown(here, run)["state"] == "running"
            assert run.id in says(there, "queue")
        assert "while it is running" in says(there, "resume", run.id, code=1)
        assert "stop it first" in says(there, "rm", "--yes", run.id, code=1)
        assert Claims(home).of_run(run.id) == claim
        reached = len(load(run).epochs)
        epoch_reached(run, reached + 1)
        assert "will checkpoint" in says(there, "stop", run.id, "--interrupt")
        until(run, "interrupted")
        assert len(events(run, "open")) == 1
        reached = len(load(run).epochs)
        assert says(there, "resume", run.id, "--detach")
        epoch_reached(run, reached + 1)
        assert shown(here, run)["state"] == "running"
        assert "will stop" in says(here, "stop", run.id)
        until(run, "stopped")
        assert run.read_result() is not None


def at_work(bench: Bench, *hosts: str) -> None:
    """Wait until a run is held on every host."""
    wait_for(lambda: {c.host for c in Claims(bench.home).runs()} >= {*hosts}, f"{hosts} at work")


def test_starters_on_two_hosts_start_every_run_once(
    bench: Bench, alpha: Machine, beta: Machine
) -> None:
    """Two starters on each, two runs at a time on the CPU of each; process numbers collide."""
    made = [bench.add(f"wait-{i}", Wishes(per_device=2)) for i in range(24)]
    command = (sys.executable, STARTER, str(bench.home.path))
    starters = [
        Popen(
            host.command(*command),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )
        for host in (alpha, beta, alpha, beta)
    ]
    at_work(bench, "alpha", "beta")
    bench.go()
    outputs = [one.communicate(timeout=SLOW_SECONDS) for one in starters]
    assert [errors for _, errors in outputs] == [""] * 4
    counts = Counter(bench.starts())
    hosts = Counter(s.owner.host for r in made if (s := read_status(r.status)) and s.owner)
    print(f"\n24 runs, 2 hosts, 4 starters: {dict(hosts)}, at most {max(counts.values())} starts")
    assert counts == {run.id: 1 for run in made}
    assert Counter(bench.state(run) for run in made) == {"finished": 24}
    assert set(hosts) == {"alpha", "beta"}, "both have worked"
    wait_for(lambda: Claims(bench.home).all() == [], "supervisors let go")


def test_a_reboot(home: Home, tmp_path: Path, alpha: Machine, beta: Machine) -> None:
    run = trained(alpha, home, tmp_path, *LONG)
    alpha.reboot()
    epochs = len(load(run).epochs)
    assert shown(beta, run)["state"] == "running", "alpha may be up, for all that beta knows"
    age(run.status, 300)
    assert shown(beta, run)["state"] == "stale"
    assert shown(alpha, run)["state"] == "interrupted", "alpha itself knows at once"
    says(alpha, "queue")  # whoever is alive there puts it right
    status = read_status(run.status)
    assert status is not None and status.state == "interrupted" and "reboot" in status.reason
    assert shown(beta, run)["state"] == "interrupted"
    says(beta, "resume", run.id, "--detach")
    epoch_reached(run, epochs + 1)
    assert shown(alpha, run)["state"] == "running"
    assert Claims(home).of_run(run.id).host == "beta"  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_reboots_at_random_instants(home: Home, tmp_path: Path, alpha: Machine) -> None:
    """A power cut at any moment of a real training: known at once, and it goes on each time."""
    chance, reboots, lost, seen = random.Random(9), 20, 0, Counter[str]()
    run = trained(alpha, home, tmp_path, *LONG)
    for number in range(reboots):
        time.sleep(chance.uniform(0, 4))  # a random instant, not a synchronisation
        alpha.reboot()
        state = shown(alpha, run)["state"]
        assert state in ("interrupted", "queued"), "queued: its turn had not come yet"
        seen[state] += 1
        found, notes = Checkpoints(run.checkpoints).load()
        assert found is not None and notes == []
        epochs = len(load(run).epochs)
        lost = max(lost, epochs - int(found.state["epoch"]))
        says(alpha, *(("resume", run.id, "--detach") if state == "interrupted" else ("queue",)))
        if number % 2:
            epoch_reached(run, epochs + 1)
    epoch_reached(run, len(load(run).epochs) + 1)
    print(f"\n{reboots} reboots: at once {dict(seen)}, all went on, at most {lost} epochs lost")
    assert lost <= 1


def test_a_host_that_is_gone_for_good(
    home: Home, tmp_path: Path, alpha: Machine, beta: Machine
) -> None:
    run = trained(alpha, home, tmp_path, *LONG)
    alpha.power_off()
    epochs = len(load(run).epochs)
    age(run.status, 300)
    row = shown(beta, run)
    assert row["state"] == "stale"
    told = says(beta, "show", run.id)
    assert "no heartbeat from alpha for 5 min" in told and "tlui stop --now" in told
    assert "no heartbeat from alpha for 5 min" in says(beta, "queue")
    refused = says(beta, "resume", run.id, code=1)
    assert "no heartbeat from alpha" in refused and "tlui stop --now" in refused
    assert "tlui stop --now" in says(beta, "rm", "--yes", run.id, code=1)
    assert "will end when it is heard of again" in says(beta, "stop", run.id)
    assert "given up" in says(beta, "stop", "--now", run.id)
    assert shown(beta, run)["state"] == "interrupted" and Claims(home).all() == []
    says(beta, "resume", run.id, "--detach")
    epoch_reached(run, epochs + 1)
    status = read_status(run.status)
    assert status is not None and status.owner is not None and status.attempt == 2
    assert status.owner.host == "beta"
    again = [e["epoch"] for e in events(run, "open")][1]
    assert again >= epochs - 1 or load(run).epochs[again]["seconds"] < 10, "from its checkpoint"


@pytest.mark.parametrize("supervised", [True, False])
def test_one_given_up_that_comes_back_ends_and_disturbs_nobody(
    home: Home, tmp_path: Path, alpha: Machine, beta: Machine, supervised: bool
) -> None:
    """Alpha was not dead: it stood still (a stalled disk, a suspended machine) and wakes up."""
    run = trained(alpha, home, tmp_path, *LONG)
    if not supervised:
        status = read_status(run.status)
        assert status is not None and status.supervisor is not None
        assert alpha.run("kill", "-KILL", str(status.supervisor.pid)).returncode == 0
    alpha.freeze()
    age(run.status, 300)
    assert "given up" in says(beta, "stop", "--now", run.id)
    says(beta, "resume", run.id, "--detach")
    wait_for(lambda: len(events(run, "open")) == 2, "the second attempt", SLOW_SECONDS)
    beats(run)
    beta.freeze()  # so that nobody puts right what alpha would do
    alpha.thaw()
    wait_for(lambda: "tlui.trainer" not in alpha.run("ps", "ax").stdout, "the first one's end")
    wait_for(lambda: "supervisor" not in alpha.run("ps", "ax").stdout, "its supervisor's end")
    status = read_status(run.status)
    assert status is not None and status.owner is not None
    assert (status.state, status.owner.host, status.attempt) == ("running", "beta", 2)
    beta.thaw()
    beats(run)
    claim = Claims(home).of_run(run.id)
    assert claim is not None and claim.host == "beta"
    reached = len(load(run).epochs)
    epoch_reached(run, reached + 1)
    assert "will checkpoint" in says(beta, "stop", run.id, "--interrupt")
    until(run, "interrupted")
    found, notes = Checkpoints(run.checkpoints).load()
    assert found is not None and notes == []


def test_a_clock_that_differs_makes_nobody_dead(
    home: Home, tmp_path: Path, alpha: Machine, beta: Machine
) -> None:
    """Its heartbeats look five minutes old, but they come: it is asked to end, not given up."""
    run = trained(alpha, home, tmp_path, *LONG)
    alpha.freeze()
    age(run.status, 300)
    with looks(run.status) as count:
        stopping = Popen(
            beta.command(sys.executable, "-m", "tlui.cli.main", "stop", "--now", run.id),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=PIPE,
            text=True,
        )
        wait_for(lambda: count() > 12, "one who looks again and again whether the heartbeat moves")
    alpha.thaw()
    said, _ = stopping.communicate(timeout=60)
    assert "was killed" in said and "given up" not in said
    until(run, "interrupted")
    status = read_status(run.status)
    assert status is not None and status.reason == "killed on request"
    wait_for(lambda: Claims(home).all() == [], "alpha's supervisor lets go")
