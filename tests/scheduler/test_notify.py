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
from scheduler.bench import Bench, kill, wait_for, waits_for_lock
from scheduler.test_slurm_node import Trial, ends, made
from strangers import EVIL, UNSAFE

from tlui.runs.directory import Home
from tlui.runs.environment import importable
from tlui.runs.status import Status, write_status
from tlui.scheduler import control, order
from tlui.scheduler.claims import Claims
from tlui.scheduler.notify import News, _children
from tlui.scheduler.order import Wishes
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


def test_runs_that_end_at_once_are_all_told_before_the_queues_end(bench: Bench, told: Path) -> None:
    for number in range(5):
        three = [bench.add(f"wait-{number}{x}", Wishes(per_device=3)) for x in "abc"]
        bench.start()
        for run in three:
            bench.running(run)
        told.write_text("")
        for x in "abc":
            bench.go(f"wait-{number}{x}")
        *runs, last = wait_for(lambda: lines_of(told, 4), "four lines")
        assert last == "queue||tlui: the queue is done"
        assert {run.id for run in three} == {line.partition("(")[2][:8] for line in runs}
        bench.quiet()


def test_word_goes_out_in_the_order_of_ends(bench: Bench, told: Path) -> None:
    """However long who ended the first one takes until he sends it."""
    runs = [bench.add("a"), bench.add("b")]
    for run in runs:
        order.remove(bench.home, run.id)
    first, second = News(bench.home), News(bench.home)
    first.add(runs[0], Status("finished"))
    second.add(runs[1], Status("failed"))
    second.send()
    waiting = _children[-1]
    wait_for(lambda: waits_for_lock(waiting.pid), "the second one's patience")
    assert not told.exists()
    first.send()
    assert wait_for(lambda: lines_of(told, 3), "three lines") == [
        f"run|finished|tlui: a ({runs[0].id}) finished",
        f"run|failed|tlui: b ({runs[1].id}) failed",
        "queue||tlui: the queue is done",
    ]
    wait_for(lambda: not list(order.folder(bench.home).iterdir()), "no turn is left")


def test_a_dead_process_keeps_nobody_from_a_turn(bench: Bench, told: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tlui.runs.directory import Home\n"
        "from tlui.scheduler.turn import take\n"
        "turn = take(Home(Path(sys.argv[1]))); print(turn.path.name, flush=True); input()"
    )
    run = bench.add("finish")
    words = [sys.executable, "-c", code, str(bench.home.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, env=importable(os.environ)) as taker:
        assert taker.stdout is not None
        name = taker.stdout.readline().decode().strip()
        bench.start()
        bench.ended(run)
        bench.quiet()
        assert (order.folder(bench.home) / name).exists() and not told.exists()
        kill(taker.pid)
    assert len(wait_for(lambda: lines_of(told, 2), "two lines")) == 2
    assert not (order.folder(bench.home) / name).exists()


def test_who_has_the_parent_speaks_before_its_children_fail(bench: Bench, told: Path) -> None:
    parent = bench.add("parent")
    child = bench.add("child", parents=[parent.id])
    order.remove(bench.home, parent.id)
    claims = Claims(bench.home)
    assert claims.take(parent.id)
    write_status(parent.status, Status("failed", reason="no data"))
    bench.start()
    assert bench.state(child) == "queued" and not told.exists()
    claims.release(parent.id)
    bench.start()
    assert bench.state(child) == "failed"
    assert len(wait_for(lambda: lines_of(told, 2), "the child's and the queue's")) == 2


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


def test_whatever_a_run_is_called_word_of_it_is_text(
    home: Home, hook: list[dict[str, str]], tmp_path: Path
) -> None:
    """Who prints the message, or hands it to a command, need not look at what is in it."""
    for word in ("command", "webhook"):
        news = News(home)
        run = home.create("", {"name": EVIL + "\0", "config": {}})
        news.add(run, Status("failed", reason=EVIL))
        if word == "command":
            said = tmp_path / "said"
            script = f"import os; open({str(said)!r}, 'w').write(os.environ['TLUI_MESSAGE'])"
            command = json.dumps([sys.executable, "-c", script])
            with open(tmp_path / "config.toml", "a") as file:
                file.write(f"command = {command}\n")
        news.send(here=True)
    assert r"e\x1b]52" in said.read_text() and r"v[red]x\x00" in said.read_text()
    for text in (said.read_text(), *hook[0].values()):
        assert not UNSAFE.search(text) and "\n" not in text


@pytest.mark.parametrize(
    "config",
    [
        '[notify]\ncommand = "/no/such/thing"\n',
        '[notify]\ncommand = "false"\n',
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
