"""What a job does on its node: who may start, what a limit leads to, what a dead node left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.files import write_json
from tlui.runs.process import Identity, identify
from tlui.runs.status import Status, read_status, write_status
from tlui.scheduler import order
from tlui.scheduler.backends.handover import has_no_job, noted_job
from tlui.scheduler.backends.slurm_node import Node, job_id, label
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes

ELSEWHERE = Identity("node7.cluster", "boot", "pid:[1]", 77, 123)
STAND_IN = str(Path(__file__).with_name("stand_in.py"))


class Trial(Node):
    """A node whose supervisor is a function of the test and whose clock only sleep moves."""

    def __init__(
        self, home: Home, run: RunDirectory, does: Callable[[Trial], None], **given: str
    ) -> None:
        self.now = 0.0
        self.does = does
        self.starts = 0
        self.requeued = 0
        self.problem = ""
        self.said: list[str] = []
        super().__init__(
            home, run, {"SLURM_JOB_ID": "17", **given}, clock=lambda: self.now, sleep=self.pause
        )

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def supervise(self) -> None:
        status = read_status(self.run.status)
        assert status is not None and status.state == "queued"
        assert order.find(self.home, self.run.id), "a supervisor looks for it there"
        self.starts += 1
        write_status(self.run.status, replace(status, state="running", attempt=status.attempt + 1))
        order.remove(self.home, self.run.id)
        self.does(self)

    def requeue(self) -> str:
        self.requeued += 1
        assert self.run.observe().state == "queued", "it may start in this very moment"
        return self.problem

    def say(self, text: str) -> None:
        self.said.append(text)


def ends(state: str, *signals: int, **progress: int) -> Callable[[Trial], None]:
    """A supervisor whose run ends like this, after these signals."""

    def end(node: Trial) -> None:
        for number in signals:
            node.pass_on(number)
        status = read_status(node.run.status)
        assert status is not None
        known = {**status.progress, **progress}
        write_status(node.run.status, replace(status, state=state, progress=known, ended=1.0))

    return end


def made(home: Home, status: Status | None = None, **meta: object) -> RunDirectory:
    """A run that was handed to Slurm."""
    known = {"name": "r", "preset": "p", "experiment": "r", "config": {"run.on": "slurm"}}
    run = home.create("", {**known, **meta})
    order.append(home, [run.id], Wishes(on="slurm"))
    if status is not None:
        write_status(run.status, status)
    return run


@pytest.mark.parametrize(
    ("state", "code"),
    [("finished", 0), ("failed", 1), ("diverged", 3), ("interrupted", 75), ("stopped", 130)],
)
def test_exit_codes(home: Home, state: str, code: int) -> None:
    run = made(home)
    node = Trial(home, run, ends(state))
    assert node.work() == code
    assert node.starts == 1 and node.requeued == 0
    assert noted_job(run)["job"] == "17"


class TestLimits:
    def test_a_run_that_reached_its_limit_is_queued_again(self, home: Home) -> None:
        run = made(home)
        node = Trial(home, run, ends("interrupted", signal.SIGUSR1, epoch=1, step=3))
        assert node.work() == 75
        assert node.requeued == 1
        seen = run.observe()
        assert seen.state == "queued" and "time limit" in seen.reason
        assert seen.status.progress == {"epoch": 1, "step": 3}
        assert order.find(home, run.id).wishes().on == "slurm"
        assert not has_no_job(run), "nobody submits it a second time"

    def test_it_goes_on_through_many_limits(self, home: Home) -> None:
        run = made(home)
        for restart in range(3):
            does = ends("interrupted", signal.SIGUSR1, epoch=restart + 1, step=0)
            node = Trial(home, run, does, SLURM_RESTART_COUNT=str(restart))
            assert node.work() == 75 and node.requeued == 1
        assert Trial(home, run, ends("finished"), SLURM_RESTART_COUNT="3").work() == 0

    def test_but_not_without_progress(self, home: Home) -> None:
        run = made(home)
        stuck = ends("interrupted", signal.SIGUSR1, epoch=1, step=3)
        assert Trial(home, run, stuck).work() == 75
        node = Trial(home, run, stuck, SLURM_RESTART_COUNT="1")
        assert node.work() == 75 and node.requeued == 0
        seen = run.observe()
        assert seen.state == "interrupted" and "without a step" in seen.reason
        assert "slurm.time" in seen.status.advice

    def test_an_interrupt_that_a_person_asked_for_is_none(self, home: Home) -> None:
        run = made(home)
        node = Trial(home, run, ends("interrupted", signal.SIGTERM))
        assert node.work() == 75 and node.requeued == 0
        assert run.observe().state == "interrupted"

    def test_a_run_that_finished_in_time_is_not_queued(self, home: Home) -> None:
        run = made(home)
        node = Trial(home, run, ends("finished", signal.SIGUSR1))
        assert node.work() == 0 and node.requeued == 0

    def test_a_slurm_that_does_not_requeue_leaves_it_resumable(self, home: Home) -> None:
        run = made(home)
        node = Trial(home, run, ends("interrupted", signal.SIGUSR1))
        node.problem = "Requeue is disabled"
        node.work()
        seen = run.observe()
        assert seen.state == "interrupted" and "Requeue is disabled" in seen.reason
        assert not order.entries(home)


class TestComingBack:
    @pytest.mark.parametrize("state", ["finished", "stopped", "failed", "diverged"])
    def test_a_run_that_is_over_is_left_alone(self, home: Home, state: str) -> None:
        run = made(home, Status(state))
        node = Trial(home, run, ends("finished"))
        node.work()
        assert node.starts == 0 and run.observe().state == state

    def test_an_interrupted_run_that_slurm_brings_back_resumes(self, home: Home) -> None:
        run = made(home, Status("interrupted", attempt=1, progress={"epoch": 2}))
        order.remove(home, run.id)
        node = Trial(home, run, ends("finished"), SLURM_RESTART_COUNT="1")
        assert node.work() == 0
        assert run.observe().status.attempt == 2

    def test_a_run_whose_node_died_is_taken_over_once_it_is_silent(self, home: Home) -> None:
        run = made(home)
        claims = Claims(home)
        assert claims.take(run.id)
        claim = claims.of_run(run.id)
        write_json(
            claims.folder / claim.name,
            {**claim.to_dict(), "holders": [ELSEWHERE.to_dict()], "host": ELSEWHERE.host},
        )
        write_status(run.status, Status("running", owner=ELSEWHERE, attempt=1))
        node = Trial(home, run, ends("finished"), SLURM_RESTART_COUNT="1")
        assert node.work() == 0
        assert node.now > 120, "it was given the time a run elsewhere may be silent"
        assert any("silent too long" in text for text in node.said)

    def test_a_run_that_somebody_trains_is_left_to_them(self, home: Home) -> None:
        run = made(home)
        assert Claims(home).take(run.id)
        beat = [0]

        class Beating(Trial):
            def pause(self, seconds: float) -> None:
                super().pause(seconds)
                beat[0] += 1
                write_status(
                    run.status,
                    Status("running", owner=identify(), heartbeat=beat[0]),
                    sync=False,
                )

        node = Beating(home, run, ends("finished"))
        assert node.work() == 1
        assert node.starts == 0 and run.observe().state == "running"
        assert Claims(home).of_run(run.id) is not None
        Claims(home).release(run.id)

    def test_a_home_that_is_not_shared_is_said(self, home: Home) -> None:
        node = Trial(home, home.run("deadbeef"), ends("finished"))
        assert node.work() == 1
        assert "shared with this node" in node.said[0]


class TestParents:
    def test_a_failed_parent_fails_the_child(self, home: Home) -> None:
        parent = made(home, Status("failed", reason="no space"))
        child = made(home, parents=[parent.id])
        node = Trial(home, child, ends("finished"))
        assert node.work() == 1 and node.starts == 0
        seen = child.observe()
        assert seen.state == "failed" and parent.id in seen.reason and "no space" in seen.reason

    def test_a_parent_whose_end_does_not_show_yet_is_waited_for(self, home: Home) -> None:
        parent = made(home, Status("evaluating", owner=identify()))
        child = made(home, parents=[parent.id])

        class Late(Trial):
            def pause(self, seconds: float) -> None:
                super().pause(seconds)
                if self.now > 10:
                    write_json(parent.result, {"version": 1})
                    write_status(parent.status, Status("finished"))

        assert Late(home, child, ends("finished")).work() == 0

    def test_a_damaged_preset_fails_its_run(self, home: Home) -> None:
        parent = made(home, Status("finished"))
        write_json(parent.result, {"version": 1})
        child = made(home, parents=[parent.id], choose_parent=True)
        child.preset.write_text("this is no preset")
        node = Trial(home, child, ends("finished"))
        assert node.work() == 1 and node.starts == 0
        seen = child.observe()
        assert seen.state == "failed" and "preset.toml: line 1" in seen.reason

    def test_a_child_of_an_interrupted_parent_stays_queued_and_says_why(self, home: Home) -> None:
        parent = made(home, Status("interrupted"))
        child = made(home, parents=[parent.id])
        node = Trial(home, child, ends("finished"))
        assert node.work() == 1 and node.starts == 0
        seen = child.observe()
        assert seen.state == "queued" and parent.id in seen.reason
        assert f"tlui resume {child.id}" in seen.status.advice


def test_one_task_of_an_array_is_never_called_by_the_arrays_number() -> None:
    given = {"SLURM_JOB_ID": "4", "SLURM_ARRAY_JOB_ID": "4", "SLURM_ARRAY_TASK_ID": "2"}
    assert job_id(given) == "4_2"
    assert job_id({"SLURM_JOB_ID": "5"}) == "5"


def test_labels_name_what_slurm_gave() -> None:
    node = {"SLURMD_NODENAME": "n1"}
    assert label({**node, "CUDA_VISIBLE_DEVICES": "0,3"}, 2) == "gpu 0,3 on n1"
    assert label({**node, "CUDA_VISIBLE_DEVICES": "-1"}, 1) == "cpu on n1"
    assert label(node, 1) == "cpu on n1"
    assert label(node, 2) == "2 x cpu on n1"


@pytest.mark.slow
class TestProcesses:
    """The real supervisor with a trainer that is no TensorFlow."""

    def start(self, home: Home, run: RunDirectory, **given: str) -> subprocess.Popen[bytes]:
        code = (
            "import os, signal, sys; from pathlib import Path;"
            "from tlui.runs.directory import Home;"
            "from tlui.scheduler.backends.slurm_node import SIGNALS, Node;"
            "home = Home(Path(sys.argv[1]));"
            "node = Node(home, home.run(sys.argv[2]), os.environ, sys.argv[3:]);"
            "[signal.signal(n, lambda n, _: node.pass_on(n)) for n in SIGNALS];"
            "sys.exit(node.work())"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, home.path, run.id, sys.executable, "-S", STAND_IN],
            env={**os.environ, "SLURM_JOB_ID": "17", **given},
        )

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def test_slurms_devices_reach_the_trainer_and_nothing_else_is_started(self, home: Home) -> None:
        run = made(home, name="wait")
        other = home.create("", {"name": "finish", "preset": "p", "experiment": "e", "config": {}})
        order.append(home, [other.id], Wishes())
        job = self.start(home, run, CUDA_VISIBLE_DEVICES="1")
        self.until(lambda: run.observe().state == "running")
        claim = Claims(home).of_run(run.id)
        assert claim.devices == ()
        environ = Path(f"/proc/{claim.trainer.pid}/environ").read_bytes().split(b"\0")
        assert b"CUDA_VISIBLE_DEVICES=1" in environ
        job.send_signal(signal.SIGINT)
        assert job.wait(60) == 130
        assert run.observe().state == "stopped"
        assert other.observe().state == "queued", "a compute node does not work the local queue"

    def test_a_supervisor_that_was_killed_gets_a_successor(self, home: Home) -> None:
        run = made(home, name="wait")
        job = self.start(home, run)
        self.until(lambda: run.observe().state == "running")
        first = Claims(home).of_run(run.id)
        os.kill(first.supervisor.pid, signal.SIGKILL)
        self.until(lambda: Claims(home).of_run(run.id).supervisor != first.supervisor)
        (home.path / "go").touch()
        assert job.wait(60) == 0
        assert run.observe().state == "finished" and Claims(home).of_run(run.id) is None

    def test_a_time_limit_interrupts_and_says_that_slurm_did_not_requeue(
        self, home: Home, tmp_path: Path
    ) -> None:
        scontrol = tmp_path / "scontrol"
        scontrol.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\necho no >&2\nexit 1\n')
        scontrol.chmod(0o700)
        run = made(home, name="wait")
        job = self.start(home, run, PATH=f"{tmp_path}:{os.environ['PATH']}")
        self.until(lambda: run.observe().state == "running")
        job.send_signal(signal.SIGUSR1)
        assert job.wait(60) == 75
        assert (tmp_path / "asked").read_text() == "requeue 17\n"
        assert run.observe().reason.endswith("would not requeue the job: no")
