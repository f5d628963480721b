"""One trainer process for several runs of a kind: every promise of the queue holds all the same."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from scheduler.bench import Bench, kill, wait_for, waits_for_lock

from tlui.runs.directory import RunDirectory
from tlui.runs.process import start_time
from tlui.runs.status import ENDED, read_status
from tlui.scheduler import control
from tlui.scheduler.claims import Claims
from tlui.scheduler.order import Wishes
from tlui.scheduler.start import start
from tlui.scheduler.supervisor import MOST_COMING
from tlui.scheduler.worker import alike

CONFIG = {"backbone.name": "MobileNetV2", "dataset.path": "/data", "train.devices": 1}


def pid(run: RunDirectory) -> int:
    status = read_status(run.status)
    assert status is not None and status.owner is not None
    return status.owner.pid


class TestOneProcess:
    def test_trains_what_is_alike_one_after_another(self, bench: Bench) -> None:
        runs = [
            bench.add(f"finish-again-{i}", config={**CONFIG, "phase.0.lr.initial": i})
            for i in range(4)
        ]
        assert bench.start() == [runs[0].id]
        bench.ended(*runs)
        bench.quiet()
        assert bench.starts() == [run.id for run in runs]
        assert len({pid(run) for run in runs}) == 1
        for run in runs:
            status = read_status(run.status)
            assert status is not None and (status.state, status.attempt) == ("finished", 1)
        wait_for(lambda: start_time(pid(runs[0])) is None, "the end of the trainer")

    def test_another_kind_gets_another_process_in_its_turn(self, bench: Bench) -> None:
        first = bench.add("finish-again-1", config=CONFIG)
        other = bench.add("finish-again-2", config={**CONFIG, "backbone.name": "VGG16"})
        third = bench.add("finish-again-3", config=CONFIG)
        bench.start()
        bench.ended(first, other, third)
        bench.quiet()
        assert bench.starts() == [first.id, other.id, third.id]
        assert len({pid(run) for run in (first, other, third)}) == 3

    def test_nobody_gets_in_between(self, bench: Bench) -> None:
        """A front end that tends the queue at the wrong instant costs a process, so a start."""
        runs = [bench.add(f"finish-again-{i}", config=CONFIG) for i in range(20)]
        bench.start()
        rival: list[str] = []
        while any(bench.state(run) not in ENDED for run in runs):
            rival += bench.start()
        bench.quiet()
        assert bench.starts() == [run.id for run in runs]
        assert (rival, len({pid(run) for run in runs})) == ([], 1)

    def test_the_order_is_that_of_the_queue(self, bench: Bench) -> None:
        first = bench.add("wait-again", config=CONFIG)
        second, third, held = (bench.add(f"finish-again-{i}", config=CONFIG) for i in range(3))
        control.hold(bench.home, held)
        bench.start()
        control.move(bench.home, third, "top")
        bench.go()
        bench.ended(first, second, third)
        bench.quiet()
        assert bench.starts() == [first.id, third.id, second.id]
        assert bench.state(held) == "queued"

    def test_what_fails_ends_the_process(self, bench: Bench) -> None:
        first, bad, third = (
            bench.add(name, config=CONFIG) for name in ("finish-again", "fail", "finish-again-2")
        )
        bench.start()
        bench.ended(first, bad, third)
        bench.quiet()
        assert [bench.state(run) for run in (first, bad, third)] == [
            "finished",
            "failed",
            "finished",
        ]
        assert "told to fail" in bad.observe().reason
        assert pid(first) == pid(bad) != pid(third)


def coming(bench: Bench) -> list[list[str]]:
    """What trainers were told may follow, start by start."""
    return [line.split() for line in (bench.home.path / "coming").read_text().splitlines()]


class TestComing:
    def test_it_is_told_anew_with_every_run(self, bench: Bench) -> None:
        runs = [bench.add(f"finish-again-{i}", config=CONFIG) for i in range(MOST_COMING + 4)]
        bench.start()
        bench.ended(*runs)
        bench.quiet()
        ids = [run.id for run in runs]
        assert coming(bench) == [ids[i + 1 :][:MOST_COMING] for i in range(len(ids))]

    def test_a_process_is_told_what_of_its_kind_waits(self, bench: Bench) -> None:
        first = bench.add("wait-again", config=CONFIG)
        bench.add("finish-other", config={**CONFIG, "backbone.name": "VGG16"})
        second, held, third = (bench.add(f"finish-again-{i}", config=CONFIG) for i in range(3))
        control.hold(bench.home, held)
        control.move(bench.home, third, "top")
        bench.start()
        told = bench.home.path / "coming"
        trained = wait_for(lambda: told.exists() and told.read_text(), "word of what follows")
        assert trained.split() == [first.id, second.id]
        bench.go()
        bench.ended(first, second, third)


class TestKilled:
    def test_the_process_takes_only_the_run_it_trains(self, bench: Bench) -> None:
        first, second, third = (
            bench.add(name, config=CONFIG) for name in ("finish-again", "wait-again", "finish-3")
        )
        bench.start()
        bench.running(second)
        kill(bench.holders(second)[1])
        bench.ended(second, third)
        bench.quiet()
        assert [bench.state(run) for run in (first, second, third)] == [
            "finished",
            "interrupted",
            "finished",
        ]
        assert "SIGKILL" in second.observe().reason
        assert bench.starts() == [first.id, second.id, third.id]

    def test_the_supervisor_leaves_its_trainer_to_the_next(self, bench: Bench) -> None:
        first, second, third = (
            bench.add(name, config=CONFIG) for name in ("finish-again", "wait-again", "finish-3")
        )
        bench.start()
        bench.running(second)
        supervisor, trainer = bench.holders(second)
        kill(supervisor)
        bench.start()
        wait_for(lambda: bench.holders(second)[0] != supervisor, "a new supervisor")
        bench.go()
        bench.ended(second, third)
        bench.quiet()
        assert [bench.state(run) for run in (first, second, third)] == ["finished"] * 3
        assert bench.starts() == [first.id, second.id, third.id]
        wait_for(lambda: start_time(trainer) is None, "the end of the trainer")

    def test_the_supervisor_between_two_runs(self, bench: Bench) -> None:
        first, second, third = (
            bench.add(name, config=CONFIG) for name in ("wait-again", "finish-again-2", "finish-3")
        )
        bench.start()
        bench.running(first)
        supervisor, trainer = bench.holders(first)
        with Claims(bench.home).still():
            bench.go()
            wait_for(lambda: waits_for_lock(supervisor), "a supervisor that takes the next run")
            kill(supervisor)
        wait_for(lambda: start_time(trainer) is None, "the end of the trainer")
        assert (bench.state(first), bench.starts()) == ("finished", [first.id])
        bench.start()
        bench.ended(second, third)
        bench.quiet()
        assert bench.starts() == [first.id, second.id, third.id]

    def test_on_request(self, bench: Bench) -> None:
        first, second = (bench.add(n, config=CONFIG) for n in ("finish-again", "deaf-again"))
        bench.start()
        bench.running(second)
        control.stop(bench.home, second, "kill")
        bench.ended(second)
        bench.quiet()
        assert bench.state(first) == "finished"
        assert second.observe().reason == "killed on request"


class TestRequests:
    def test_reach_the_run_under_way(self, bench: Bench) -> None:
        first, second = (bench.add(n, config=CONFIG) for n in ("finish-again", "wait-again"))
        bench.start()
        bench.running(second)
        control.stop(bench.home, second, "interrupt")
        bench.until(second, "interrupted")
        assert bench.state(first) == "finished"

    def test_for_a_run_that_is_over_reach_nobody(self, bench: Bench) -> None:
        first, second = (bench.add(n, config=CONFIG) for n in ("finish-again", "wait-again"))
        bench.start()
        bench.running(second)
        assert pid(first) == pid(second)
        assert control._trainer_of(bench.home, first) is None
        claim = Claims(bench.home).of_run(second.id)
        assert claim is not None and control._trainer_of(bench.home, second) == claim.trainer
        bench.go()
        bench.ended(second)

    def test_a_shutdown_starts_nothing_else(self, bench: Bench) -> None:
        first, second = (bench.add(n, config=CONFIG) for n in ("wait-again", "finish-again"))
        bench.start()
        bench.running(first)
        os.kill(bench.holders(first)[0], signal.SIGTERM)
        bench.until(first, "interrupted")
        bench.quiet()
        assert bench.state(second) == "queued"


class TestAlike:
    def test_by_data_backbone_and_precision(self, bench: Bench) -> None:
        one = bench.add("a", config={**CONFIG, "head.dropout": 0.1, "train.seed": 1})
        assert alike(one, bench.add("b", config={**CONFIG, "head.dropout": 0.5, "train.seed": 2}))
        for key, value in (
            ("dataset.path", "/other"),
            ("backbone.name", "VGG16"),
            ("train.mixed_precision", True),
            ("train.devices", 2),
        ):
            assert not alike(one, bench.add("c", config={**CONFIG, key: value}))

    def test_not_over_several_devices(self, bench: Bench) -> None:
        several = {**CONFIG, "train.devices": 2}
        assert not alike(bench.add("a", config=several), bench.add("b", config=several))


NVML = """
import os
from pathlib import Path
from types import SimpleNamespace

def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(gpu): return "GPU-stand-in"
def nvmlDeviceGetName(gpu): return "Stand-in"
def nvmlDeviceGetUtilizationRates(gpu): return SimpleNamespace(gpu=0)

def nvmlDeviceGetMemoryInfo(gpu):
    used = 6000 * len(nvmlDeviceGetComputeRunningProcesses(gpu))
    return SimpleNamespace(total=16000 << 20, free=(16000 - used) << 20, used=used << 20)

def nvmlDeviceGetComputeRunningProcesses(gpu):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"CUDA_VISIBLE_DEVICES=GPU-stand-in" in (folder / "environ").read_bytes():
                pid = int(folder.name) + {offset}
                found.append(SimpleNamespace(pid=pid, usedGpuMemory=6000 << 20))
        except OSError:
            pass
    return found
"""
"""The driver's library of a machine whose one GPU holds whatever was started for it."""


class TestOnAGPU:
    FROZEN: ClassVar = {**CONFIG, "phase.0.freeze": "backbone"}

    def start(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int = 0
    ) -> None:
        """As on such a machine; `offset` makes process numbers those of another namespace."""
        path = tmp_path / "driver" / "pynvml.py"
        path.parent.mkdir()
        path.write_text(NVML.replace("{offset}", str(offset)))
        monkeypatch.setenv("PYTHONPATH", str(path.parent))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        spec = importlib.util.spec_from_file_location("stand_in_nvml", path)
        assert spec is not None and spec.loader is not None
        nvml = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(nvml)
        start(bench.home, bench.trainer, nvml)

    def add(self, bench: Bench, config: dict[str, Any], **wishes: Any) -> list[RunDirectory]:
        wanted = Wishes(device="gpu", **wishes)
        return [bench.add(f"finish-again-{i}", wanted, config=config) for i in range(3)]

    def placed(self, runs: list[RunDirectory]) -> set[str]:
        found = [read_status(run.status) for run in runs]
        return {status.device for status in found if status is not None and status.device}

    @pytest.mark.parametrize("wishes", [{}, {"min_free_memory": 12_000}])
    def test_frozen_backbones_follow_one_another(
        self,
        bench: Bench,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        wishes: dict[str, int],
    ) -> None:
        runs = self.add(bench, self.FROZEN, **wishes)
        self.start(bench, tmp_path, monkeypatch)
        bench.ended(*runs)
        bench.quiet()
        assert bench.starts() == [run.id for run in runs]
        assert len({pid(run) for run in runs}) == 1
        assert self.placed(runs) == {"Stand-in (GPU-stand-in)"}
        assert coming(bench)[0] == [run.id for run in runs[1:]]

    def test_others_leave_the_gpu_to_the_next(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = self.add(bench, {**CONFIG, "phase.0.freeze": "none"})
        self.start(bench, tmp_path, monkeypatch)
        bench.ended(*runs)
        bench.quiet()
        assert bench.starts() == [run.id for run in runs]
        assert len({pid(run) for run in runs}) == 3

    def test_where_the_driver_counts_processes_otherwise(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a container: the trainer that waits looks like somebody's, and has to go first."""
        runs = self.add(bench, self.FROZEN)
        self.start(bench, tmp_path, monkeypatch, offset=10_000_000)
        bench.ended(*runs)
        bench.quiet()
        assert bench.starts() == [run.id for run in runs]
        assert len({pid(run) for run in runs}) == 3
