"""Supervisors with real processes: how runs end, who carries on, what survives a kill."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scheduler.bench import Bench, kill, wait_for, waits_for_lock
from scheduler.test_claims import forge

import tlui
from tlui.errors import TluiError
from tlui.runs.directory import RunDirectory
from tlui.runs.process import liveness, start_time
from tlui.runs.status import Status, read_status, write_status
from tlui.scheduler import control, order
from tlui.scheduler.claims import Claims
from tlui.scheduler.ending import judge
from tlui.scheduler.order import Wishes
from tlui.scheduler.queue import places
from tlui.scheduler.supervisor import Orders


class TestEnds:
    @pytest.mark.parametrize(
        ("name", "state", "reason"),
        [
            ("finish", "finished", ""),
            ("fail", "failed", "ValueError: the stand-in was told to fail"),
            ("diverge", "diverged", "loss is not finite"),
            ("crash", "failed", "the trainer crashed (SIGSEGV)"),
            ("die", "interrupted", "the trainer was killed by SIGKILL"),
            ("mute", "failed", "the trainer ended without saying how"),
        ],
    )
    def test_state_and_reason(self, bench: Bench, name: str, state: str, reason: str) -> None:
        run = bench.add(name)
        assert bench.start() == [run.id]
        bench.quiet()
        status = read_status(run.status)
        assert status is not None and (status.state, status.attempt) == (state, 1)
        assert reason in status.reason
        assert status.ended is not None

    def test_a_trainer_that_cannot_be_started_says_so(self, bench: Bench) -> None:
        bench.trainer = ("/no/such/python",)
        run = bench.add("finish")
        bench.start()
        bench.quiet()
        seen = run.observe()
        assert seen.state == "failed" and "/no/such/python: cannot be started" in seen.reason

    def test_out_of_memory_is_told_from_a_kill(self, bench: Bench) -> None:
        run = bench.add("die")
        state, reason, advice = judge(run, -signal.SIGKILL, out_of_memory=True, asked="")
        assert state == "failed" and "out of memory" in reason and "batch_size" in advice

    @pytest.mark.parametrize("code", [1, -signal.SIGABRT])
    def test_a_gpu_without_memory_gets_advice(self, bench: Bench, code: int) -> None:
        run = bench.add("die")
        run.log.write_text("F0000 failed to allocate 2.0G: CUDA_ERROR_OUT_OF_MEMORY\n")
        state, reason, advice = judge(run, code, out_of_memory=False, asked="")
        assert state == "failed" and "CUDA_ERROR_OUT_OF_MEMORY" in reason
        assert "batch_size" in advice and "mixed_precision" in advice

    def test_a_crash_quotes_nothing_but_what_is_of_it(self, bench: Bench) -> None:
        """No line for information, and none of an attempt before."""
        run = bench.add("wait;crash")
        run.log.write_text("ValueError: of the first\n")
        write_status(run.status, Status("queued", attempt=1))
        bench.start()
        bench.running(run)
        with open(run.log, "a") as log:
            log.write("I0000 00:00:1795873599.459491    8638 port.cc:153] oneDNN is on.\n")
            log.write("info: no GPU here: training on the CPU\n")
        os.kill(bench.holders(run)[1], signal.SIGSEGV)
        bench.quiet()
        assert run.observe().reason == "the trainer crashed (SIGSEGV)"
        assert run.log.read_text().splitlines()[1] == "tlui: attempt 2"


class TestQueueGoesOn:
    def test_runs_start_one_after_another_in_order(self, bench: Bench) -> None:
        runs = [bench.add(f"finish-{i}") for i in range(4)]
        bench.start()
        bench.ended(*runs)
        assert bench.starts() == [run.id for run in runs]

    def test_it_needs_no_folder_of_who_began_it(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every run that follows inherits what the first supervisor has."""
        (gone := tmp_path / "gone").mkdir()
        monkeypatch.chdir(gone)
        first, second = bench.add("wait-1"), bench.add("wait-2")
        bench.start()
        gone.rmdir()
        for run in (first, second):
            bench.running(run)
            assert {str(Path(f"/proc/{pid}/cwd").readlink()) for pid in bench.holders(run)} == {"/"}
            bench.go(run.read_meta()["name"])
        bench.ended(first, second)

    def test_the_order_is_that_of_the_queue(self, bench: Bench) -> None:
        first, second, third = (bench.add(n) for n in ("wait", "finish-2", "finish-3"))
        bench.start()
        control.move(bench.home, third, "top")
        bench.go()
        bench.ended(first, second, third)
        assert bench.starts() == [first.id, third.id, second.id]

    def test_what_is_queued_while_a_run_ends_is_not_forgotten(self, bench: Bench) -> None:
        """Its starter finds the device taken still, its supervisor has looked already."""
        first = bench.add("wait")
        bench.start()
        bench.running(first)
        supervisor = bench.holders(first)[0]
        with Claims(bench.home).still():
            bench.go()
            wait_for(lambda: waits_for_lock(supervisor), "a supervisor that leaves")
            second = bench.add("finish")
            assert bench.start() == []
        bench.ended(first, second)

    def test_a_held_run_waits_and_says_why(self, bench: Bench) -> None:
        held, free = bench.add("finish-1"), bench.add("finish-2")
        control.hold(bench.home, held)
        bench.start()
        bench.ended(free)
        bench.quiet()
        [place] = places(bench.home)
        assert (place.state, place.run.id) == ("held", held.id) and "release" in place.reason
        control.release(bench.home, held)
        bench.start()
        bench.ended(held)

    def test_sharing_a_device(self, bench: Bench) -> None:
        runs = [bench.add(f"wait-{i}", Wishes(per_device=2)) for i in range(3)]
        assert bench.start() == [runs[0].id, runs[1].id]
        reasons = [place.reason for place in places(bench.home) if place.state == "queued"]
        assert len(reasons) == 1 and "waits for the CPU" in reasons[0]
        bench.go()
        bench.ended(*runs)

    def test_a_failed_parent_fails_its_children_and_nobody_else(self, bench: Bench) -> None:
        parent = bench.add("fail")
        child = bench.add("finish-child", parents=[parent.id])
        grandchild = bench.add("finish-grandchild", parents=[child.id])
        other = bench.add("finish-other")
        bench.start()
        bench.ended(parent, child, grandchild, other)
        bench.quiet()
        assert bench.state(child) == bench.state(grandchild) == "failed"
        assert f"fail ({parent.id}) failed: ValueError" in child.observe().reason
        assert "finish-child" in grandchild.observe().reason
        assert bench.state(other) == "finished"
        assert bench.starts() == [parent.id, other.id]

    def test_a_damaged_preset_fails_its_run_and_nobody_else(self, bench: Bench) -> None:
        parent = bench.add("finish")
        bench.start()
        bench.ended(parent)
        bench.quiet()
        child = bench.add("finish-child", parents=[parent.id], choose_parent=True)
        child.preset.write_text("this is no preset")
        other = bench.add("finish-other")
        assert bench.start() == [other.id]
        bench.ended(other)
        seen = child.observe()
        assert seen.state == "failed" and f"{child.preset}: line 1" in seen.reason
        assert seen.status.advice.startswith("Once preset.toml is mended, tlui resume")

    def test_an_interrupted_parent_is_waited_for(self, bench: Bench) -> None:
        parent = bench.add("wait")
        child = bench.add("finish", parents=[parent.id])
        bench.start()
        bench.running(parent)
        control.stop(bench.home, parent, "interrupt")
        bench.until(parent, "interrupted")
        bench.quiet()
        [place] = places(bench.home)
        assert f"tlui resume {parent.id}" in place.reason
        bench.go()
        control.resume(bench.home, parent)
        bench.start()
        bench.ended(parent, child)
        assert bench.state(child) == "finished"


class TestRequests:
    def test_stop_evaluates_what_is_there(self, bench: Bench) -> None:
        run = bench.add("wait")
        bench.start()
        bench.running(run)
        control.stop(bench.home, run)
        assert not any((run.requests / word).exists() for word in ("stop", "interrupt")), (
            "heard by signal and found as a file it would pass for two, and end evaluation"
        )
        bench.until(run, "stopped")
        assert run.read_result() is not None

    def test_one_that_begins_is_left_word(self, bench: Bench) -> None:
        """A signal may be heard for the run its trainer had before; with both it counts twice."""
        bench.trainer = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
        run = bench.add("begins")
        bench.start()
        claims = Claims(bench.home)
        wait_for(lambda: (claim := claims.of_run(run.id)) and claim.trainer, "a trainer")
        assert bench.state(run) == "starting"
        control.stop(bench.home, run)
        assert (run.requests / "stop").exists()
        _, trainer = bench.holders(run)
        pending = re.findall(
            r"(?:Shd|Sig)Pnd:\s*(\w+)", Path(f"/proc/{trainer}/status").read_text()
        )
        assert [int(found, 16) for found in pending] == [0, 0]
        control.stop(bench.home, run, "kill")
        bench.quiet()
        assert run.observe().reason == "killed on request"

    def test_kill_ends_the_deaf(self, bench: Bench) -> None:
        run = bench.add("deaf")
        bench.start()
        bench.running(run)
        control.stop(bench.home, run)
        _, trainer = bench.holders(run)
        assert bench.state(run) == "running"
        control.stop(bench.home, run, "kill")
        bench.quiet()
        assert read_status(run.status).state == "interrupted"  # type: ignore[union-attr]
        assert run.observe().reason == "killed on request"
        assert start_time(trainer) is None

    def test_signals_to_the_supervisor_reach_the_trainer(self, bench: Bench) -> None:
        run, waiting = bench.add("wait"), bench.add("finish")
        bench.start()
        bench.running(run)
        supervisor, _ = bench.holders(run)
        os.kill(supervisor, signal.SIGHUP)
        os.kill(supervisor, signal.SIGTERM)
        bench.until(run, "interrupted")
        bench.quiet()
        assert bench.state(waiting) == "queued", "a host that shuts down starts nothing new"

    def test_dropping_and_resuming(self, bench: Bench) -> None:
        run = bench.add("finish")
        assert control.stop(bench.home, run).endswith("before it started")
        assert bench.state(run) == "stopped" and not order.entries(bench.home)
        with pytest.raises(TluiError, match="nothing to stop, it is stopped"):
            control.stop(bench.home, run)
        control.resume(bench.home, run)
        with pytest.raises(TluiError, match="is queued already"):
            control.resume(bench.home, run)
        bench.start()
        bench.ended(run)
        with pytest.raises(TluiError, match="it has finished"):
            control.resume(bench.home, run)

    def test_a_copy_of_a_queued_run_waits_for_nothing(self, bench: Bench) -> None:
        """It is in no queue, and says so; `resume` puts it there as a run of its own."""
        run = bench.add("finish")
        copy = bench.home.run("0badcafe")
        shutil.copytree(run.path, copy.path)
        seen = copy.observe()
        assert seen.state == "interrupted"
        assert seen.reason == f"a copy of {run.id}, made while that was queued"
        assert "tlui resume 0badcafe" in seen.status.advice
        control.resume(bench.home, copy)
        assert bench.state(copy) == "queued"
        bench.start()
        bench.ended(run, copy)
        assert bench.starts() == [run.id, copy.id]

    def test_a_run_whose_place_was_lost_gets_another(self, bench: Bench) -> None:
        run = bench.add("finish")
        shutil.rmtree(order.folder(bench.home))
        assert bench.start() == [] and bench.state(run) == "queued"
        control.resume(bench.home, run)
        assert bench.start() == [run.id]
        bench.ended(run)

    def test_stop_reaches_a_run_that_starts_meanwhile(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = bench.add("wait")
        before, observe = [run.observe()], RunDirectory.observe
        bench.start()
        bench.running(run)
        monkeypatch.setattr(
            RunDirectory, "observe", lambda self: before.pop() if before else observe(self)
        )
        assert control.stop(bench.home, run).startswith("will stop at its next step")
        bench.until(run, "stopped")

    def test_a_live_run_is_not_resumed(self, bench: Bench) -> None:
        run = bench.add("wait")
        bench.start()
        bench.running(run)
        with pytest.raises(TluiError, match="while it is running"):
            control.resume(bench.home, run)
        bench.go()
        bench.ended(run)

    def test_resuming_counts_attempts(self, bench: Bench) -> None:
        run = bench.add("die")
        for attempt in (1, 2):
            bench.start()
            bench.quiet()
            status = read_status(run.status)
            assert status is not None and status.attempt == attempt
            control.resume(bench.home, run)
        assert control.drop(bench.home, run).endswith("before it went on")


class TestKilled:
    def test_a_trainer_outlives_its_supervisor_and_is_adopted(self, bench: Bench) -> None:
        run, second = bench.add("wait"), bench.add("finish")
        bench.start()
        bench.running(run)
        supervisor, trainer = bench.holders(run)
        kill(supervisor)
        beat = run.observe().status.heartbeat
        bench.start()
        adopter, same = bench.holders(run)
        assert same == trainer and adopter != supervisor
        assert run.observe().status.heartbeat >= beat and bench.state(run) == "running"
        bench.go()
        bench.ended(run, second)
        assert [bench.state(run), bench.state(second)] == ["finished", "finished"]
        assert bench.starts() == [run.id, second.id]

    def test_an_orphan_that_ended_alone_frees_its_device(self, bench: Bench) -> None:
        run, second = bench.add("wait"), bench.add("finish")
        bench.start()
        bench.running(run)
        supervisor, _ = bench.holders(run)
        kill(supervisor)
        bench.go()
        bench.until(run, "finished")
        wait_for(lambda: bench.start() or bench.state(second) == "finished", "the queue goes on")
        bench.ended(second)

    def test_both_killed(self, bench: Bench) -> None:
        run = bench.add("wait")
        bench.start()
        bench.running(run)
        for pid in bench.holders(run):
            kill(pid)
        bench.until(run, "interrupted")
        bench.start()
        status = read_status(run.status)
        assert status is not None and status.state == "interrupted" and "resume" in status.advice
        assert not Claims(bench.home).all()

    def test_a_run_killed_before_its_trainer_was_let_go_stays_queued(self, bench: Bench) -> None:
        from tlui.runs.process import identify
        from tlui.runs.status import write_status

        run = bench.add("finish")
        ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        who = identify(ended.pid)
        status = read_status(run.status)
        assert status is not None
        write_status(
            run.status, replace(status, state="starting", owner=who, supervisor=who, attempt=1)
        )
        forge(bench.home, f"run-{run.id}", run.id, who)
        ended.communicate(b"\n")
        assert liveness(who) == "dead"
        bench.start()
        bench.ended(run)
        assert bench.state(run) == "finished" and bench.starts() == [run.id]

    def test_a_running_status_of_a_dead_process_is_settled(self, bench: Bench) -> None:
        run = bench.add("wait")
        bench.start()
        bench.running(run)
        _, trainer = bench.holders(run)
        kill(trainer)
        bench.quiet()
        status = read_status(run.status)
        assert status is not None and status.state == "interrupted" and "SIGKILL" in status.reason


def test_the_supervisor_is_small(bench: Bench) -> None:
    run = bench.add("wait")
    bench.start()
    bench.running(run)
    supervisor, trainer = bench.holders(run)
    with open(f"/proc/{supervisor}/status") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    print(f"\nsupervisor: {rss / 1024:.1f} MB resident")
    assert rss < 20 * 1024
    assert os.getsid(supervisor) == supervisor and os.getsid(trainer) == trainer
    bench.go()
    bench.ended(run)


@pytest.mark.parametrize("what", ["own", "adopted"])
def test_the_queue_goes_on_when_tlui_is_installed_anew_meanwhile(
    bench: Bench, tmp_path: Path, what: str
) -> None:
    """What a supervisor has not imported by then does not fit to what it has."""
    package = tmp_path / "site" / "tlui"
    shutil.copytree(Path(tlui.__file__).parent, package)
    first, second = bench.add("wait"), bench.add("finish")
    orders = Orders(trainer=bench.trainer)
    if what == "adopted":
        bench.start()
        bench.running(first)
        kill(bench.holders(first)[0])
        orders = replace(orders, adopt=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "tlui.scheduler.supervisor"),
            *(str(bench.home.path), first.id, orders.to_json()),
        ],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        stderr=subprocess.PIPE,
    )
    bench.running(first)
    wait_for(lambda: bench.holders(first)[0] == process.pid, "its supervisor")
    with (package / "scheduler" / "worker.py").open("a") as module:
        module.write("NEW = 1\n")
    start = package / "scheduler" / "start.py"
    line = "from tlui.scheduler.claims import Claims\n"
    assert line in start.read_text()
    new = start.read_text().replace(line, line + "from tlui.scheduler.worker import NEW\n")
    start.write_text(new)
    bench.go()
    bench.ended(first, second)
    bench.quiet()
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0 and "begins anew: cannot import name 'NEW'" in said, said
    assert bench.starts() == [first.id, second.id]
