"""tlui on a pty, and every byte it wrote."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping

LOCALE = ("LC_ALL", "LC_CTYPE", "LANG", "TMUX", "STY", "TLUI_ASCII")


class RawTerminal:
    """A command on a terminal of its own; use as a context manager."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], size: tuple[int, int] = (100, 30)
    ) -> None:
        """Start `tlui ARGUMENTS` with none of the variables of `LOCALE` but those of `env`."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        given = {k: v for k, v in os.environ.items() if k not in LOCALE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tlui.cli.main", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"TERM": "xterm-256color", **given, **env},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that ^C interrupts it
        )
        os.close(slave)
        self.seen = b""

    def __enter__(self) -> RawTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait(self, text: bytes, seconds: float = 60) -> None:
        """Read until `text` has come since the last wait; fails when it does not."""
        start = len(self.seen)
        end = time.monotonic() + seconds
        while text not in self.seen[start:]:
            assert self._read() and time.monotonic() < end, (text, self.seen[-3000:])

    def all(self, seconds: float = 60) -> bytes:
        """Everything it wrote until it ended."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.seen[-3000:]
        return self.seen

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 30)
        assert ready, self.seen[-3000:]
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # the last process on it has ended
            return False
        self.seen += data
        return bool(data)
