"""A store on a network filesystem (sshfs: each host has a client and caches of its own, and locks
that the other does not see): what holds on a local disk holds there."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from factory import age
from faults.machine import Machine, machine
from faults.real import PRESET, ROOT, SLOW_SECONDS, epoch_reached, events
from faults.test_hosts import LONG, at_work, beats, says, shown, trained, until
from faults.test_queue import STARTER
from scheduler.bench import Bench, wait_for

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.history import load
from tlui.runs.status import read_status
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes
from tlui.trainer.checkpoint import Checkpoints

SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")


@dataclass
class Net:
    """Two hosts with one folder of a server mounted."""

    alpha: Machine
    beta: Machine
    served: Path
    """The folder as the server has it; the test looks at it there."""
    mounted: Path
    """Where the hosts see it."""

    script: Path
    """Run as ssh would be, it becomes the server."""

    def mount(self, host: Machine, where: Path, options: str = "rw") -> None:
        words = ("sshfs", "-o", f"ssh_command={self.script},{options}", f"server:{self.served}")
        done = host.run(*words, where)
        if done.returncode:
            pytest.skip(f"sshfs cannot mount here: {done.stderr.strip()}")

    @property
    def home(self) -> Home:
        return Home.at(self.served / "home")

    def signal(self, host: Machine, name: str, process: str) -> None:
        """Stop, continue or kill the server of one host (`sftp-server`) or its client (`sshfs`)."""
        assert host.run("pkill", f"-{name}", process).returncode == 0


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    server = next((path for path in SERVERS if os.access(path, os.X_OK)), None)
    if shutil.which("sshfs") is None or server is None or not Path("/dev/fuse").exists():
        pytest.skip("no network filesystem can be mounted here (needs sshfs and sftp-server)")
    served, mounted, script = tmp_path / "served", tmp_path / "net", tmp_path / "server"
    served.mkdir()
    mounted.mkdir()
    script.write_text(f"#!/bin/sh\nexec {server}\n")
    script.chmod(0o755)
    with machine("alpha") as alpha, machine("beta") as beta:
        found = Net(alpha, beta, served, mounted, script)
        for host in (alpha, beta):
            found.mount(host, mounted)
        monkeypatch.setenv("TLUI_HOME", str(mounted / "home"))
        yield found


def pid_of_trainer(run: RunDirectory) -> str:
    claim = Claims(Home(run.path.parents[1])).of_run(run.id)
    assert claim is not None and claim.trainer is not None
    return str(claim.trainer.pid)


@pytest.mark.parametrize("runs", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_starters_start_every_run_once(net: Net, runs: int) -> None:
    bench = Bench(net.home)
    made = [bench.add(f"wait-{i}", Wishes(per_device=2)) for i in range(runs)]
    starters = [
        Popen(
            host.command(sys.executable, STARTER, net.mounted / "home"),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )
        for host in (net.alpha, net.beta, net.alpha, net.beta)
    ]
    at_work(bench, "alpha", "beta")
    began = time.monotonic()
    bench.go()
    outputs = [one.communicate(timeout=runs * 10) for one in starters]
    counts = Counter(bench.starts())
    hosts = Counter(s.owner.host for r in made if (s := read_status(r.status)) and s.owner)
    print(
        f"\n{runs} runs over sshfs, 2 hosts, 4 starters: {time.monotonic() - began:.0f} s, "
        f"{dict(hosts)}, {sum(counts.values()) - len(counts)} duplicate starts, "
        f"{runs - len(counts)} lost"
    )
    assert [errors for _, errors in outputs] == [""] * 4
    assert counts == {run.id: 1 for run in made}
    assert Counter(bench.state(run) for run in made) == {"finished": runs}
    assert set(hosts) == {"alpha", "beta"}
    wait_for(lambda: Claims(net.home).all() == [], "supervisors let go")


TAKE = """
import sys
from pathlib import Path
from tlui.runs.directory import Home
from tlui.scheduler.claims import Claims
claims = Claims(Home(Path(sys.argv[1])))
print(claims.of_run("aaaaaaaa"), flush=True)
input()
print(claims.take("aaaaaaaa"), claims.take("bbbbbbbb"))
"""


def test_a_claim_that_a_host_cannot_see_yet_is_respected(net: Net, tmp_path: Path) -> None:
    """Between a look and a claim another host's claim came; here a client's memory makes it so."""
    (other := tmp_path / "other").mkdir()
    net.mount(net.alpha, other, "negative_timeout=600")
    (net.home.path / "claims").mkdir(mode=0o700)
    command = net.alpha.command(sys.executable, "-c", TAKE, other / "home")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Popen(command, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "None\n"
        assert Claims(net.home).take("aaaaaaaa")
        said, errors = asking.communicate("\n", timeout=60)
    assert (said, errors) == ("False True\n", "")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_trainer_is_resumed_on_the_other_host(
    net: Net, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(7)
    hosts = [net.alpha, net.beta]
    run = trained(net.alpha, net.home, tmp_path, *LONG)
    for number in range(kills):
        here, other = hosts[number % 2], hosts[(number + 1) % 2]
        time.sleep(chance.uniform(0, 3))  # a random instant, not a synchronisation
        assert here.run("kill", "-KILL", pid_of_trainer(run)).returncode == 0
        until(run, "interrupted")
        while shown(other, run)["state"] != "interrupted":  # its client looks again in a while
            pass
        epochs = load(run).epochs
        found, notes = Checkpoints(run.checkpoints).load()
        assert found is not None and notes == []
        assert Checkpoints(run.checkpoints).load_best() is not None
        gone = epochs[int(found.state["epoch"]) :]
        assert len(gone) <= 1
        says(other, "resume", run.id, "--detach")
        epoch_reached(run, len(epochs) + 1)
    assert len(events(run, "open")) == kills + 1
    assert [row["epoch"] for row in load(run).epochs] == list(range(1, len(load(run).epochs) + 1))
    last = hosts[kills % 2]
    assert "will stop" in says(hosts[(kills + 1) % 2], "stop", run.id)
    until(run, "stopped")
    wait_for(lambda: shown(last, run)["state"] == "stopped", "the end")
    assert run.read_result() is not None
    wait_for(lambda: Claims(net.home).all() == [], "the supervisor lets go")


def test_the_index_is_kept_off_it(net: Net, tmp_path: Path) -> None:
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET)
    places = {"TLUI_CACHE": str(net.mounted / "cache"), "TMPDIR": str(tmp_path)}
    done = net.alpha.tlui("run", preset, "--set", "phase.0.epochs=1", **places)
    assert done.returncode == 0, done.stdout + done.stderr
    for host in (net.alpha, net.beta):
        done = host.tlui("ls", "--json", **places)
        assert done.returncode == 0 and '"finished"' in done.stdout, done.stderr
    assert list(net.served.rglob("*.sqlite*")) == []
    assert len(list(tmp_path.glob(f"tlui-{os.getuid()}/*.sqlite"))) == 1


def test_a_server_that_hangs(net: Net, tmp_path: Path) -> None:
    """Alpha's view of the disk stands still for a while: stale to others, and nothing is lost."""
    run = trained(net.alpha, net.home, tmp_path, *LONG)
    net.signal(net.alpha, "STOP", "sftp-server")
    try:
        first = read_status(run.status)
        age(run.status, 300)
        assert shown(net.beta, run)["state"] == "stale"
        assert "cannot be resumed while it is stale" in says(net.beta, "resume", run.id, code=1)
        assert read_status(run.status) == first
    finally:
        net.signal(net.alpha, "CONT", "sftp-server")
    beats(run)
    wait_for(lambda: shown(net.beta, run)["state"] == "running", "running again")
    epoch_reached(run, len(load(run).epochs) + 1)
    assert len(events(run, "open")) == 1
    assert [row["epoch"] for row in load(run).epochs] == list(range(1, len(load(run).epochs) + 1))
    says(net.beta, "stop", run.id)
    until(run, "stopped")


def test_a_server_that_is_gone(net: Net, tmp_path: Path) -> None:
    """For alpha it is gone for good: its trainer is cut off, and beta goes on from the store."""
    run = trained(net.alpha, net.home, tmp_path, *LONG)
    net.signal(net.alpha, "KILL", "sshfs")
    done = net.alpha.tlui("ls")
    assert done.returncode == 1 and "bug in tlui" not in done.stderr, done
    assert str(net.mounted) in done.stderr, done
    epochs = len(load(run).epochs)
    age(run.status, 300)
    assert shown(net.beta, run)["state"] == "stale"
    assert "given up" in says(net.beta, "stop", "--now", run.id)
    says(net.beta, "resume", run.id, "--detach")
    epoch_reached(run, epochs + 1)
    status = read_status(run.status)
    assert status is not None and status.owner is not None and status.owner.host == "beta"
    wait_for(
        lambda: "tlui.trainer" not in net.alpha.run("ps", "ax").stdout,
        "the end of the trainer that can write nothing",
        SLOW_SECONDS,
    )
