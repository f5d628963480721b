"""A disk without file locks: it is named with the way out, and what needs none goes on.

No such disk can be mounted everywhere, so the kernel is told to refuse flock to one process and its
children, as it does for files of such a disk.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
from functools import partial

import pytest
from faults.real import PRESET, events, tlui
from scheduler.bench import Bench

from tlui.scheduler import order
from tlui.tui.screens.new import make_runs

FLOCK = {"x86_64": 73, "aarch64": 32}.get(os.uname().machine)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x0005_0000, 0x7FFF_0000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2


def refuse_flock(error: int) -> None:
    """A seccomp filter: from now on flock fails with this error."""
    steps = ((LOAD, 0, 0, 0), (EQUAL, 0, 1, FLOCK), (RETURN, 0, 0, ERRNO | error))
    code = b"".join(struct.pack("HBBI", *step) for step in (*steps, (RETURN, 0, 0, ALLOW)))
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(steps) + 1, ctypes.addressof(kept))
    libc = ctypes.CDLL(None)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, program, 0, 0):
        raise OSError("no filter can be set")


@pytest.fixture(autouse=True)
def _possible() -> None:
    if FLOCK is None:
        pytest.skip(f"flock's number on {os.uname().machine} is not known")
    try:
        subprocess.run(["true"], preexec_fn=partial(refuse_flock, errno.ENOLCK), check=True)
    except subprocess.SubprocessError:
        pytest.skip("no seccomp filter can be set here")


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_home_without_locks_is_named(bench: Bench, error: int) -> None:
    preset = bench.home.path.with_name("tiny.toml")
    preset.write_text(PRESET)
    without = partial(tlui, before=partial(refuse_flock, error))
    words = f"gives no file locks ({os.strerror(error)})"
    for command in (["run"], ["run", "--detach"], ["queue", "add"]):
        done = without(*command, preset)
        assert done.returncode == 1 and words in done.stderr, done
        assert str(bench.home.path) in done.stderr and "$TLUI_HOME" in done.stderr
    assert list(bench.home.runs.iterdir()) == [] and order.entries(bench.home) == []
    assert words in without("doctor").stdout
    run = bench.add("finish")
    for command in (["queue", "drop", run.id], ["stop", run.id]):
        done = without(*command)
        assert done.returncode == 1 and words in done.stderr, done
    done = without("queue")
    assert words in done.stderr and run.id in done.stdout
    assert run.id in without("ls").stdout
    assert bench.start() == [run.id]
    bench.ended(run)


def test_a_cache_without_locks_is_named_and_done_without(bench: Bench) -> None:
    [made], _ = make_runs(bench.home, PRESET, (), "cpu", start=False)
    run = bench.home.run(made)
    refuse = partial(refuse_flock, errno.ENOLCK)
    train = [sys.executable, "-m", "tlui.trainer", str(run.path)]
    done = subprocess.run(train, preexec_fn=refuse, capture_output=True, text=True)
    assert done.returncode == 0 and bench.state(run) == "finished", done
    said = [event["message"] for event in events(run, "log")]
    assert any("anew" in line and "gives no file locks" in line for line in said), said
    done = tlui("cache", "rm", "--all", before=refuse)
    assert done.returncode == 1 and "choose another $TLUI_CACHE" in done.stderr, done
