"""Every command that prints what others wrote prints text, and nothing that a terminal obeys."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from strangers import EVIL, TRACES, UNSAFE, evil_configuration, evil_store

from tlui.runs.directory import Home

ROOT = Path(__file__).parents[2]
SHOWN = (rb"e\x1b]52", rb"e\u001b]52")
"""How text and JSON show what they do not obey."""
TINY = "presets/quickstart.toml"
COMMANDS = [
    *(["ls"], ["ls", "--all"], ["ls", "--json"], ["ls", "-f", f"name:{EVIL}"], ["ls", "-s", EVIL]),
    *(["show", "finished"], ["show", "finished", "--json", "--epochs"], ["show", EVIL]),
    *(["show", "failed"], ["show", "running"], ["show", "stale"], ["show", "queued"]),
    *(["compare", "finished", "failed", "queued"], ["compare", "finished", "failed", "--json"]),
    *(["plot", "finished", "failed"], ["plot", "finished", "--metric", EVIL]),
    *(["watch", "finished", "failed"], ["watch", "finished", "failed", "--json"]),
    *(["queue"], ["queue", "--json"], ["queue", "top", "finished"], ["queue", "hold", EVIL]),
    *(["queue", "drop", "finished"], ["queue", "add", EVIL]),
    *(["export"], ["export", "--epochs"], ["export", "-o", f"/no/{EVIL}"]),
    *(["stop", "finished"], ["stop", EVIL], ["resume", "finished"], ["resume", "stale"]),
    *(["rm", "finished", "running"], ["rm", EVIL], ["predict", EVIL, EVIL]),
    *(["dataset", "list"], ["dataset", "list", "--json"], ["dataset", "check", EVIL]),
    *(["run", EVIL], ["run", "--name", EVIL, TINY], ["run", "--set", EVIL, TINY]),
    *(["run", "--only", EVIL, TINY], ["run", "--device", EVIL, TINY]),
    *(["preset", "check", EVIL], [EVIL], ["ls", EVIL], ["ls", f"--{EVIL}"]),
]


@pytest.fixture
def ids(home: Home) -> dict[str, str]:
    """Ids of the runs of a hostile store by what they are."""
    evil_configuration()
    return {kind: run.id for kind, run in evil_store(home).items()}


def on_a_terminal(words: list[str]) -> bytes:
    """What a command writes to its terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color"}
    nobody = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=nobody, stdout=theirs, stderr=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:
        pass  # it has ended
    os.close(ours)
    process.wait()
    return said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_no_command_obeys_what_it_prints(ids: dict[str, str], terminal: bool) -> None:
    for command in COMMANDS:
        words = [sys.executable, "-m", "tlui", *(ids.get(word, word) for word in command)]
        if terminal:
            said = on_a_terminal(words)
            assert not [trace for trace in TRACES if trace in said], (command, said)
        else:
            done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, cwd=ROOT)
            said = done.stdout + done.stderr
            assert not UNSAFE.search(said.decode()), (command, said)
        assert b"bug in tlui" not in said, (command, said)
        assert any(sign in said for sign in SHOWN), (command, said)
