"""Trainers without the seconds of importing TensorFlow: forks of a process that has done it.

A supervisor that has runs to come starts one beside its first trainer
(`python -m tlui.trainer.forkserver`). What it forks are the supervisor's own children, gated as
all are, each a fresh process with nothing executed in it; so nothing else tells them apart from
trainers that were started by themselves, which is what happens wherever this one fails.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlui.runs.environment import importable, python
from tlui.scheduler.launch import Gated, Line, open_log

FORK_SECONDS = 10.0
LEAVING_SECONDS = 10.0
PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2): orphans among our descendants become our children."""


class Forkserver:
    """A process that forks trainers of this supervisor, once it is ready.

    Raises:
        OSError: No process, no log.
    """

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._ready = False
        output = open_log(log)
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                python("tlui.trainer.forkserver"),
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                env=importable(env),
                start_new_session=True,
            )
        except OSError:
            self._line.close()
            raise
        finally:
            theirs.close()
            os.close(output)
        self._line.settimeout(FORK_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether it has imported everything, and waits."""
        if not self._ready and select.select([self._line], [], [], 0)[0]:
            self._ready = self._line.recv(16) == b"ready"
        return self._ready

    def fork(
        self, arguments: Sequence[str], env: Mapping[str, str], log: Path, line: Line | None
    ) -> Gated:
        """A trainer that waits at its gate.

        Args:
            arguments: Of `python -m tlui.trainer`.
            env: All of its environment.
            log: Gets its output.
            line: Where it is offered further runs.

        Raises:
            OSError: No log, or the server is gone or does not answer.
        """
        request = json.dumps({"arguments": list(arguments), "env": dict(env)}).encode()
        output = open_log(log)
        wait_here, gate = os.pipe2(os.O_CLOEXEC)
        try:
            lines = [line.theirs.fileno()] if line is not None else []
            socket.send_fds(self._line, [request], [output, wait_here, *lines])
            answer = self._line.recv(32)
            if not answer.isdigit():
                raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        except OSError:
            os.close(gate)  # then whatever it forked ends
            raise
        finally:
            os.close(output)
            os.close(wait_here)
        if line is not None:
            line.theirs.close()
        return Gated(int(answer), gate)

    def close(self) -> None:
        """End it; its trainers stay."""
        self._line.close()
        try:
            self._process.wait(LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
