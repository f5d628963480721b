"""A real one-node Slurm on loopback, its files in a folder of its own, gone after the tests.

Skips with the reason where slurmctld, slurmd or munged are not installed. Two device files stand
in for GPUs: jobs get CUDA_VISIBLE_DEVICES 0 and 1, and a third waits.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
SBIN = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/sbin"])
ROOT = Path(__file__).parents[3]
READY_SECONDS = 40.0

CONFIG = """\
ClusterName=tlui
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/jobs.txt
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=86400
KillWait=5
MessageTimeout=3
SlurmctldTimeout=300
SlurmdTimeout={patience}
GresTypes=gpu
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs={cpus} RealMemory=8000 Gres=gpu:2"
)


class Cluster:
    """Slurm's daemons, each in its own session, and what tests ask of them."""

    def __init__(
        self, root: Path, nodes: Sequence[str] = (), cpus: int = 4, patience: int = 300
    ) -> None:
        """
        Args:
            root: Where all its files go.
            nodes: Names of the nodes, all on this machine; by default one with its name.
            cpus: What each is said to have.
            patience: Seconds after which a node that says nothing is down.
        """
        self.root = root
        self.config = root / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        host = socket.gethostname().split(".")[0]
        self.nodes = list(nodes) or [host]
        for folder in ("state", *(f"spool-{name}" for name in self.nodes)):
            (root / folder).mkdir()
        (root / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        ctld, *ports = free_ports(1 + len(self.nodes))
        lines = [
            NODE.format(name=name, host=host, port=port, cpus=cpus)
            for name, port in zip(self.nodes, ports, strict=True)
        ]
        self.config.write_text(
            CONFIG.format(
                host=host,
                user=getpass.getuser(),
                root=root,
                ctld=ctld,
                patience=patience,
                nodes="\n".join(lines),
            )
        )
        key = root / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    @property
    def env(self) -> dict[str, str]:
        """What finds this Slurm; its daemons, jobs and every process of theirs carry it."""
        path = os.environ["PATH"] + os.pathsep + SBIN
        return {**os.environ, "SLURM_CONF": str(self.config), "PATH": path}

    def start(self) -> None:
        """Start what does not run, and wait until the node takes jobs."""
        root = self.root
        self._daemon(
            *("munged", "--foreground", "--force", f"--socket={root}/munge.socket"),
            *(f"--key-file={root}/munge.key", f"--pid-file={root}/munge.pid"),
            *(f"--log-file={root}/munge.log", f"--seed-file={root}/munge.seed"),
        )
        wait_for((root / "munge.socket").exists, "munged", READY_SECONDS)
        self._daemon("slurmctld", "-D", "-i")
        for node in self.nodes if len(self.nodes) > 1 else ():
            self._daemon("slurmd", "-D", "-N", node, node=node)
        if len(self.nodes) == 1:
            self._daemon("slurmd", "-D")
        wait_for(self._ready, "idle nodes", READY_SECONDS)

    def kill(self, *names: str) -> None:
        """kill -9 of daemons, as `slurmctld`, `slurmd` or `slurmd NODE`; their jobs go on."""
        for name in names:
            daemon = self.daemons.pop(name)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()

    def save(self, job: str) -> None:
        """Have slurmctld save that a job runs: one it has saved as waiting starts anew after a
        crash, and without a change slurmctld may not save for minutes."""
        file = self.root / "state" / "job_state"
        before = file.stat().st_mtime_ns
        self.run("scontrol", "update", f"job={job}", "priority=5")
        wait_for(lambda: file.exists() and file.stat().st_mtime_ns != before, "a saved state")

    def forget_jobs(self) -> None:
        """Lose what slurmctld (which must be dead) saved, as a crash may."""
        shutil.rmtree(self.root / "state")
        (self.root / "state").mkdir()

    def end(self) -> None:
        """Leave no process behind: daemons, and whatever their jobs started."""
        subprocess.run(["scancel", f"--user={os.geteuid()}"], env=self.env, capture_output=True)
        self.kill(*self.daemons)
        for process in self._processes():
            process.kill()

    def power_off(self, node: str) -> None:
        """Have a node vanish with all that runs on it, before it can say anything."""
        self.kill(f"slurmd {node}")
        jobs = self._processes(f"SLURMD_NODENAME={node}")
        steps = {parent for job in jobs if (parent := job.parent())} - set(jobs)
        for process in [*(one for one in steps if "slurmstepd" in one.name()), *jobs]:
            process.kill()
        psutil.wait_procs([*steps, *jobs], timeout=10)

    def run(self, *arguments: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(
            arguments, env=self.env, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def tlui(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A tlui command, as a person on the login node types it."""
        with self.typed(*arguments) as process:
            try:
                said, complained = process.communicate(timeout=120)
            finally:
                process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    def typed(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, still at work."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", "tlui.cli.main", *arguments],
            env={**self.env, "PYTHONPATH": path, "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def submit(self, home: Home, preset: Path, *arguments: str) -> dict[str, RunDirectory]:
        """`tlui run --detach --on slurm`; name -> run."""
        before = {run.id for run in home}
        done = self.tlui("run", str(preset), "--detach", "--on", "slurm", *arguments)
        assert done.returncode == 0, done.stderr
        made = [run for run in home if run.id not in before]
        return {run.read_meta()["name"]: run for run in made}

    def jobs(self) -> dict[str, tuple[str, str, str]]:
        """Job -> (state, reason, comment)."""
        listing = self.run("squeue", "--states=all", "-h", "-r", "--format=%i|%T|%r|%k")
        rows = (line.split("|", 3) for line in listing.splitlines())
        return {job: (state, reason, comment) for job, state, reason, comment in rows}

    def until(self, run: RunDirectory, *states: str) -> None:
        """Wait until a run is in one of these states; fails with its job's words."""
        end = time.monotonic() + 240
        while time.monotonic() < end:
            if run.observe().state in states:
                return
            time.sleep(0.1)
        said = [path.read_text() for path in (run.path / "job.log", run.log) if path.exists()]
        pytest.fail("\n".join([f"never {states}: {run.observe()}", *said, str(self.jobs())]))

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
        """The first true value of a condition, polled; fails the test after a deadline."""
        return wait_for(condition, what, seconds)

    def epochs(self, run: RunDirectory) -> list[int]:
        """The epochs events.jsonl tells of, in its order."""
        events = EventReader(run.events).read_all()
        return [event["epoch"] for event in events if event["type"] == "epoch"]

    def _processes(self, *variables: str) -> list[psutil.Process]:
        """Processes of this cluster whose environment holds all of these."""
        wanted = {word.encode() for word in (f"SLURM_CONF={self.config}", *variables)}
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, psutil.Error):
                if wanted <= set((path / "environ").read_bytes().split(b"\0")):
                    found.append(psutil.Process(int(path.name)))
        return found

    def _daemon(self, *arguments: str, node: str = "") -> None:
        name = f"{arguments[0]} {node}".strip()
        if name in self.daemons and self.daemons[name].poll() is None:
            return
        with (self.root / f"{name.replace(' ', '-')}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                arguments, env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    def _ready(self) -> bool:
        asked = ["sinfo", "--noheader", "--format=%T"]
        done = subprocess.run(asked, env=self.env, capture_output=True, text=True)
        states = done.stdout.split()
        return bool(states) and set(states) <= {"idle", "mixed", "allocated"}


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
    """The first true value of a condition, polled; fails the test after a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"not within {seconds:.0f} s: {what}")


@contextlib.contextmanager
def running(**given: Any) -> Iterator[Cluster]:
    """A cluster with its daemons; see `Cluster` for what may be given."""
    path = os.environ["PATH"] + os.pathsep + SBIN
    if missing := [name for name in NEEDED if shutil.which(name, path=path) is None]:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed (slurm-wlm, munge)")
    with tempfile.TemporaryDirectory(prefix="tlui-slurm-", ignore_cleanup_errors=True) as root:
        cluster = Cluster(Path(root), **given)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.end()


def found(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, found by this test's own process as well."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    monkeypatch.setenv("PATH", cluster.env["PATH"])
    return cluster


@pytest.fixture(scope="module")
def slurm_daemons() -> Iterator[Cluster]:
    """A cluster of one node, for all tests of a module."""
    with running() as cluster:
        yield cluster


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of two nodes that take one run each, and are soon given up."""
    with running(nodes=("n0", "n1"), cpus=1, patience=10) as cluster:
        yield found(cluster, monkeypatch)


@pytest.fixture
def cluster(slurm_daemons: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The same, without jobs afterwards."""
    yield found(slurm_daemons, monkeypatch)
    slurm_daemons.start()
    slurm_daemons.run("scancel", f"--user={os.geteuid()}")
    wait_for(
        lambda: not slurm_daemons.run("squeue", "-h", "--states=RUNNING,COMPLETING,PENDING"),
        "no jobs",
    )
