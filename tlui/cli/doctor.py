"""`tlui doctor`: whether this machine can do what tlui needs, and what to do where it can't."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from tlui.cli.options import HomeOption, JsonOption

Verdict = Literal["ok", "warn", "fail"]
LITTLE_MB = 5_000
NOTHING_MB = 500
IMPORT_SECONDS = 180


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    what: str
    says: str
    way_out: str = ""


def doctor(
    full: Annotated[
        bool, typer.Option("--full", help="Start TensorFlow too, and ask it for its devices.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    """Check Python, TensorFlow, CUDA, GPUs, the weights cache, the home and the disk.

    Exit code 1 where something fails that training needs.
    """
    from tlui.runs.text import printable

    failed = False
    for finding in examine(home, full):
        failed = failed or finding.verdict == "fail"
        if json:
            from dataclasses import asdict

            from tlui.cli.terminal import print_json_line

            print_json_line(asdict(finding))
            continue
        print(f"{finding.verdict:4}  {finding.what:13}  {printable(finding.says)}", flush=True)
        if finding.way_out:
            print(f"{'':21}{printable(finding.way_out)}")
    return 1 if failed else 0


def examine(home: Path | None, full: bool = False) -> Iterator[Finding]:
    """Every finding, as it is found."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _tensorflow,
        _gpus,
        _cuda,
        _weights,
        _configuration,
        lambda: _home(home),
        _slurm,
    ]
    if full:
        checks.insert(2, _started)
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("ok", "Python", f"{version} at {sys.executable}")
    else:
        yield Finding("fail", "Python", version, "tlui needs Python 3.11, 3.12 or 3.13")


def _tensorflow() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for package in ("tensorflow", "tensorflow-cpu"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        keras = version("keras")
        verdict: Verdict = "ok" if (2, 20) <= _numbers(found) < (2, 22) else "warn"
        way_out = "" if verdict == "ok" else "tlui was tested with TensorFlow 2.20 and 2.21"
        yield Finding(verdict, "TensorFlow", f"{found}, Keras {keras}", way_out)
        return
    yield Finding("fail", "TensorFlow", "not installed", "pip install tensorflow")


def _started() -> Iterator[Finding]:
    import subprocess

    script = (
        "import tensorflow as tf; print(tf.__version__, "
        "*[d.name for d in tf.config.list_physical_devices()])"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", script],
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    except subprocess.TimeoutExpired:
        yield Finding("fail", "import", f"no answer in {IMPORT_SECONDS} s", "is the disk slow?")
        return
    if done.returncode == 0:
        yield Finding("ok", "import", f"TensorFlow {done.stdout.strip()}")
        return
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    yield Finding("fail", "import", lines[-1], "pip install --force-reinstall tensorflow")


def _gpus() -> Iterator[Finding]:
    from tlui.runs.format import memory
    from tlui.scheduler.devices import list_devices, no_gpu_reason

    gpus = [device for device in list_devices() if device.kind == "gpu"]
    if not gpus:
        yield Finding("warn", "GPU", no_gpu_reason(), "runs train on the CPU")
    for gpu in gpus:
        users = sorted({process.user for process in gpu.processes})
        used = f", used by {', '.join(users)}" if users else ""
        free = f"{memory(gpu.memory_free_mb)} of {memory(gpu.memory_total_mb)} free"
        yield Finding("ok", f"GPU {gpu.index}", f"{gpu.name}, {free}, {gpu.utilisation}%{used}")


def _cuda() -> Iterator[Finding]:
    from importlib.metadata import distributions

    from tlui.scheduler.devices import no_gpu_reason

    if no_gpu_reason():
        return
    names = {str(found.metadata["Name"]).lower() for found in distributions()}
    wheels = sorted(n for n in names if n.startswith(("nvidia-cudnn", "nvidia-cuda-runtime")))
    if wheels:
        yield Finding("ok", "CUDA", ", ".join(wheels))
        return
    import ctypes.util

    missing = [name for name in ("cudart", "cudnn") if ctypes.util.find_library(name) is None]
    if missing:
        yield Finding(
            "warn", "CUDA", f"{', '.join(missing)} not found", "pip install 'tensorflow[and-cuda]'"
        )
    else:
        yield Finding("ok", "CUDA", "libraries of the system")


def _weights() -> Iterator[Finding]:
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    try:
        count = sum(1 for path in folder.iterdir() if path.suffix in (".h5", ".keras"))
    except OSError:
        count = 0
    if count:
        yield Finding("ok", "weights", f"{count} files in {folder}")
    else:
        yield Finding(
            "warn",
            "weights",
            f"no ImageNet weights in {folder}",
            "they are downloaded when first needed; tlui weights pull NAME fetches some now",
        )


def _configuration() -> Iterator[Finding]:
    from tlui.errors import PresetError
    from tlui.recipe.config import config_path, load_config

    path = config_path()
    try:
        load_config()
    except PresetError as error:
        for problem in error.problems:
            yield Finding("fail", "config", problem)
        return
    yield Finding("ok", "config", str(path) if path.exists() else f"none ({path})")


def _home(given: Path | None) -> Iterator[Finding]:
    import shutil
    import tempfile

    from tlui.errors import TluiError
    from tlui.runs.directory import Home
    from tlui.runs.format import memory
    from tlui.scheduler.claims import Claims

    try:
        home = Home.at(given)
        with tempfile.TemporaryFile(dir=home.runs):
            pass
        with Claims(home).holding("00000000"):
            pass
    except TluiError as error:
        yield Finding("fail", "home", str(error))
        return
    except OSError as error:
        says = f"{given or ''} cannot be written ({error.strerror})"
        yield Finding("fail", "home", says, "choose another with --home or $TLUI_HOME")
        return
    private = home.path.stat().st_mode & 0o077 == 0
    if private:
        yield Finding("ok", "home", f"{home.path}, private, locks work")
    else:
        says = f"{home.path} can be entered by others"
        yield Finding("warn", "home", says, f"chmod 700 {home.path}")
    free = shutil.disk_usage(home.path).free >> 20
    says = f"{memory(free)} free at {home.path}"
    if free < NOTHING_MB:
        yield Finding("fail", "disk", says, "free some space: checkpoints will not fit")
    elif free < LITTLE_MB:
        yield Finding("warn", "disk", says, "tlui rm removes runs that are no longer needed")
    else:
        yield Finding("ok", "disk", says)


def _slurm() -> Iterator[Finding]:
    import shutil

    found = shutil.which("sbatch")
    if found:
        yield Finding("ok", "Slurm", f"{found} (--on slurm)")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
