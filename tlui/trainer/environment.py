"""The machine under a run: device, threads, seeds, precision; and env.json that records it.

Everything here happens before the first tensor exists, which is when TensorFlow lets itself be
configured.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from tlui import __version__
from tlui.data.parallel import cpus
from tlui.errors import TluiError
from tlui.recipe.schema import Experiment
from tlui.trainer.callers import threads_inside

PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "scikit-learn",
    "h5py",
    "nvidia-cudnn-cu12",
    "nvidia-cublas-cu12",
)


@dataclass(frozen=True)
class Devices:
    """What a run trains on."""

    label: str
    """`cpu`, or the GPUs by name; `2 x …` where there are several."""
    gpu: bool
    strategy: Any = None
    """tf.distribute strategy over several devices; None for one."""


def prepare_devices(wanted: int, callers: bool = False) -> Devices:
    """Set up `wanted` devices: the visible GPUs with memory growth, or the CPU.

    Args:
        callers: Nearly all the work is a forward pass by `callers.Callers`: on the CPU their
            threads take the place of TensorFlow's own.

    Without a GPU, several devices are logical ones on the CPU: slower, but the same code path.

    Raises:
        TluiError: Fewer GPUs are visible than wanted.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        if wanted > len(gpus):
            raise TluiError(
                f"train.devices = {wanted}, but {len(gpus)} GPU(s) are visible here; "
                f"ask for {len(gpus)} or give the run more GPUs"
            )
        for i in range(wanted):  # this process may have trained other runs
            tf.config.experimental.reset_memory_stats(f"GPU:{i}")
        names = [_gpu_name(gpu) for gpu in gpus[:wanted]]
        label = names[0] if wanted == 1 else f"{wanted} x {names[0]}"
        used = [f"GPU:{i}" for i in range(wanted)]
    else:
        label = "cpu" if wanted == 1 else f"{wanted} x cpu"
        used = [f"CPU:{i}" for i in range(wanted)]
        if callers and wanted == 1:
            _share_out_less()
        if wanted > 1:
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration() for _ in range(wanted)],
            )
    strategy = tf.distribute.MirroredStrategy(used) if wanted > 1 else None
    return Devices(label, bool(gpus), strategy)


def _share_out_less() -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads_inside())
    except RuntimeError:
        pass  # TensorFlow has run something in this process: it keeps the threads it has


def _gpu_name(gpu: Any) -> str:
    details = tf.config.experimental.get_device_details(gpu)
    return str(details.get("device_name") or "gpu")


def versions() -> dict[str, str]:
    """Versions of Python, tlui and what its numbers depend on."""
    found = {"python": platform.python_version(), "tlui": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


PROCESSOR = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
)  # fmt: skip
"""Fields of /proc/cpuinfo that tell kinds of CPU apart, on x86 and ARM."""
ROUNDING = ("ONEDNN_", "DNNL_", "TF_", "XLA_", "CUDNN_", "CUBLAS_", "NVIDIA_TF32_")
"""Beginnings of variables that change which kernels are taken, and so the last digits."""
NOT_ROUNDING = ("TF_CPP_", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR")


def arithmetic() -> dict[str, Any]:
    """What decides, beside versions and device, how kernels round on this machine.

    Kernels are chosen by the CPU's instructions (oneDNN), blocks by its caches (Eigen); with
    ONEDNN_MAX_CPU_ISA=SSE41 MobileNetV2 gives other last digits. Machines that agree in all of
    this compute the same bits, whatever their names.
    """
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else None,
        "cpus": cpus(),
        "processor": {},
        "caches": [],
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(ROUNDING) and not name.startswith(NOT_ROUNDING)
        },
    }
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines():
            field, _, value = line.partition(":")
            if field.strip() in PROCESSOR:
                found["processor"][field.strip()] = value.strip()
    with suppress(OSError):
        sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
        found["caches"] = [size.read_text().strip() for size in sizes]
    return found


def describe(
    experiment: Experiment, devices: Devices, fingerprint: str, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """The contents of env.json.

    Args:
        meta: What run.json says: this process may run anywhere, and long after the run was made.
    """
    build = tf.sysconfig.get_build_info()
    return {
        "version": 1,
        "versions": versions(),
        "cuda": {k: build[k] for k in ("cuda_version", "cudnn_version") if k in build},
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": cpus(),
        "device": devices.label,
        "devices": experiment.train.devices,
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "git_commit": meta.get("git_commit"),
        "command": [sys.executable, *sys.argv],
        "folder": meta.get("folder"),
        "seed": experiment.train.seed,
        "dataset_fingerprint": fingerprint,
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
    }


def peak_memory() -> dict[str, float | None]:
    """Peak memory of this process in MB, on the host and on the GPUs (None without one)."""
    import resource

    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gpus = len(tf.config.list_physical_devices("GPU"))
    used = [tf.config.experimental.get_memory_info(f"GPU:{i}")["peak"] for i in range(gpus)]
    return {
        "peak_memory_mb": round(host, 1),
        "peak_gpu_memory_mb": round(sum(used) / 2**20, 1) if used else None,
    }
