"""Word of an ended run: a real command, a real web server."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.test_front_ends import ESCAPE, FrontEnd
from scheduler.bench import Bench, kill, wait_for
from scheduler.test_slurm_node import Trial, ends, made

from tlui.runs.directory import Home
from tlui.runs.environment import importable
from tlui.runs.status import Status, write_status
from tlui.scheduler import control
from tlui.scheduler.supervisor import Orders

SCRIPT = """
import os, sys
with open(sys.argv[1], "a") as file:
    file.write("|".join(os.environ[k] for k in
        ("TLUI_EVENT", "TLUI_STATE", "TLUI_MESSAGE")) + "\\n")
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A file that gets a line for each notification by command."""
    script, told = tmp_path / "tell.py", tmp_path / "told"
    script.write_text(SCRIPT)
    config = {"command": [sys.executable, str(script), str(told)]}
    text = f"[notify]\ncommand = {json.dumps(config['command'])}\n"
    (tmp_path / "config.toml").write_text(text)
    return told


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[list[dict[str, str]]]:
    """What a web server was sent."""
    got: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/x"
    (tmp_path / "config.toml").write_text(f'[notify]\nwebhook = "{url}"\n')
    yield got
    server.shutdown()


def lines_of(told: Path, count: int) -> list[str] | None:
    """The lines once there are so many, no sooner."""
    lines = told.read_text().splitlines() if told.exists() else []
    return lines if len(lines) >= count else None


def test_a_command_hears_of_each_run_and_of_the_queues_end(bench: Bench, told: Path) -> None:
    first, second = bench.add("finish;touch x"), bench.add("wait")
    bench.start()
    wait_for(lambda: lines_of(told, 1), "a line")
    bench.running(second)
    bench.go()
    assert wait_for(lambda: lines_of(told, 3), "three lines") == [
        f"run|finished|tlui: finish;touch x ({first.id}) finished",
        f"run|finished|tlui: wait ({second.id}) finished",
        "queue||tlui: the queue is done",
    ]


def test_children_of_a_failed_parent_are_told_after_it(bench: Bench, told: Path) -> None:
    parent = bench.add("fail")
    children = [bench.add(f"child-{i}", parents=[parent.id]) for i in range(3)]
    bench.start()
    lines = wait_for(lambda: lines_of(told, 5), "five lines")
    why = f"cannot start: fail ({parent.id}) failed: ValueError: the stand-in was told to fail"
    assert lines == [
        f"run|failed|tlui: fail ({parent.id}) failed: ValueError: the stand-in was told to fail",
        *(f"run|failed|tlui: child-{i} ({c.id}) failed: {why}" for i, c in enumerate(children)),
        "queue||tlui: the queue is done",
    ]


def test_a_front_end_tells_what_nobody_supervised(bench: Bench, told: Path) -> None:
    """Without waiting for it, be it a whole lab."""
    parent = bench.add("gone")
    lab = [bench.add(f"orphan-{i}-{'x' * 200}", parents=[parent.id]) for i in range(200)]
    control.delete(bench.home, parent)
    bench.start()
    assert not lines_of(told, len(lab))
    lines = wait_for(lambda: lines_of(told, len(lab) + 1), "a line for each and the queue's")
    assert all(f"{parent.id} no longer exists" in line for line in lines[:-1])
    assert lines[-1] == "queue||tlui: the queue is done"


def test_a_run_lost_with_its_supervisor_is_told_by_who_finds_it(bench: Bench, told: Path) -> None:
    run = bench.add("wait")
    bench.start()
    bench.running(run)
    for pid in bench.holders(run):
        kill(pid)
    assert not told.exists()
    bench.start()
    lines = wait_for(lambda: lines_of(told, 2), "two lines")
    assert lines[0].startswith("run|interrupted|") and "are gone" in lines[0]


class TestCluster:
    """The end of a job takes all its processes along: it sends before that."""

    def test_a_child_that_cannot_start(self, home: Home, told: Path) -> None:
        parent = home.create("", {"name": "parent", "config": {}})
        write_status(parent.status, Status("failed", reason="no data"))
        run = made(home, parents=[parent.id])
        Trial(home, run, ends("finished")).work()
        lines = told.read_text().splitlines()
        assert lines[0].startswith(f"run|failed|tlui: r ({run.id}) failed: cannot start: parent")
        assert lines[1:] == ["queue||tlui: the queue is done"]

    def test_a_time_limit_is_no_end(self, home: Home, told: Path) -> None:
        run = made(home)
        limit = ends("interrupted", signal.SIGUSR1, epoch=1, step=3)
        Trial(home, run, limit).work()
        assert run.observe().state == "queued" and not told.exists()
        Trial(home, run, limit, SLURM_RESTART_COUNT="1").work()
        assert "interrupted: two time limits in a row" in told.read_text()

    def test_a_supervisor_leaves_it_to_the_job_after_a_shutdown(
        self, bench: Bench, told: Path
    ) -> None:
        orders = Orders(devices=(), trainer=bench.trainer).to_json()
        words = [sys.executable, "-P", "-m", "tlui.scheduler.supervisor", str(bench.home.path)]
        for name, number in (("wait-1", signal.SIGINT), ("wait-2", signal.SIGUSR1)):
            run = bench.add(name)
            process = subprocess.Popen([*words, run.id, orders], env=importable(os.environ))
            bench.running(run)
            process.send_signal(number)
            assert process.wait(60) == 0
        assert "wait-1" in told.read_text() and "wait-2" not in told.read_text()


def test_a_webhook_gets_json(bench: Bench, hook: list[dict[str, str]]) -> None:
    run = bench.add("finish")
    bench.start()
    wait_for(lambda: len(hook) == 2, "two messages")
    assert hook[0] == {
        "event": "run",
        "run": run.id,
        "name": "finish",
        "state": "finished",
        "message": f"tlui: finish ({run.id}) finished",
    }
    assert (hook[1]["event"], hook[1]["run"]) == ("queue", "")


@pytest.mark.parametrize(
    "config",
    [
        '[notify]\ncommand = "/no/such/thing"\n',
        '[notify]\ncommand = "sh -c \\"unbalanced"\n',
        '[notify]\nwebhook = "http://127.0.0.1:1/"\n',
        '[notify]\nwebhook = "http://127.0.0.1:port/"\n',
        "[[[",
    ],
)
def test_one_that_fails_harms_nothing(bench: Bench, tmp_path: Path, config: str) -> None:
    (tmp_path / "config.toml").write_text(config)
    first, second = bench.add("finish-1"), bench.add("finish-2")
    bench.start()
    bench.ended(first, second)
    wait_for(lambda: "tlui:" in first.log.read_text(), "a line that says so")
    bench.quiet()
    assert "Traceback" not in first.log.read_text() + second.log.read_text()
    assert bench.state(second) == "finished"


@pytest.mark.parametrize("where", ["app", "watch"])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_terminal_rings_when_a_run_has_ended(
    bench: Bench, tmp_path: Path, where: str, wanted: bool
) -> None:
    (tmp_path / "config.toml").write_text(f"[notify]\nbell = {str(wanted).lower()}\n")
    run = bench.add("wait")
    bench.start()
    bench.running(run)
    terminal = FrontEnd(*(["watch", run.id] if where == "watch" else []))
    try:
        terminal.until("running")
        assert b"\x07" not in ESCAPE.sub(b"", terminal.output)
        bench.go()
        terminal.until("finished")
        if wanted:
            wait_for(lambda: terminal.shows("\x07"), "the bell")
        else:
            assert not terminal.shows("\x07")
    finally:
        terminal.end("kill")
