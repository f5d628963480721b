"""Runs that need processes of their own, forked of one that has imported TensorFlow."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.real import ROOT, SLOW_SECONDS, epoch_reached, tlui
from scheduler.bench import Bench, wait_for

from tests.training import assert_same_arrays, digits_run, last_weights, start
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.process import start_time
from tlui.runs.status import read_status
from tlui.scheduler import order
from tlui.scheduler.forkserver import PR_SET_CHILD_SUBREAPER, Forkserver
from tlui.scheduler.order import Wishes
from tlui.trainer.forkserver import holds_gpu

ENV = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forkserver]:
    found = Forkserver(ENV, tmp_path_factory.mktemp("server") / "log")
    wait_for(lambda: found.ready, "the import", SLOW_SECONDS)
    yield found
    found.close()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_what_it_forks_trains_as_a_process_of_its_own_does(home: Home, server: Forkserver) -> None:
    forked, alone = (digits_run(home, head={"dropout": 0.3}) for _ in range(2))
    child = server.fork([str(forked.path)], {**ENV, "TLUI_DEVICE": "forked"}, forked.log, None)
    assert (parent(child.pid), os.getpgid(child.pid)) == (os.getpid(), child.pid)
    child.go()
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 0
    assert start(alone).wait() == 0
    status = read_status(forked.status)
    assert status is not None and (status.state, status.device) == ("finished", "forked")
    assert_same_arrays(last_weights(forked), last_weights(alone))
    assert "info: data:" in forked.log.read_text(), "its log is its own"
    assert f'trainer/__main__.py",\n  "{forked.path}' in forked.env.read_text()


def test_a_gate_that_never_opens(home: Home, server: Forkserver) -> None:
    run = digits_run(home)
    child = server.fork([str(run.path)], ENV, run.log, None)
    os.close(child._gate)
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 127
    assert run.observe().state == "queued"


def test_a_signal_ends_only_the_trainer(home: Home, server: Forkserver) -> None:
    run = digits_run(home, epochs=10_000)
    child = server.fork([str(run.path)], ENV, run.log, None)
    child.go()
    epoch_reached(run, 1)
    os.kill(child.pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 75
    assert run.observe().state == "interrupted"
    assert server.ready


def test_one_that_is_gone_is_said_to_be(home: Home, tmp_path: Path) -> None:
    server = Forkserver(ENV, tmp_path / "log")
    server._process.kill()
    server._process.wait()
    run = digits_run(home)
    with pytest.raises(OSError):
        server.fork([str(run.path)], ENV, run.log, None)
    server.close()


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tlui.scheduler.forkserver import *\n"
        "server = Forkserver(os.environ, Path(sys.argv[1]))\n"
        "print(server._process.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert start_time(pid) is not None
        supervisor.kill()
    wait_for(lambda: start_time(pid) is None, "its end", SLOW_SECONDS)


def test_a_gpu_in_use_is_seen(tmp_path: Path) -> None:
    (tmp_path / "3").symlink_to("/tmp/file")
    assert not holds_gpu(tmp_path)
    (tmp_path / "4").symlink_to("/dev/nvidiactl")
    assert holds_gpu(tmp_path)
    assert not holds_gpu()


def add(home: Home, side: int, epochs: int) -> RunDirectory:
    """Runs of different sizes never share a process."""
    dataset = {"source": "digits", "image_size": side, "classes": ["0", "1", "2"]}
    run = digits_run(home, epochs=epochs, dataset={**dataset, "validation": 0.2, "test": 0.2})
    order.append(home, [run.id], Wishes())
    return run


@pytest.mark.parametrize("lives", [True, False])
def test_a_queue_of_runs_that_are_not_alike(bench: Bench, lives: bool) -> None:
    bench.trainer = ()
    first, second, third = added = [
        add(bench.home, side, epochs)
        for side, epochs in ((16, 10_000), (18, 10_000 if lives else 2), (20, 2))
    ]
    bench.start()
    epoch_reached(first, 1)
    supervisor, trainer = bench.holders(first)
    assert command(trainer)[3] == "tlui.trainer"
    server = wait_for(lambda: [p for p in children(supervisor) if p != trainer], "a forkserver")
    assert command(server[0])[3] == "tlui.trainer.forkserver"
    wait_for(lambda: called(server[0]) == "tlui-forkserver", "its import", SLOW_SECONDS)
    if not lives:
        os.kill(server[0], signal.SIGKILL)
    assert tlui("stop", first.id).returncode == 0
    if lives:
        epoch_reached(second, 1)
        assert bench.holders(second)[0] == supervisor
        assert called(bench.holders(second)[1]) == "tlui-trainer"
        assert tlui("stop", second.id).returncode == 0
    wait_for(lambda: third.observe().state == "finished", "the last", SLOW_SECONDS)
    bench.quiet()
    assert [bench.state(run) for run in added] == [
        "stopped",
        "stopped" if lives else "finished",
        "finished",
    ]
    wait_for(lambda: start_time(server[0]) is None, "the end of the forkserver")


def called(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
