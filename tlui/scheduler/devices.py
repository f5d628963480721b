"""What this host can train on, and which of it a run should take.

GPUs come from NVML (nvidia-ml-py, imported when first asked), named by UUID so that their order
never matters; a host without a driver has its CPU. CUDA_VISIBLE_DEVICES, where somebody such as
Slurm has set it, limits what is seen. A GPU other people's processes use is left alone unless a
run names it or asks for an amount of free memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.order import Wishes

UNSEEN_MB = 1024
"""GPU memory in use without a process to be seen (another container's) that counts as busy."""


@dataclass(frozen=True)
class Process:
    """A process that uses a GPU."""

    pid: int
    user: str
    memory_mb: int
    ours: bool
    """Whether it belongs to the user who asks."""


@dataclass(frozen=True)
class Device:
    """A GPU, or the host's CPU."""

    kind: Literal["cpu", "gpu"]
    key: str
    """`cpu`, or the GPU's UUID."""
    name: str
    index: int = 0
    memory_total_mb: int = 0
    memory_free_mb: int = 0
    utilisation: int = 0
    """Percent."""
    processes: tuple[Process, ...] = field(default=())

    @property
    def label(self) -> str:
        """What status.json says: `cpu`, or name and UUID."""
        return self.key if self.kind == "cpu" else f"{self.name} ({self.key})"

    def without(self, pid: int) -> Device:
        """As it will be once that process has ended."""
        stay = tuple(process for process in self.processes if process.pid != pid)
        freed = sum(process.memory_mb for process in self.processes if process.pid == pid)
        return replace(self, processes=stay, memory_free_mb=self.memory_free_mb + freed)


@dataclass(frozen=True)
class Choice:
    """Devices for a run, or a sentence that says why there are none now."""

    devices: tuple[Device, ...] = ()
    reason: str = ""


def label(devices: Sequence[Device], count: int) -> str:
    """What status.json says a run is on: its GPUs by name and UUID; `cpu`, or `2 x cpu` where it
    shares its batches among so many logical devices of the CPU."""
    if count > 1 and [device.kind for device in devices] == ["cpu"]:
        return f"{count} x {CPU}"
    return ", ".join(device.label for device in devices)


THE_CPU = Device("cpu", CPU, "CPU")


def list_devices(nvml: Any = None) -> list[Device]:
    """The GPUs of this host in NVML's order, then its CPU.

    Args:
        nvml: A module with pynvml's functions; pynvml itself by default.
    """
    return [*_gpus(nvml), THE_CPU]


def no_gpu_reason(nvml: Any = None) -> str:
    """Why there is no GPU to be seen, in a sentence; empty where there is one."""
    if _gpus(nvml):
        return ""
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None and _nvml(nvml) is not None:
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    if _nvml(nvml) is not None:
        return "the driver shows no GPU"
    if silent := _real_nvml()[1]:
        return f"NVIDIA's driver does not answer: {silent}"
    return "no NVIDIA driver or GPU here"


def choose(
    wishes: Wishes,
    count: int,
    devices: Sequence[Device],
    claims: Claims,
    promised: Mapping[str, int] | None = None,
) -> Choice:
    """The freest devices a run may take now.

    Args:
        wishes: What the command line asked for.
        count: How many GPUs it trains on at once (`train.devices`).
        devices: What the host has.
        claims: Who holds what.
        promised: By device, how many runs that wait come before this one there.
    """
    promised = promised or {}
    gpus = [device for device in devices if device.kind == "gpu"]
    if wishes.device == "cpu" or (wishes.device == "auto" and not gpus):
        full = _full(THE_CPU, wishes, claims, promised)
        return Choice(reason=full) if full else Choice((THE_CPU,))
    if why := never(wishes, count, devices):
        return Choice(reason=why)
    named = wishes.device.partition(":")[2]
    if named:
        gpus = _named(gpus, named)
    free: list[Device] = []
    reasons: list[str] = []
    for gpu in gpus:
        why = _full(gpu, wishes, claims, promised) or _in_use(gpu, wishes, claims, told=bool(named))
        if why:
            reasons.append(why)
        else:
            free.append(gpu)
    if len(free) < count:
        if count > 1:
            return Choice(reason=f"waits for {count} GPUs, {len(free)} free: {'; '.join(reasons)}")
        return Choice(reason="; ".join(reasons))

    def crowd(gpu: Device) -> tuple[int, int, float]:
        runs = len(claims.occupants(gpu.key)) + promised.get(gpu.key, 0)
        return runs, -gpu.memory_free_mb, gpu.utilisation

    free.sort(key=crowd)
    return Choice(tuple(free[:count]))


def never(wishes: Wishes, count: int, devices: Sequence[Device]) -> str:
    """Why this host can never give a run its devices; '' where it can, if not now."""
    gpus = [device for device in devices if device.kind == "gpu"]
    if wishes.device == "cpu" or (wishes.device == "auto" and not gpus):
        return ""
    if not gpus:
        return "asks for a GPU, and this host has none (see tlui doctor)"
    named = wishes.device.partition(":")[2]
    if named:
        gpus = _named(gpus, named)
        if not gpus:
            return f"asks for GPU {named}, which this host does not have"
    if len(gpus) < count:
        return f"asks for {count} GPUs, and this host has {len(gpus)}"
    return ""


def _named(gpus: Sequence[Device], named: str) -> list[Device]:
    """The GPUs of that index, UUID or beginning of one."""
    return [g for g in gpus if named in (str(g.index), g.key) or g.key.startswith(named)]


def _full(device: Device, wishes: Wishes, claims: Claims, promised: Mapping[str, int]) -> str:
    occupants = claims.occupants(device.key)
    room = min([wishes.per_device, *(claim.per_device for claim in occupants)])
    if len(occupants) + promised.get(device.key, 0) < room:
        return ""
    if len(occupants) < room:
        return f"waits for its turn on {_short(device)}"
    runs = ", ".join(sorted(claim.run for claim in occupants))
    return f"waits for {_short(device)}, where {runs} run{'s' * (len(occupants) == 1)}"


def _in_use(gpu: Device, wishes: Wishes, claims: Claims, told: bool) -> str:
    if wishes.min_free_memory:
        if not gpu.memory_total_mb:
            return f"{_short(gpu)} does not say how much of its memory is free"
        if gpu.memory_free_mb >= wishes.min_free_memory:
            return ""
        return (
            f"waits for {wishes.min_free_memory} MB free on {_short(gpu)}, "
            f"which has {gpu.memory_free_mb}"
        )
    if told:
        return ""
    occupants = claims.occupants(gpu.key)
    known = {who.pid for claim in occupants for who in claim.holders}
    others = [process for process in gpu.processes if process.pid not in known]
    if others and not (occupants and all(process.ours for process in others)):
        who = ", ".join(sorted({process.user for process in others}))
        return f"{_short(gpu)} is in use by {who} (--device gpu:{_name(gpu)} takes it anyway)"
    used = gpu.memory_total_mb - gpu.memory_free_mb
    if not occupants and not others and used > UNSEEN_MB:
        return (
            f"{_short(gpu)} has {used} MB in use by processes that can't be seen from here "
            f"(--device gpu:{_name(gpu)} takes it anyway)"
        )
    return ""


def _short(device: Device) -> str:
    if device.kind == "cpu":
        return "the CPU"
    part = f" ({device.key[:12]})" if device.key.startswith("MIG-") else ""
    return f"GPU {device.index}{part}"


def _name(gpu: Device) -> str:
    """What `--device gpu:` takes for this one."""
    return gpu.key if gpu.key.startswith("MIG-") else str(gpu.index)


@lru_cache(maxsize=1)
def _real_nvml() -> tuple[Any, str]:
    """pynvml, or None; and what a driver that is there has said instead of an answer."""
    try:
        import pynvml
    except ImportError:
        return None, ""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None, ""
    except Exception as error:  # after an update of the driver, for one, until the next boot
        return None, str(error).rstrip(".")
    return pynvml, ""


def _nvml(given: Any) -> Any:
    return given if given is not None else _real_nvml()[0]


def _gpus(given: Any) -> list[Device]:
    nvml = _nvml(given)
    if nvml is None:
        return []
    found = []
    for index in range(_ask(nvml.nvmlDeviceGetCount, default=0)):
        handle = _ask(nvml.nvmlDeviceGetHandleByIndex, index)
        for part in _parts(nvml, handle):
            if device := _device(nvml, index, part):
                found.append(device)
    return _visible(found)


def _parts(nvml: Any, handle: Any) -> list[Any]:
    """A GPU itself, or the instances it is divided into (MIG): CUDA takes only those then."""
    if not _ask(lambda: nvml.nvmlDeviceGetMigMode(handle)[0]):
        return [handle]
    most = _ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle, default=0)
    parts = (_ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i) for i in range(most))
    return [part for part in parts if part is not None]


def _device(nvml: Any, index: int, handle: Any) -> Device | None:
    """What NVML says of a GPU; None for one that fell off the bus, which answers nothing."""
    uuid = _text(_ask(nvml.nvmlDeviceGetUUID, handle, default=""))
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except Exception as error:
        if "NotSupported" not in type(error).__name__:
            return None
        memory = None  # one that shares the host's
    if handle is None or not uuid:
        return None
    rates = _ask(nvml.nvmlDeviceGetUtilizationRates, handle)
    running = _ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle, default=[])
    return Device(
        kind="gpu",
        key=uuid,
        name=_text(_ask(nvml.nvmlDeviceGetName, handle, default="GPU")),
        index=index,
        memory_total_mb=memory.total >> 20 if memory else 0,
        memory_free_mb=memory.free >> 20 if memory else 0,
        utilisation=rates.gpu if rates else 0,
        processes=tuple(_process(p.pid, p.usedGpuMemory) for p in running),
    )


def _visible(gpus: list[Device]) -> list[Device]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return gpus
    chosen = []
    for word in (word.strip() for word in given.split(",")):
        match = [g for g in gpus if word == str(g.index) or (word and g.key.startswith(word))]
        if not match:
            break  # CUDA, too, stops at the first word it does not know
        chosen.append(match[0])
    return chosen


def _process(pid: int, memory: int | None) -> Process:
    import pwd

    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return Process(pid, "somebody out of sight", (memory or 0) >> 20, ours=False)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    return Process(pid, user, (memory or 0) >> 20, ours=uid == os.geteuid())


def _ask(question: Callable[..., Any], *args: Any, default: Any = None) -> Any:
    try:
        return question(*args)
    except Exception:  # NVML's errors are per call and per GPU; one bad answer is not the end
        return default


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
