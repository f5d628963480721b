"""What a terminal gets first: the home screen whole, not an empty one that fills up."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import sys
import time
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

from tlui.runs.directory import Home

START = "import sys; sys.stdin.readline(); from tlui.cli.main import main; main([])"
HOME_POSITION = "\x1b[1;1H"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_first_frame_is_the_home_screen(home: Home, width: int, height: int) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        # in full: readline may have set COLUMNS behind the back of os.environ
        environment = {**os.environ, "TLUI_HOME": str(home.path)}
        os.execve(sys.executable, [sys.executable, "-c", START], environment)
    try:
        ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.write(terminal, b"\n")
        painted = _painted(terminal, f"\x1b[{height};1H")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    lines = re.split(r"\x1b\[\d+;1H", re.sub(r"\x1b\[[\d;]*m", "", painted))
    assert lines[0].startswith(" tlui  runs")
    assert "newest first" in lines[1]
    assert "backbone" in lines[2]
    assert lines[4].startswith("  reading the runs …")
    assert lines[height - 1].startswith(" enter open  n new")


def _painted(terminal: int, last: str) -> str:
    """What is written from the first line of the first frame until its last line is there."""
    seen, end = "", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="ignore")
        frame = seen.partition(HOME_POSITION)[2]
        if " help" in frame.partition(last)[2]:
            return frame
    raise AssertionError(f"no frame within 30 s: {seen[-300:]!r}")
