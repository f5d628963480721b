"""Staying with runs: what is shown, and what signals and a lost terminal do."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from scheduler.bench import Bench, kill, opened, wait_for

from tlui.cli.follow import Watched, follow
from tlui.cli.plain import JsonView
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.status import Observed, Status, write_status
from tlui.scheduler import order

DRIVER = str(Path(__file__).with_name("drive_follow.py"))
ROOT = Path(__file__).parents[2]
ESCAPE = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")


@pytest.fixture
def bench(home: Home) -> Iterator[Bench]:
    with opened(home) as found:
        yield found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


class Terminal:
    """A front end on a pseudo-terminal of its own, as its controlling terminal."""

    def __init__(self, bench: Bench, *names: str, view: str = "live", owned: bool = True) -> None:
        self.output = b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        role = "owned" if owned else "watching"
        self.process = subprocess.Popen(
            [sys.executable, DRIVER, str(bench.home.path), view, role, *names],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.set_blocking(self.master, False)

    def read(self) -> str:
        """All that was shown so far, escape sequences left out."""
        try:
            while data := os.read(self.master, 65536):
                self.output += data
        except OSError:
            pass
        return ESCAPE.sub(b"", self.output).decode()

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.read(), f"{text!r} in {self.read()!r}")

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait(self) -> int:
        wait_for(lambda: (self.read(), self.process.poll() is not None)[1], "the end")
        self.read()
        return self.process.returncode

    def hang_up(self) -> None:
        os.close(self.slave)
        os.close(self.master)


def only(bench: Bench, name: str) -> RunDirectory:
    found = wait_for(
        lambda: [run for run in bench.home if run.read_meta().get("name") == name], name
    )
    return found[0]


class TestOnATerminal:
    def test_shows_a_run_to_its_end_and_restores_the_terminal(self, bench: Bench) -> None:
        terminal = Terminal(bench, "wait")
        terminal.until("running")
        terminal.until("step")
        bench.go()
        assert terminal.wait() == 0
        shown = terminal.read()
        assert "finished" in shown and "accuracy" in shown and ".7000" in shown
        assert termios.tcgetattr(terminal.slave) == terminal.before
        assert terminal.output.count(b"\x1b[?25l") == terminal.output.count(b"\x1b[?25h")

    def test_ctrl_c_stops_evaluates_and_drops_the_rest(self, bench: Bench) -> None:
        terminal = Terminal(bench, "wait", "finish-2", "finish-3")
        terminal.until("step")
        terminal.press(b"\x03")
        assert terminal.wait() == 130
        shown = terminal.read()
        assert "stopping at the next step" in shown
        assert shown.count("was dropped from the queue") == 2
        assert bench.state(only(bench, "wait")) == "stopped"
        assert only(bench, "wait").read_result() is not None
        assert bench.state(only(bench, "finish-2")) == "stopped"
        assert len(bench.starts()) == 1

    def test_ctrl_c_twice_kills(self, bench: Bench) -> None:
        terminal = Terminal(bench, "deaf")
        terminal.until("step")
        run = only(bench, "deaf")
        _, trainer = bench.holders(run)
        terminal.press(b"\x03")
        terminal.until("stopping at the next step")
        terminal.press(b"\x03")
        assert terminal.wait() == 130
        assert not Path(f"/proc/{trainer}").exists()
        assert bench.state(run) == "interrupted"
        bench.quiet()

    def test_sigterm_interrupts_and_holds_the_rest(self, bench: Bench) -> None:
        terminal = Terminal(bench, "wait", "finish-2")
        terminal.until("step")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 130
        assert bench.state(only(bench, "wait")) == "interrupted"
        assert bench.state(only(bench, "finish-2")) == "queued"
        assert "held back" in terminal.read()

    def test_a_lost_terminal_leaves_runs_and_queue_going(self, bench: Bench) -> None:
        terminal = Terminal(bench, "wait", "finish-2")
        terminal.until("step")
        terminal.hang_up()
        terminal.process.wait(timeout=20)
        run, second = only(bench, "wait"), only(bench, "finish-2")
        assert bench.state(run) == "running"
        bench.go()
        bench.ended(run, second)
        assert [bench.state(run), bench.state(second)] == ["finished", "finished"]

    def test_a_killed_front_end_is_not_missed(self, bench: Bench) -> None:
        terminal = Terminal(bench, "wait", "finish-2")
        terminal.until("step")
        kill(terminal.process.pid)
        bench.go()
        bench.ended(only(bench, "wait"), only(bench, "finish-2"))
        assert bench.state(only(bench, "finish-2")) == "finished"

    def test_a_watcher_leaves_the_run_going(self, bench: Bench) -> None:
        run = bench.add("wait")
        bench.start()
        terminal = Terminal(bench, run.id, owned=False)
        terminal.until("step")
        terminal.press(b"\x03")
        assert terminal.wait() == 0
        assert bench.state(run) == "running"
        bench.go()
        bench.ended(run)


class TestWithoutATerminal:
    def run(self, bench: Bench, view: str, *names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, DRIVER, str(bench.home.path), view, "owned", *names],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_one_plain_line_an_epoch(self, bench: Bench) -> None:
        done = self.run(bench, "plain", "finish-1", "fail-2")
        assert done.returncode == 1, done.stderr
        assert "\x1b" not in done.stdout
        epochs = [
            line for line in done.stdout.splitlines() if "epoch" in line and "lr 1e-3" in line
        ]
        assert len(epochs) == 3 and "val_accuracy .8000" in epochs[-1]
        assert "ValueError: the stand-in was told to fail" in done.stdout
        assert re.search(r"accuracy +\.9000 +\.0\d+ +\.7000", done.stdout)

    @pytest.mark.parametrize(
        ("names", "code"),
        [
            (["finish"], 0),
            (["fail", "diverge"], 1),
            (["diverge", "finish"], 3),
            (["die"], 130),
        ],
    )
    def test_exit_codes(self, bench: Bench, names: list[str], code: int) -> None:
        assert self.run(bench, "plain", *names).returncode == code

    def test_json_lines(self, bench: Bench) -> None:
        done = self.run(bench, "json", "finish-1", "fail-2")
        records = [json.loads(line) for line in done.stdout.splitlines()]
        first, second = only(bench, "finish-1").id, only(bench, "fail-2").id
        epochs = [r for r in records if r["type"] == "epoch"]
        assert [(r["id"], r["epoch"]) for r in epochs] == [(first, 1), (first, 2), (first, 3)]
        ends = {r["id"]: r for r in records if r["type"] == "end"}
        assert ends[first]["state"] == "finished" and ends[first]["metrics"]["test_accuracy"] == 0.7
        assert ends[second]["state"] == "failed" and "ValueError" in ends[second]["reason"]
        last = {k: v for k, v in records[-1].items() if k != "t"}
        runs = {first: "finished", second: "failed"}
        assert last == {"type": "done", "exit_code": 1, "runs": runs}

    @pytest.mark.parametrize("view", ["plain", "json"])
    def test_why_nothing_goes_on_is_said_once(self, bench: Bench, view: str) -> None:
        other = bench.add("wait-other")
        bench.start()
        bench.running(other)
        command = [sys.executable, DRIVER, str(bench.home.path), view, "owned", "finish-1"]
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, text=True
        ) as front:
            assert front.stdout is not None
            lines = [next(line for line in front.stdout if "waits for" in line)]
            bench.go()
            lines += list(front.stdout)
        assert front.returncode == 0
        told = [line for line in lines if f"waits for the CPU, where {other.id} runs" in line]
        assert len(told) == 1 and only(bench, "finish-1").id in told[0]

    def test_a_run_that_is_not_in_the_queue_says_so(self, bench: Bench) -> None:
        run = bench.add("finish")
        order.remove(bench.home, run.id)
        command = [sys.executable, DRIVER, str(bench.home.path), "plain", "watching", run.id]
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, text=True
        ) as front:
            assert front.stdout is not None
            assert f"tlui resume {run.id} puts it there" in front.stdout.readline()
            front.send_signal(signal.SIGINT)
            assert "the runs go on" in front.stdout.read()
        assert front.returncode == 0

    def test_names_cannot_write_to_the_terminal(self, bench: Bench) -> None:
        done = self.run(bench, "plain", "finish\x1b[2J[red]x")
        assert "\x1b" not in done.stdout
        assert r"finish\x1b[2J[red]x" in done.stdout

    def test_a_child_of_an_interrupted_run_does_not_keep_anybody_waiting(
        self, bench: Bench
    ) -> None:
        parent = bench.add("die")
        child = bench.add("finish", parents=[parent.id])
        done = self.run(bench, "plain", parent.id, child.id)
        assert done.returncode == 130
        assert f"tlui resume {parent.id}" in done.stdout
        assert bench.state(child) == "queued"


@pytest.mark.parametrize("last_looked_at", ["parent", "child"])
def test_a_child_is_never_told_before_its_parent(bench: Bench, last_looked_at: str) -> None:
    """Both fail between a look at the one and a look at the other."""
    runs = [bench.add("parent"), bench.add("child")]
    looks: list[str] = []
    told: list[str] = []

    class Looked(RunDirectory):
        def observe(self, now: float | None = None) -> Observed:
            name = self.read_meta()["name"]
            seen = super().observe(now)
            looks.append(name)
            if looks.count(name) == 2 and name == last_looked_at:  # the first before the rounds
                for run in runs:
                    write_status(run.status, Status("failed"))
                    order.remove(bench.home, run.id)
            return seen

    class Ends(JsonView):
        def ended(self, one: Watched) -> None:
            told.append(one.name)

    for run in runs:
        order.hold(bench.home, run.id)
    assert follow(bench.home, [Looked(run.path) for run in runs], Ends()) == 1
    assert told == ["parent", "child"]
