"""What a supervisor and its trainer say to each other: on the line between them, and by signals.

A trainer that finished a run and could take another says `DONE`; the supervisor answers with the
`NextRun`, or hangs up.
"""

from __future__ import annotations

import json
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Request = Literal["stop", "interrupt"]
NEXT = "TLUI_NEXT"
"""Environment variable with the number of a trainer's end, where it may get another run."""
COMING = "TLUI_COMING"
"""Environment variable with the ids of runs of a kind that wait: it may be handed them."""
DONE = b"done\n"
NEVER_STARTED = 127
"""Exit code of a trainer's process that came to an end before it became one."""
SIGNALS: dict[int, Request] = {
    signal.SIGINT: "stop",
    signal.SIGTERM: "interrupt",
    signal.SIGUSR1: "interrupt",
}
"""What each asks of a trainer; who starts one blocks them until it listens."""


@dataclass(frozen=True)
class NextRun:
    """The next run of a trainer."""

    folder: Path
    coming: list[str]
    """Ids of runs of its kind that wait after it."""

    def send(self, line: socket.socket) -> None:
        """Say it, whole.

        Raises:
            OSError: Nobody is there to hear it.
        """
        said = json.dumps([str(self.folder), self.coming]).encode() + b"\n"
        line.sendall(said, socket.MSG_NOSIGNAL)

    @classmethod
    def receive(cls, line: socket.socket) -> NextRun | None:
        """Wait for one; None where the other end hangs up.

        Raises:
            OSError: The line is broken.
        """
        told = b""
        while not told.endswith(b"\n"):
            part = line.recv(4096)
            if not part:
                return None
            told += part
        folder, coming = json.loads(told)
        return cls(Path(folder), coming)
