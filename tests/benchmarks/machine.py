"""What benchmarks have in common: the machine they ran on, compiled modules, Keras's folder."""

from __future__ import annotations

import compileall
import os
import platform
import re
import shutil
from importlib import metadata
from pathlib import Path


def machine(*packages: str) -> str:
    """One phrase: CPUs, their model, Python and the versions of what numbers depend on."""
    versions = {}
    for name in (*packages, "tensorflow", "tensorflow-cpu", "keras", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    cpu = model[1] if model else platform.processor() or platform.machine()
    return f"{os.cpu_count()} x {cpu}, Python {platform.python_version()}, {found};"


def realdata() -> Path:
    """The folder of real photos and weights."""
    given = os.environ.get("TLUI_REALDATA")
    if not given:
        raise SystemExit("set TLUI_REALDATA to the folder of real photos and weights")
    return Path(given).resolve()


def compile_modules() -> None:
    """Compile tlui's modules, as an installation does; a source tree may lack that."""
    compileall.compile_dir(Path(__file__).resolve().parents[2] / "tlui", quiet=1)


def copy_weights(scratch: Path) -> Path:
    """A copy of the ImageNet weights, to be used as KERAS_HOME: Keras writes there."""
    return shutil.copytree(realdata() / "weights" / "keras_home", scratch / "keras")
