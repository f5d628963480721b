"""Runs on a real Slurm, trained by the real trainer: devices, limits, parents, crashes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.terminal import Terminal

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader
from tlui.runs.status import LIVE, read_status
from tlui.scheduler.backends.handover import noted_job

ROOT = Path(__file__).parents[3]
EPOCHS = 60
ENDLESS = 100_000
HEAD = """
version = 1
name = "lab"
[dataset]
source = "digits"
classes = ["0", "1"]
image_size = 16
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "none"
epochs = {epochs}
lr = {{ policy = "constant", initial = 1e-3 }}
[slurm]
cpus = 1
mem = "100M"
{slurm}
"""
LAB = """
[[experiment]]
name = "first"
sweep = { "train.seed" = [1, 2, 3] }
[[experiment]]
name = "second"
start_from = { experiment = "first", pick = "best" }
"""


@pytest.fixture
def write(tmp_path: Path):
    """A preset file with so many epochs."""

    def write(epochs: int = 1, slurm: str = "gpus = 0", more: str = "") -> Path:
        path = tmp_path / "lab.toml"
        path.write_text(HEAD.format(epochs=epochs, slurm=slurm) + more)
        return path

    return write


def job_of(cluster, run: RunDirectory) -> str:
    """The newest job whose comment names a run, by its place in an array."""
    for job, (_, _, comment) in reversed(cluster.jobs().items()):
        ids = comment.split()[1:]
        if run.id in ids and int(job.partition("_")[2] or 0) == ids.index(run.id):
            return job
    pytest.fail(f"no job names {run.id}: {cluster.jobs()}")


@contextmanager
def frozen() -> Iterator[Callable[[RunDirectory], bool]]:
    """A function that has a run's trainer stand still until the end of the `with`; whether it does
    by now."""
    pids: dict[str, int] = {}

    def freeze(run: RunDirectory) -> bool:
        status = read_status(run.status)
        if run.id not in pids and status is not None and status.owner != status.supervisor:
            assert status.owner is not None and status.state in LIVE
            pids[run.id] = status.owner.pid
            os.kill(status.owner.pid, signal.SIGSTOP)
        return run.id in pids

    try:
        yield freeze
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)


def epochs_shown(screen: str) -> int:
    """The n of `epoch n/N`; 0 where it does not show."""
    found = re.search(rf"epoch (\d+)/{ENDLESS}\b", screen.replace(",", ""))
    return int(found[1]) if found else 0


def has_pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process that stands still."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [shared] = [int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd")]
    return bool(shared >> (number - 1) & 1)


def look_and_stop(
    cluster, waiting: RunDirectory, child: RunDirectory, jobs: dict[str, str]
) -> None:
    """Why they wait, and that one which waits can be stopped."""
    said = cluster.wait_for(
        lambda: (found := cluster.tlui("queue")) and "(Resources)" in found.stdout and found,
        "Slurm's reason",
    )
    assert f"Slurm job {jobs[waiting.id]} waits (Resources)" in said.stdout, said
    assert f"Slurm job {jobs[child.id]} waits (Dependency)" in said.stdout
    assert cluster.tlui("stop", waiting.id).returncode == 0
    assert waiting.observe().state == "stopped"
    assert cluster.jobs()[jobs[waiting.id]][0] == "CANCELLED"


def test_a_sweep_is_an_array_on_two_gpus_and_its_child_takes_the_best(
    cluster, home: Home, write
) -> None:
    runs = cluster.submit(home, write(slurm="gpus = 1", more=LAB))
    points = [run for name, run in runs.items() if name.startswith("first")]
    child = runs["second"]
    jobs = {run.id: job_of(cluster, run) for run in runs.values()}
    assert len({jobs[run.id].partition("_")[0] for run in points}) == 1, "one array"
    assert "_" not in jobs[child.id]
    with frozen() as freeze:  # so that none ends before all was looked at
        cluster.wait_for(lambda: sum(map(freeze, points)) == 2, "two runs at once")
        (waiting,) = [run for run in points if not freeze(run)]
        look_and_stop(cluster, waiting, child, jobs)
    points.remove(waiting)
    for run in [*points, child]:
        cluster.until(run, "finished", "failed")
        assert run.observe().state == "finished", run.observe()
    said = [(run.path / "job.log").read_text() for run in points]
    assert {text.partition(" on gpu ")[2][:1] for text in said} == {"0", "1"}
    best = max(points, key=lambda run: run.read_result()["best"]["value"])
    assert f'run = "{best.id}"' in child.preset.read_text()
    listed = cluster.tlui("ls", "--filter", "status:finished", "--json")
    assert all(run.id in listed.stdout for run in [*points, child])


def test_a_time_limit_checkpoints_requeues_and_resumes(cluster, home: Home, write) -> None:
    watching = cluster.typed("run", str(write(epochs=EPOCHS)), "--on", "slurm")
    (run,) = cluster.wait_for(lambda: list(home), "a run")
    cluster.wait_for(lambda: len(cluster.epochs(run)) >= 2, "two epochs")
    with frozen() as freeze:  # so that the signal comes before the last epoch
        assert freeze(run)
        job = job_of(cluster, run)
        cluster.run("scancel", "--batch", "--signal=USR1", job)
        pid = run.observe().status.owner.pid
        cluster.wait_for(lambda: has_pending(pid, signal.SIGUSR1), "the signal")
    cluster.until(run, "queued")
    done = max(cluster.epochs(run))
    assert done < EPOCHS
    assert "time limit" in run.observe().reason
    cluster.until(run, "finished", "failed")
    opened = [e for e in EventReader(run.events).read_all() if e["type"] == "open"]
    assert len(opened) == 2
    assert opened[1]["epoch"] == done, "nothing was trained twice"
    assert sorted(set(cluster.epochs(run))) == list(range(1, EPOCHS + 1))
    assert job_of(cluster, run) == job, "the same job came back"
    said, complained = watching.communicate(timeout=60)
    assert watching.returncode == 0, said + complained
    assert "finished" in said, "who watched saw it through"


def test_stopping_a_waiting_run_cancels_its_job(cluster, home: Home, write) -> None:
    later = 'gpus = 0\nextra = ["--begin=now+1hour"]'
    (waiting,) = cluster.submit(home, write(slurm=later), "--name", "later").values()
    said = cluster.tlui("stop", waiting.id)
    assert said.returncode == 0, said.stderr
    assert waiting.observe().state == "stopped"
    assert cluster.jobs()[job_of(cluster, waiting)][0] == "CANCELLED"


def test_holding_a_submitted_run_holds_its_job(cluster, home: Home, write) -> None:
    later = 'gpus = 0\nextra = ["--begin=now+1hour"]'
    runs = cluster.submit(home, write(slurm=later, more=LAB))
    held, *others = runs.values()
    jobs = {run.id: job_of(cluster, run) for run in runs.values()}

    def reasons(*given: RunDirectory) -> set[str]:
        found = cluster.jobs()
        return {found[jobs[run.id]][1] for run in given}

    assert cluster.tlui("queue", "hold", held.id).returncode == 0
    assert reasons(held) == {"JobHeldUser"} and "JobHeldUser" not in reasons(*others)
    said = cluster.tlui("queue", "release", held.id)
    assert said.returncode == 0, said.stderr
    assert "JobHeldUser" not in reasons(held)
    assert jobs == {run.id: job_of(cluster, run) for run in runs.values()}, "no new ones"
    for run in reversed(runs.values()):
        cluster.tlui("stop", run.id)


def test_the_app_shows_stops_and_resumes_a_run_of_the_cluster(cluster, home: Home, write) -> None:
    (run,) = cluster.submit(home, write(epochs=ENDLESS), "--name", "far away").values()
    command = [sys.executable, "-m", "tlui.cli.main"]
    terminal = Terminal(command, {**cluster.env, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)})
    try:
        terminal.wait("far away", "running")
        terminal.press("Q")
        terminal.wait("queue", "far away", "cpu on ")
        terminal.press("Escape", "Enter")
        terminal.wait("far away #", "charts")
        seen = len(cluster.epochs(run))
        terminal.wait_for(lambda screen: epochs_shown(screen) > seen, "new epochs")
        terminal.press("x")
        terminal.wait("Stop", "far away", "y ")
        terminal.press("y")
        cluster.until(run, "stopped")
        terminal.wait("stopped")
        stopped = run.read_result()
        assert stopped["epochs"] >= seen and stopped["metrics"]["test_accuracy"] > 0
        terminal.press("R")
        cluster.until(run, "running")
        terminal.wait_for(lambda screen: epochs_shown(screen) > stopped["epochs"], "more epochs")
        assert job_of(cluster, run) == noted_job(run)["job"], "it went on there"
        assert cluster.tlui("stop", run.id).returncode == 0
        cluster.until(run, "stopped")
    finally:
        terminal.close()


def test_a_failed_parent_fails_its_child_with_the_reason(
    cluster, home: Home, write, photos: Path
) -> None:
    lab = LAB.replace("[1, 2, 3]", "[1]")
    preset = write(more=lab)
    text = preset.read_text().replace(
        'source = "digits"\nclasses = ["0", "1"]', f'source = "folder"\npath = "{photos}"', 1
    )
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    preset.write_text(text)
    runs = cluster.submit(home, preset)
    first = next(run for name, run in runs.items() if name.startswith("first"))
    cluster.until(runs["second"], "failed", "finished")
    assert first.observe().state == "failed"
    reason = runs["second"].observe().reason
    assert reason.startswith("cannot start") and first.id in reason


def test_the_run_directory_is_right_when_slurm_is_killed(cluster, home: Home, write) -> None:
    (run,) = cluster.submit(home, write(epochs=ENDLESS)).values()
    cluster.wait_for(lambda: cluster.epochs(run), "an epoch")
    cluster.save(job_of(cluster, run))
    cluster.kill("slurmctld", "slurmd")
    known = len(cluster.epochs(run))
    cluster.wait_for(lambda: len(cluster.epochs(run)) > known, "training goes on")
    assert run.observe().state == "running"
    listed = cluster.tlui("ls", "--json")
    assert '"running"' in listed.stdout, listed
    cluster.start()
    assert cluster.tlui("stop", run.id).returncode == 0
    cluster.until(run, "stopped")
    assert run.read_result()["metrics"]["test_accuracy"] > 0


def test_a_job_slurm_lost_is_reported_and_submitted_again(cluster, home: Home, write) -> None:
    later = 'gpus = 0\nextra = ["--begin=now+1hour"]'
    (run,) = cluster.submit(home, write(slurm=later)).values()
    number = job_of(cluster, run)
    cluster.kill("slurmctld")
    unanswered = cluster.tlui("queue")
    assert "Slurm does not answer" in unanswered.stdout, unanswered
    cluster.forget_jobs()
    cluster.start()
    while True:  # Slurm begins to count again; a stranger's job gets our number
        other = cluster.run(
            "sbatch", "--parsable", "--mem=10M", "--output=/dev/null", "--wrap=sleep 300"
        )
        if int(other) >= int(number):
            break
    assert number in cluster.jobs()
    said = cluster.tlui("queue")
    assert f"Slurm no longer knows job {number}" in said.stdout, said
    assert f"tlui resume {run.id}" in said.stdout
    assert run.observe().state == "queued"
    again = cluster.tlui("resume", run.id, "--detach")
    assert again.returncode == 0, again.stderr
    assert noted_job(run)["job"] == job_of(cluster, run) != number
    assert cluster.tlui("queue").stdout.count("Slurm job") == 1
    twice = cluster.tlui("resume", run.id, "--detach")
    assert twice.returncode == 1 and "is queued already" in twice.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_time_limit(cluster, home: Home, write) -> None:
    limit = "gpus = 0\ntime = 2\nsignal = 20"
    (run,) = cluster.submit(home, write(epochs=ENDLESS, slurm=limit)).values()

    def starts() -> list[int]:
        events = EventReader(run.events).read_all()
        return [event["epoch"] for event in events if event["type"] == "open"]

    cluster.wait_for(lambda: len(starts()) == 2, "a second start", 500)
    assert starts()[1] > 0
    cluster.wait_for(lambda: cluster.epochs(run)[-1] > starts()[1], "more epochs")
    assert cluster.tlui("stop", run.id).returncode == 0
    cluster.until(run, "stopped")


def test_a_run_whose_node_died_goes_on_at_another(two_nodes, home: Home, write) -> None:
    sweep = 'sweep = { "train.seed" = [1, 2] }\n'
    preset = write(epochs=ENDLESS)
    preset.write_text(preset.read_text().replace("[dataset]", f"{sweep}[dataset]"))
    runs = list(two_nodes.submit(home, preset).values())
    for run in runs:
        two_nodes.wait_for(lambda run=run: len(two_nodes.epochs(run)) > 1, "two epochs")
    places = {run.id: run.observe().status.device.rpartition(" on ")[2] for run in runs}
    assert sorted(places.values()) == ["n0", "n1"]

    lost, other = runs
    two_nodes.power_off(places[lost.id])
    known = len(two_nodes.epochs(lost))
    assert lost.observe().state == "interrupted", "at once, whatever Slurm believes"
    assert two_nodes.tlui("stop", other.id).returncode == 0
    two_nodes.until(other, "stopped")
    two_nodes.until(lost, "running", "finished")  # Slurm gave up the node and took the other
    assert lost.observe().status.device.endswith(f" on {places[other.id]}")
    two_nodes.wait_for(lambda: len(two_nodes.epochs(lost)) > known, "training goes on")
    opened = [e for e in EventReader(lost.events).read_all() if e["type"] == "open"]
    assert len(opened) == 2 and opened[1]["epoch"] > 0, opened
    assert two_nodes.tlui("stop", lost.id).returncode == 0
    two_nodes.until(lost, "stopped")
