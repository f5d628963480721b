"""Front ends that vanish while a run trains: nobody misses them, and a new one shows it all."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from faults.real import ROOT
from scheduler.bench import Bench, wait_for

from tlui.runs.directory import RunDirectory
from tlui.runs.history import load

ESCAPE = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-B]|[=>78])")
ENDS = ("kill", "hang up", "close", "terminate")


class FrontEnd:
    """A `tlui` command on a pseudo-terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.set_blocking(self.master, False)
        self.output = b""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tlui.cli.main", *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def drain(self) -> None:
        """Take what it has written; a terminal nobody reads would hold it up."""
        try:
            while data := os.read(self.master, 65536):
                self.output += data
        except OSError:
            pass

    def shows(self, pattern: str) -> bool:
        """Whether it has shown such a text at any time."""
        self.drain()
        shown = ESCAPE.sub(b"", self.output).decode(errors="replace")
        return re.search(pattern, shown) is not None

    def until(self, pattern: str) -> float:
        """Seconds from its start until it shows such a text."""
        wait_for(lambda: self.shows(pattern), f"{pattern!r} in {self.output[-3000:]!r}", 60)
        return time.monotonic() - self.began

    def end(self, how: str) -> None:
        if how == "kill":
            self.process.kill()
        elif how == "hang up":
            self.process.send_signal(signal.SIGHUP)
        elif how == "terminate" and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        os.close(self.slave)
        os.close(self.master)  # closed pty: what a lost SSH connection leaves
        self.process.wait(timeout=60)


def missing_points(run: RunDirectory) -> int:
    steps = [int(step) for step in load(run).steps.x]
    return len(set(range(1, steps[-1] + 1)) - set(steps))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "times", [pytest.param(5, id="5"), pytest.param(50, id="50", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("what", ["app", "watch"])
def test_ended_in_every_way(bench: Bench, what: str, times: int) -> None:
    chance = random.Random(what)
    run, second = bench.add("wait"), bench.add("finish")
    bench.start()
    bench.running(run)
    holders = bench.holders(run)
    arguments = ("watch", run.id) if what == "watch" else ()
    attached = []
    for number in range(times):
        front = FrontEnd(*arguments)
        attached.append(front.until("running"))
        time.sleep(chance.uniform(0, 0.3))  # a random instant, not a synchronisation
        front.end(ENDS[number % len(ENDS)])
        assert bench.state(run) == "running"
        assert bench.holders(run) == holders
    bench.go()
    bench.ended(run, second)
    assert [bench.state(run), bench.state(second)] == ["finished", "finished"]
    missing = missing_points(run)
    attached.sort()
    print(
        f"\n{times} times {what} lost: attached after {attached[len(attached) // 2]:.2f} s "
        f"(median), {attached[-1]:.2f} s at worst, {missing} points missing, the queue went on"
    )
    assert missing == 0 and bench.starts() == [run.id, second.id]
