"""Which GPU a run takes, from what NVML says; NVML itself is the only thing that is not real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.real import ROOT
from scheduler.bench import Bench

from tlui.runs.directory import Home, RunDirectory
from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.devices import choose, list_devices
from tlui.scheduler.launch import environment
from tlui.scheduler.order import Wishes
from tlui.scheduler.queue import places
from tlui.scheduler.start import start

OTHERS_PID = 1
"""init: a process of somebody else, unless the tests run as root."""


class Nvml:
    """NVML's functions over a table of GPUs; a GPU given as an exception answers nothing."""

    def __init__(self, *gpus: dict[str, Any]) -> None:
        self.gpus = gpus

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        gpu = self.gpus[index]
        if gpu.get("lost"):
            raise RuntimeError("GPU is lost")
        return {"uuid": f"GPU-{index}", **gpu}

    def nvmlDeviceGetUUID(self, gpu: dict[str, Any]) -> str:
        return gpu["uuid"]

    def nvmlDeviceGetName(self, gpu: dict[str, Any]) -> bytes:
        return b"Test GPU"

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:
        total, used = gpu.get("total", 16_000), gpu.get("used", 300)
        return SimpleNamespace(total=total << 20, free=(total - used) << 20, used=used << 20)

    def nvmlDeviceGetUtilizationRates(self, gpu: dict[str, Any]) -> Any:
        return SimpleNamespace(gpu=gpu.get("busy", 0))

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: dict[str, Any]) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in gpu.get("pids", [])]


class Divided(Nvml):
    """One GPU in MIG mode; `gpus` are its instances."""

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return {"uuid": "GPU-whole", "used": 0}

    def nvmlDeviceGetMigMode(self, gpu: dict[str, Any]) -> list[int]:
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: dict[str, Any], index: int) -> Any:
        return {"uuid": f"MIG-{index}", **self.gpus[index]}  # beyond the last: as NVML, an error


class NotSupportedError(Exception):
    """As NVML's, by name."""


class Unified(Nvml):
    """GPUs that have no memory of their own to tell of."""

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:
        raise NotSupportedError


FAKE_DRIVER = """
int nvmlInit_v2(void) { return %d; }
int nvmlInitWithFlags(unsigned flags) { return %d; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 0; return 0; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
"""


@pytest.fixture(autouse=True)
def _every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have hidden theirs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def pick(home: Home, nvml: Any, count: int = 1, **wishes: Any) -> list[str] | str:
    """UUIDs of what is chosen, or the reason why nothing is."""
    choice = choose(Wishes(**wishes), count, list_devices(nvml), Claims(home))
    assert bool(choice.devices) != bool(choice.reason)
    return choice.reason or [device.key for device in choice.devices]


def test_the_freest_gpu_is_taken(home: Home) -> None:
    assert pick(home, Nvml({"used": 900}, {"used": 100}, {"used": 500})) == ["GPU-1"]


def test_a_taken_gpu_is_not_taken_twice(home: Home) -> None:
    nvml = Nvml({}, {})
    assert Claims(home).take("aaaaaaaa", ["GPU-0"])
    assert pick(home, nvml) == ["GPU-1"]
    assert Claims(home).take("bbbbbbbb", ["GPU-1"])
    reason = pick(home, nvml)
    assert "GPU 0, where aaaaaaaa runs" in reason and "GPU 1, where bbbbbbbb runs" in reason


def test_a_host_without_gpu_has_its_cpu(home: Home) -> None:
    assert pick(home, Nvml()) == [CPU]
    assert "this host has none" in pick(home, Nvml(), device="gpu")
    assert pick(home, Nvml({}), device="cpu") == [CPU]


def test_named_by_index_or_uuid(home: Home) -> None:
    assert pick(home, Nvml({}, {"used": 900}), device="gpu:1") == ["GPU-1"]
    assert pick(home, Nvml({}, {"uuid": "GPU-abc"}), device="gpu:GPU-ab") == ["GPU-abc"]
    assert pick(home, Nvml({}), device="gpu:7") == ("asks for GPU 7, which this host does not have")


def test_gpus_in_use_by_others_are_left_alone_unless_told(home: Home) -> None:
    nvml = Nvml({"pids": [OTHERS_PID], "used": 9000})
    reason = pick(home, nvml)
    assert "GPU 0 is in use by" in reason and "--device gpu:0 takes it anyway" in reason
    assert pick(home, nvml, device="gpu:0") == ["GPU-0"]
    assert pick(home, nvml, min_free_memory=4000) == ["GPU-0"]
    assert "waits for 8000 MB free" in pick(home, nvml, min_free_memory=8000)


def test_memory_in_use_by_unseen_processes_counts(home: Home) -> None:
    assert "can't be seen" in pick(home, Nvml({"used": 4000}))


def test_several_devices_are_chosen_at_once(home: Home) -> None:
    nvml = Nvml({"used": 500}, {"pids": [OTHERS_PID]}, {"used": 100})
    assert pick(home, nvml, count=2) == ["GPU-2", "GPU-0"]
    assert pick(home, nvml, count=4) == "asks for 4 GPUs, and this host has 3"
    assert "waits for 3 GPUs, 2 free" in pick(home, nvml, count=3)


def test_sharing_prefers_the_emptier_gpu(home: Home) -> None:
    nvml = Nvml({"used": 0}, {"used": 900})
    claims = Claims(home)
    assert claims.take("aaaaaaaa", ["GPU-0"], per_device=2)
    assert pick(home, nvml, per_device=2) == ["GPU-1"]
    assert claims.take("bbbbbbbb", ["GPU-1"])
    assert pick(home, nvml, per_device=2) == ["GPU-0"]


def test_a_gpu_that_answers_nothing_is_passed_over(home: Home) -> None:
    assert pick(home, Nvml({"lost": True}, {})) == ["GPU-1"]


def test_the_parts_of_a_divided_gpu_are_devices(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = Divided({"used": 9000, "pids": [OTHERS_PID]}, {"used": 20}, {"used": 10})
    assert pick(home, nvml) == ["MIG-2"]
    assert pick(home, nvml, count=2) == ["MIG-2", "MIG-1"]
    assert pick(home, nvml, device="gpu:MIG-0") == ["MIG-0"]
    for key in ("MIG-1", "MIG-2"):
        assert Claims(home).take(f"aaaaaaa{key[-1]}", [key])
    reason = pick(home, nvml)
    assert "GPU 0 (MIG-0) is in use by" in reason and "--device gpu:MIG-0 takes it" in reason
    assert "GPU 0 (MIG-1), where aaaaaaa1 runs" in reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")  # as Slurm or a container gives one
    assert [d.key for d in list_devices(nvml) if d.kind == "gpu"] == ["MIG-1"]


def test_a_gpu_without_memory_of_its_own_is_one(home: Home) -> None:
    assert pick(home, Unified({})) == ["GPU-0"]
    assert "does not say how much" in pick(home, Unified({}), min_free_memory=1000)
    assert pick(home, Unified({"pids": [OTHERS_PID]})).startswith("GPU 0 is in use by")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (18, "NVIDIA's driver does not answer: "),
        (9, "no NVIDIA driver or GPU here"),
        (12, "no NVIDIA driver or GPU here"),
        (0, "the driver shows no GPU"),
    ],
    ids=["mismatch", "not loaded", "no library", "no GPU"],
)
def test_why_there_is_no_gpu(tmp_path: Path, code: int, says: str) -> None:
    """The real pynvml over a driver's library that answers so."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a driver's library with")
    source = tmp_path / "nvml.c"
    source.write_text(FAKE_DRIVER % (code, code))
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", "from tlui.scheduler.devices import *; print(no_gpu_reason())"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(says), done
    if code == 18:
        assert "mismatch" in done.stdout


@pytest.mark.parametrize(
    ("given", "keys"),
    [("1", ["GPU-1"]), ("GPU-2,0", ["GPU-2", "GPU-0"]), ("", []), ("-1", []), ("0,9,1", ["GPU-0"])],
)
def test_cuda_visible_devices_limits_what_is_seen(
    monkeypatch: pytest.MonkeyPatch, given: str, keys: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    seen = [d.key for d in list_devices(Nvml({}, {}, {})) if d.kind == "gpu"]
    assert seen == keys


def test_a_trainer_sees_its_devices_and_no_others() -> None:
    env = environment(["GPU-a", "GPU-b"], "two", {"CUDA_VISIBLE_DEVICES": "0", "X": "y"})
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert (env["TLUI_DEVICE"], env["X"]) == ("two", "y")
    assert environment([CPU], "cpu", os.environ)["CUDA_VISIBLE_DEVICES"] == "-1"


class TestStarted:
    """From NVML's word to what the trainer's process may see."""

    def seen(self, bench: Bench, run: RunDirectory) -> str:
        bench.running(run)
        _, trainer = bench.holders(run)
        words = Path(f"/proc/{trainer}/environ").read_bytes().split(b"\0")
        return next(w for w in words if w.startswith(b"CUDA_VISIBLE_DEVICES=")).decode()

    def test_around_other_peoples_gpus(self, bench: Bench) -> None:
        nvml = Nvml({"pids": [OTHERS_PID], "used": 9000}, {"used": 900}, {"used": 500})
        runs = [bench.add(f"wait-{i}") for i in range(3)]
        started = start(bench.home, trainer=bench.trainer, nvml=nvml)
        assert started == [runs[0].id, runs[1].id]
        assert self.seen(bench, runs[0]) == "CUDA_VISIBLE_DEVICES=GPU-2", "the freest first"
        assert self.seen(bench, runs[1]) == "CUDA_VISIBLE_DEVICES=GPU-1"
        [waiting] = [p for p in places(bench.home, nvml) if p.state == "queued"]
        assert "GPU 0 is in use by" in waiting.reason and "GPU 1, where" in waiting.reason
        assert start(bench.home, trainer=bench.trainer, nvml=nvml) == []
        assert bench.state(runs[2]) == "queued"

    def test_sharing_as_far_as_memory_goes(self, bench: Bench) -> None:
        wishes = Wishes(per_device=2, min_free_memory=4000)
        runs = [bench.add(f"wait-{i}", wishes) for i in range(3)]
        full, roomy = Nvml({"used": 13_000}), Nvml({"used": 300})
        assert start(bench.home, trainer=bench.trainer, nvml=full) == []
        assert (
            "waits for 4000 MB free on GPU 0, which has 3000" in places(bench.home, full)[0].reason
        )
        started = start(bench.home, trainer=bench.trainer, nvml=roomy)
        assert started == [runs[0].id, runs[1].id], "two on one GPU, no third"
        assert {self.seen(bench, run) for run in runs[:2]} == {"CUDA_VISIBLE_DEVICES=GPU-0"}

    def test_only_as_many_start_next_as_there_is_room_for(self, bench: Bench) -> None:
        for i in range(3):
            bench.add(f"wait-{i}")
        turn = "waits for its turn on GPU 0; waits for its turn on GPU 1"
        assert [p.reason for p in places(bench.home, Nvml({}, {}))] == ["", "", turn]
        alone = [p.reason for p in places(bench.home, Nvml())]
        assert alone == ["", *["waits for its turn on the CPU"] * 2]

    @pytest.mark.parametrize(
        ("nvml", "on"),
        [
            (Nvml(), "2 x cpu"),
            (Nvml({}, {}), "Test GPU (GPU-0), Test GPU (GPU-1)"),
        ],
    )
    def test_several_devices_are_all_told_of(self, bench: Bench, nvml: Nvml, on: str) -> None:
        run = bench.add("wait", config={"train.devices": 2})
        assert start(bench.home, trainer=bench.trainer, nvml=nvml) == [run.id]
        bench.running(run)
        assert run.observe().status.device == on
        assert [place.device for place in places(bench.home, nvml)] == [on]

    def test_our_own_trainers_do_not_count_as_others(self, bench: Bench) -> None:
        first, second = bench.add("wait-1", Wishes(per_device=2)), bench.add("wait-2")
        third = bench.add("wait-3", Wishes(per_device=2))
        assert start(bench.home, trainer=bench.trainer, nvml=Nvml({})) == [first.id, third.id]
        bench.running(first)
        mine = Nvml({"pids": [bench.holders(first)[1]], "used": 6000})
        assert "where" in next(p.reason for p in places(bench.home, mine) if p.run == second)
