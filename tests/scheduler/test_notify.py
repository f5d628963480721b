"""Word of an ended run: a real command, a real web server."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.test_front_ends import ESCAPE, FrontEnd
from scheduler.bench import Bench, wait_for

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


def test_a_command_hears_of_each_run_and_of_the_queues_end(bench: Bench, told: Path) -> None:
    first, second = bench.add("finish;touch x"), bench.add("fail")
    bench.start()
    bench.ended(first, second)
    wait_for(lambda: told.exists() and told.read_text().count("\n") == 3, "three lines")
    lines = sorted(told.read_text().splitlines())
    assert lines == [
        "queue||tlui: the queue is done",
        f"run|failed|tlui: fail ({second.id}) failed: ValueError: the stand-in was told to fail",
        f"run|finished|tlui: finish;touch x ({first.id}) finished",
    ]


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
