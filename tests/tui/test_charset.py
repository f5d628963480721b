"""On a terminal that is not written to in UTF-8 the app draws with ASCII alone."""

from __future__ import annotations

import pytest
from factory import make_run
from raw_terminal import RawTerminal

from tlui.runs.directory import Home

HOME = (b"\x1b", b"newest first")
SCREENS = (
    (b"\r", b"epoch 8/8"), (b"2", b"[2 log]"), (b"3", b"[3 tables]"), (b"4", b"[4 config]"), HOME,
    (b"\x1b[A  =", b"val_accuracy"), (b"2", b"what differs"), HOME, (b"b", b"leaderboard"), HOME,
    (b"Q", b"devices"), HOME, (b"n", b"4 phase 1 of 1"), HOME,
    (b"?", b"set up a new run"), (b"\x1b", b"Zo"),
)  # fmt: skip
"""Keys, and what the screen they lead to says."""


@pytest.fixture
def store(home: Home) -> Home:
    for number in (1, 2):
        make_run(
            home,
            name=f"Zoë-{number}",
            epochs=8,
            config={"phase.0.lr.initial": 10.0**-number, "dataset.name": "Vögel 鳥"},
        )
    return home


@pytest.mark.parametrize(
    ("arguments", "env"),
    [((), {"LC_ALL": "C"}), ((), {"LANG": "de_DE.ISO-8859-1"}), ((), {"LC_CTYPE": "POSIX"})],
    ids=str,
)
def test_no_byte_beyond_ascii(store: Home, arguments: tuple[str, ...], env: dict[str, str]) -> None:
    with RawTerminal(*arguments, env=env, size=(80, 24)) as terminal:
        terminal.wait(b"Zo\\xeb-1")
        for keys, text in SCREENS:
            terminal.press(keys)
            terminal.wait(text)
        terminal.press(b"q")
        seen = terminal.all()
    assert [line for line in seen.splitlines() if not line.isascii()] == []


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8"}], ids=str)
def test_a_byte_that_is_not_utf8_is_no_key_and_kills_nothing(
    store: Home, env: dict[str, str]
) -> None:
    with RawTerminal(env=env) as terminal:
        terminal.wait(b"2 runs")
        terminal.press(b"/\xe9")
        terminal.press(b"zzz")
        terminal.wait(b"No run matches")
        terminal.press(b"\x1b")
        terminal.wait(b"newest first")  # "0 of 2 runs" is there before
        terminal.press(b"q")
        terminal.all()
        assert terminal.process.wait() == 0
