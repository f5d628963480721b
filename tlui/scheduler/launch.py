"""Starting a trainer so that it never runs unrecorded.

The child is forked, given its own session and made to wait at a gate, a pipe, until its parent
has written down who it is. A parent that dies before that closes the gate, and the child ends
without having trained; so a run whose status names no trainer has none.

Its signals wait at a gate, too, which it opens itself: one that came while Python starts and
imports could be lost there, or pass for another error.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlui.runs.files import FILE_MODE
from tlui.runs.line import DONE, NEVER_STARTED, NEXT, SIGNALS, NextRun
from tlui.scheduler.claims import CPU

SHORTAGES = {
    errno.EAGAIN: "you may have no more processes (ulimit -u); end some",
    errno.ENOMEM: "there is no memory for another process; end some",
    errno.EMFILE: "you may have no more files open (ulimit -n); raise that",
    errno.ENFILE: "the host can open no more files; end some processes",
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your quota is used up; free some space",
}


def shortage(error: OSError) -> str:
    """What this host lacks to start any process, and the way out; empty where it lacks nothing."""
    lacking = SHORTAGES.get(error.errno or 0, "")
    if not lacking and error.filename == sys.executable:
        lacking = f"{error.filename}: {error.strerror}; install tlui again"
    return f"no process can be started: {lacking}, then tlui queue goes on" if lacking else ""


def environment(keys: Sequence[str], label: str, given: Mapping[str, str]) -> dict[str, str]:
    """A trainer's environment: the devices it may see, by UUID, and TensorFlow's manners.

    Without keys they are those of `given`: a cluster chose them.
    """
    env = dict(given)
    gpus = [key for key in keys if key != CPU]
    if keys:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus) or "-1"
    env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    env["TLUI_DEVICE"] = label
    env["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    env["PYTHONUNBUFFERED"] = "1"
    return env


class Line:
    """A socket between a supervisor and its trainer: `done` one way, the next run the other."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def is_done(self) -> bool:
        """Whether the trainer has just said so; False where it hung up."""
        try:
            return self.ours.recv(len(DONE), socket.MSG_DONTWAIT) == DONE
        except OSError:
            return False

    def send(self, run: NextRun) -> bool:
        """Hand the trainer another run, which must be recorded as its own; False if it is gone."""
        try:
            run.send(self.ours)
        except OSError:
            return False
        return True


class Gated:
    """A child that waits at its gate; `pid` and its start time are already final."""

    def __init__(self, pid: int, gate: int) -> None:
        self.pid = pid
        self._gate = gate

    def go(self) -> None:
        """Open the gate; a child killed while it waited there is found dead as any other."""
        try:
            os.write(self._gate, b"g")
        except BrokenPipeError:
            pass
        os.close(self._gate)


def spawn(
    argv: Sequence[str], env: Mapping[str, str], log: Path, line: Line | None = None
) -> Gated:
    """Fork a child that will become `argv`, with `log` as its output.

    Raises:
        OSError: No log, no process.
    """
    output = open_log(log)
    wait_here, gate = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        for handle in (output, wait_here, gate):
            os.close(handle)
        raise
    if pid == 0:
        try:
            os.setsid()
            os.close(gate)
            for number in (*SIGNALS, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, SIGNALS)
            env = dict(env)
            if line is not None:
                line.theirs.set_inheritable(True)
                env[NEXT] = str(line.theirs.fileno())
            if os.read(wait_here, 1) == b"g":
                empty = os.open(os.devnull, os.O_RDONLY)
                os.dup2(empty, 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.execve(argv[0], list(argv), env)
        except OSError as error:
            os.write(output, f"{argv[0]}: cannot be started ({error.strerror})\n".encode())
        finally:
            os._exit(NEVER_STARTED)
    os.close(wait_here)
    os.close(output)
    if line is not None:
        line.theirs.close()
    return Gated(pid, gate)


def open_log(log: Path) -> int:
    """A trainer's log, to append to.

    Raises:
        OSError: It cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(log, flags, FILE_MODE)
