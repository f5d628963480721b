"""The real trainer under the real supervisor, driven through the real command line.

    run = detached(home, tmp_path, "--set", "phase.0.epochs=500")
    epoch_reached(run, 2)
    done = tlui("stop", run.id)

Trainings are a few seconds long: digits at 16 pixels, a small network from scratch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scheduler.bench import wait_for

from tlui.runs.directory import Home, RunDirectory
from tlui.runs.events import EventReader
from tlui.runs.history import load

ROOT = Path(__file__).parents[2]
SLOW_SECONDS = 120.0
PRESET = """
version = 1
name = "tiny"
dataset = { source = "digits", image_size = 16, classes = ["0", "1", "2"] }
backbone = { name = "SmallConvNet", weights = "none" }
evaluate = { splits = ["test"] }
[[phase]]
freeze = "none"
epochs = 4
lr = { policy = "constant", initial = 1e-3 }
"""
FOLDER_PRESET = """
version = 1
name = "photos"
dataset = { source = "folder", path = %s, image_size = 16, bad_images = "skip" }
backbone = { name = "SmallConvNet", weights = "none" }
evaluate = { splits = ["test"] }
[[phase]]
freeze = "none"
epochs = 1
lr = { policy = "constant", initial = 1e-3 }
"""


def tlui(
    *arguments: str | os.PathLike[str],
    before: Any = None,
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A `tlui` command as a person gives it, stdout and stderr read as text.

    Args:
        arguments: The command line.
        before: Called in the new process before tlui is; for limits.
        cwd: Where it is given.
        environment: Put over this process's.
    """
    return subprocess.run(
        [sys.executable, "-m", "tlui.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=SLOW_SECONDS,
        preexec_fn=before,
        cwd=cwd,
    )


def detached(home: Home, tmp_path: Path, *more: str, **environment: str) -> RunDirectory:
    """A run of `PRESET`, queued and started by `tlui run --detach`."""
    (tmp_path / "tiny.toml").write_text(PRESET)
    done = tlui("run", str(tmp_path / "tiny.toml"), "--detach", "--json", *more, **environment)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return home.run(next(r["id"] for r in records if r["type"] == "run"))


def epoch_reached(run: RunDirectory, epoch: int) -> None:
    wait_for(lambda: len(load(run).epochs) >= epoch, f"epoch {epoch}", SLOW_SECONDS)


def events(run: RunDirectory, type: str) -> list[dict[str, Any]]:
    return [e for e in EventReader(run.events).read_all() if e["type"] == type]


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_computed(pid: int, seconds: float) -> None:
    """Wait until a process has spent that much more CPU time: a wait that work ends, no clock."""
    start = cpu_seconds(pid)
    wait_for(lambda: cpu_seconds(pid) >= start + seconds, "work", SLOW_SECONDS)


@contextmanager
def small_disk(folder: Path, megabytes: int, files: int = 0) -> Iterator[Path]:
    """A disk of that size, and for so many files, at a folder; skips where none can be mounted."""
    limits = f"size={megabytes}m" + (f",nr_inodes={files}" if files else "")
    with _mounted(folder, "-t", "tmpfs", "-o", limits, "tmpfs"):
        yield folder


@contextmanager
def quota(folder: Path, megabytes: int) -> Iterator[Path]:
    """A folder on a roomy disk that may hold so much, root or not (btrfs counts for anybody)."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("no quota can be set here (needs btrfs-progs)")
    image = folder.with_name("image")
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    with _mounted(folder, "-o", "loop", str(image)):
        limited = folder / "limited"
        for words in (
            ("quota", "enable", folder),
            ("subvolume", "create", limited),
            ("qgroup", "limit", f"{megabytes}m", limited),
        ):
            subprocess.run(["btrfs", *map(str, words)], check=True, capture_output=True)
        yield limited


@contextmanager
def stalling_disk(folder: Path) -> Iterator[Path]:
    """A disk that stalls while `stalled`; skips where none can be mounted."""
    image = folder.with_name("image")
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    with _mounted(folder, "-o", "loop", str(image)):
        yield folder


@contextmanager
def stalled(disk: Path) -> Iterator[None]:
    """No write to that disk comes to an end, as on a network disk whose server is gone."""
    assert disk.is_mount()
    subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)


@contextmanager
def _mounted(folder: Path, *what: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", *what, str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path) -> Path:
    """Write until the disk is full; the file to delete for room."""
    filler = disk / "filler"
    for size in (1 << 20, 4096):
        with open(filler, "ab", buffering=0) as file:
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    return filler


def make_room(disk: Path) -> None:
    """Undo `fill`."""
    (disk / "filler").unlink()
    os.sync()  # a quota is given back with the next commit
