"""On a terminal that is not written to in UTF-8 no command writes anything but ASCII."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from factory import make_run
from raw_terminal import RawTerminal

from tlui.cli.commands import app
from tlui.runs.directory import Home

LOCALES = [{"LC_ALL": "C"}, {"LANG": "de_DE.ISO-8859-1"}]
COMMANDS = [
    ["ls"], ["show", "@last"], ["compare", "Zoë-1", "Zoë-2"], ["plot", "Zoë-1", "Zoë-2"], ["queue"],
    ["preset", "list"], ["preset", "check", "--no-count", "presets/quickstart.toml"],
    ["dataset", "check", "PHOTOS"], ["--help"], ["show", "Zoé"],
    ["ls", "--filter", "naïve>1"], ["dataset", "check", "/no/Föhn"],
]  # fmt: skip


@pytest.fixture
def store(home: Home) -> Home:
    for number in (1, 2):
        config = {"phase.0.lr.initial": 10.0**-number, "dataset.name": "Vögel 鳥"}
        make_run(home, name=f"Zoë-{number}", epochs=8, config=config)
    make_run(home, name="wartend", state="queued")
    make_run(home, name="fällt", state="failed", reason="Gerät – voll")
    return home


def beyond_ascii(seen: bytes) -> list[bytes]:
    return [line for line in seen.splitlines() if not line.isascii()]


@pytest.mark.parametrize("env", LOCALES, ids=str)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands(store: Home, photos: Path, command: list[str], env: dict[str, str]) -> None:
    (photos / "train" / "blue").rename(photos / "train" / "bläu")
    (photos / "test" / "blue").rename(photos / "test" / "bläu")
    given = [str(photos) if word == "PHOTOS" else word for word in command]
    with RawTerminal(*given, env=env) as terminal:
        seen = terminal.all()
    assert seen.strip()
    assert beyond_ascii(seen) == []
    assert b"Traceback" not in seen


def test_every_help_is_ascii() -> None:
    """What prints it writes UTF-8 to any terminal."""

    def helps(command: Any, parent: Any = None, name: str = "tlui") -> Iterator[str]:
        context = command.make_context(name, [], parent, resilient_parsing=True)
        yield command.get_help(context)
        for sub in getattr(command, "commands", {}):
            yield from helps(command.commands[sub], context, sub)

    found = list(helps(typer.main.get_command(app)))
    assert len(found) > 20
    assert [line for text in found for line in text.splitlines() if not line.isascii()] == []


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_the_live_view(store: Home, env: dict[str, str]) -> None:
    run = make_run(store, name="läuft", state="running", epochs=9, done=4)
    with RawTerminal("watch", run.id, env=env) as terminal:
        terminal.wait(b"ctrl-c")  # the last line of a picture
        terminal.press(b"\x03")
        seen = terminal.all()
    assert b"l\\xe4uft" in seen and b"epoch" in seen
    assert beyond_ascii(seen) == []


def test_columns_stay_aligned(store: Home) -> None:
    with RawTerminal("ls", env={"LC_ALL": "C"}) as terminal:
        seen = re.sub(r"\x1b\[[0-9;]*m", "", terminal.all().decode())
    lines = [line for line in seen.splitlines() if "MobileNetV2" in line]
    assert len(lines) == 4 and any("Zo\\xeb-1" in line for line in lines)
    assert len({line.index("MobileNetV2") for line in lines}) == 1


def test_a_terminal_of_utf8_shows_names_as_they_are(store: Home) -> None:
    with RawTerminal("ls", env={"LANG": "de_DE.UTF-8"}) as terminal:
        seen = terminal.all().decode()
    assert "Zoë-1" in seen and "✓" in seen


def test_ascii_that_is_asked_for_is_what_tlui_draws(store: Home) -> None:
    with RawTerminal("ls", "--ascii", env={"LANG": "de_DE.UTF-8"}) as terminal:
        seen = terminal.all().decode()
    assert "Zoë-1" in seen
    assert seen.replace("ë", "e").replace("ö", "o").replace("鳥", "x").replace("ä", "a").isascii()
