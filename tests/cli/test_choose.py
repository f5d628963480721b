"""`stop`, `resume` and `watch` of a whole lab, and of one of several namesakes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from factory import make_run

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home, RunDirectory
from tlui.scheduler import order
from tlui.scheduler.claims import CPU, Claims
from tlui.scheduler.order import Wishes

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def taken(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This very process holds the only device, so that nothing starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    claims = Claims(home)
    assert claims.take("ffffffff", [CPU])
    yield
    claims.release("ffffffff")


def waiting(home: Home, name: str, created: float, preset: str = "lab") -> RunDirectory:
    """A run that is held in the queue."""
    run = make_run(home, name=name, preset=preset, state="queued", created=created)
    order.append(home, [run.id], Wishes(), held=True)
    return run


def states(*runs: RunDirectory) -> list[str]:
    return [run.observe().state for run in runs]


def test_a_lab_is_stopped_and_resumed_by_filter(home: Home, capsys: Capture) -> None:
    done = make_run(home, name="done", preset="lab", created=1e9)
    one, two = waiting(home, "one", 2e9), waiting(home, "two", 3e9)
    other = waiting(home, "other", 4e9, preset="another")
    assert tlui(["stop", "--filter", "preset:lab"]) == 0
    said = capsys.readouterr()
    assert f"2 runs of 3 that match: one #{one.id}, two #{two.id}" in said.err
    assert [line[:8] for line in said.out.splitlines()] == [two.id, one.id], "the last one first"
    assert states(done, one, two, other) == ["finished", "stopped", "stopped", "queued"]
    assert tlui(["resume", "-f", "preset:lab", "--detach"]) == 0
    assert f"2 runs of 3 that match: one #{one.id}, two #{two.id}" in capsys.readouterr().err
    assert [entry.run for entry in order.entries(home)] == [other.id, one.id, two.id]


def test_a_lab_is_watched_by_filter(home: Home, capsys: Capture) -> None:
    make_run(home, name="done", preset="lab")
    one = waiting(home, "one", 2e9)
    assert tlui(["watch", "--filter", "preset:lab"]) == 0, "it is held, so there is nothing to see"
    said = capsys.readouterr()
    assert "1 run of 2 that match" in said.err
    assert f"one ({one.id}) stays queued" in said.out and "done" not in said.out


@pytest.mark.parametrize(
    ("command", "can"),
    [("stop", "lives or waits"), ("watch", "lives or waits"), ("resume", "can be resumed")],
)
def test_a_filter_that_finds_nothing_to_do_is_an_error(
    home: Home, capsys: Capture, command: str, can: str
) -> None:
    make_run(home, preset="lab")
    assert tlui([command, "--filter", "preset:lab"]) == 1
    assert f"no run that {can} matches: preset:lab" in capsys.readouterr().err
    assert tlui([command, "--filter", "preset:nope"]) == 1
    assert "no run matches: preset:nope" in capsys.readouterr().err
    assert tlui([command]) == tlui([command, "@last", "--filter", "preset:lab"]) == 2
    assert "--filter" in capsys.readouterr().err


def test_of_namesakes_the_one_is_meant_with_which_it_can_be_done(
    home: Home, capsys: Capture
) -> None:
    ended = make_run(home, name="full")
    live = waiting(home, "full", 2e9)
    assert tlui(["watch", "full"]) == 0
    assert f"({live.id}) stays queued" in capsys.readouterr().out
    assert tlui(["stop", "full"]) == 0
    assert states(ended, live) == ["finished", "stopped"]
    assert tlui(["resume", "full", "--detach"]) == 0
    assert states(ended, live) == ["finished", "queued"]
    capsys.readouterr()
    assert tlui(["rm", "full", "--yes"]) == 2, "deleting takes no guess"
    waiting(home, "full", 3e9)
    assert tlui(["stop", "full"]) == 2, "either could be stopped"
    assert capsys.readouterr().err.count("may be any of these runs") == 2
