"""Keys that come in one packet, as over a slow line, each reach what the one before led to."""

from __future__ import annotations

import pytest
from factory import make_run
from raw_terminal import RawTerminal

from tlui.runs.directory import Home
from tlui.runs.marks import read_marks


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (b"/zzz", b"No run matches"),
        (b"/zzz\rb", b"best test_accuracy"),
        (b"\r4", b"configuration"),
        (b"bm", b"best val_accuracy"),
    ],
)
def test_all_are_taken_in_order(home: Home, keys: bytes, text: bytes) -> None:
    for name in ("one", "two"):
        make_run(home, name=name)
    with RawTerminal(env={"LANG": "C.UTF-8"}) as terminal:
        terminal.wait(b"2 runs")
        terminal.press(keys)
        terminal.wait(text)


def test_an_action_is_found_by_its_name(home: Home) -> None:
    run = make_run(home)
    with RawTerminal(env={"LANG": "C.UTF-8"}) as terminal:
        terminal.wait(b"1 run")
        terminal.press(b":pin\r")
        terminal.wait("▴".encode())
    assert read_marks(home)[run.id].pinned
