"""Memory that runs out under the real trainer: the run says so with advice, the queue goes on."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.real import PRESET, tlui
from scheduler.bench import Bench, wait_for

from tlui.runs.status import read_status

HUGE = "head.hidden=[2000000000]"
"""A layer whose weights are larger than any machine's memory."""
ADDRESSES = 5 << 30
"""Address space in bytes that is enough for TensorFlow and not for `LARGE`."""
LARGE = ("--set", "dataset.image_size=512", "--set", "train.batch_size=256")
GROUP_MB = 300
"""Less than TensorFlow needs to be imported."""


def test_an_allocation_that_fails(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "huge.toml").write_text(PRESET)
    (tmp_path / "tiny.toml").write_text(PRESET.replace("epochs = 4", "epochs = 1"))
    done = tlui("run", tmp_path / "huge.toml", "--set", HUGE, "--name", "huge", "--detach")
    assert done.returncode == 0, done.stderr
    done = tlui("run", tmp_path / "tiny.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    by_name = {run.read_meta()["name"]: run for run in bench.home}
    status = read_status(by_name["huge"].status)
    assert status is not None and status.state == "failed", status
    assert "out of memory" in status.reason, status
    assert "batch_size" in status.advice and "mixed_precision" in status.advice
    assert bench.state(by_name["tiny"]) == "finished", "the queue goes on"


@pytest.mark.slow
def test_a_crash_for_want_of_address_space(bench: Bench, tmp_path: Path) -> None:
    """Under `ulimit -v` TensorFlow dies of SIGSEGV or SIGABRT without a word, or says so."""
    (tmp_path / "tiny.toml").write_text(PRESET)

    def less() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))

    done = tlui("run", tmp_path / "tiny.toml", *LARGE, before=less)
    (run,) = bench.home
    status = read_status(run.status)
    print(f"\n{ADDRESSES >> 20} MB of address space: {done.returncode}, {status}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert status is not None and status.state == "failed"
    assert "out of memory" in status.reason + status.advice
    bench.quiet()


@contextmanager
def memory_group(megabytes: int) -> Iterator[Path]:
    """A cgroup whose processes may take that much; skips where none can be made."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (old if old.is_dir() else new) / f"tlui-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here ({error.strerror})")
    try:
        try:
            (group / limit).write_text(str(megabytes << 20))
        except OSError as error:
            pytest.skip(f"cgroups do not limit memory here ({error.strerror})")
        yield group
    finally:
        group.rmdir()


def test_the_kernel_kills(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(PRESET)
    with memory_group(GROUP_MB) as group:

        def enter() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        done = tlui("run", tmp_path / "tiny.toml", before=enter)
        wait_for(lambda: not (group / "cgroup.procs").read_text().strip(), "an empty group")
    assert done.returncode == 1, done.stdout + done.stderr
    (run,) = bench.home
    status = read_status(run.status)
    assert status is not None and status.state == "failed", status
    assert "out of memory" in status.reason and "batch_size" in status.advice
    bench.quiet()
