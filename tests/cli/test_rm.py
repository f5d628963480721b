import io

import pytest
from factory import make_run

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home, RunDirectory
from tlui.scheduler import order
from tlui.scheduler.order import Wishes

Capture = pytest.CaptureFixture[str]


class Answer(io.StringIO):
    """A person at a terminal."""

    def isatty(self) -> bool:
        return True


def test_asks_first(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(home, name="head")
    for answer in ("n\n", "\n", "", "yikes\n"):
        monkeypatch.setattr("sys.stdin", Answer(answer))
        assert tlui(["rm", "head"]) == 1
        assert run.exists()
    assert "Delete this run for good? [y/N]" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Answer("y\n"))
    assert tlui(["rm", "head"]) == 0
    assert not run.path.exists()
    assert "deleted head" in capsys.readouterr().out


def test_nobody_to_ask_means_no(
    home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(home)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert tlui(["rm", "@last"]) == 1
    assert run.exists()
    assert "--yes" in capsys.readouterr().err


def test_live_runs_are_refused_and_others_go(home: Home, capsys: Capture) -> None:
    live, ended = make_run(home, name="live", state="running"), make_run(home, name="ended")
    assert tlui(["rm", "live", "ended", "--yes"]) == 1
    assert live.exists() and not ended.path.exists()
    assert "stop it first" in capsys.readouterr().err


def test_filter_deletes_what_matches(home: Home, capsys: Capture) -> None:
    for name in ("a", "b"):
        make_run(home, name=name)
    kept = make_run(home, name="c", state="queued")
    assert tlui(["rm", "--filter", "status:finished", "-y"]) == 0
    assert [run.id for run in home] == [kept.id]
    assert tlui(["rm", "--filter", "status:finished", "-y"]) == 0


def family(home: Home) -> tuple[RunDirectory, RunDirectory]:
    """A finished run and a queued one that starts from it."""
    parent = make_run(home, name="head")
    child = home.create("", {"name": "full", "config": {}, "parents": [parent.id]})
    order.append(home, [child.id], Wishes())
    return parent, child


def test_says_which_queued_runs_start_from_it(
    home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = family(home)
    monkeypatch.setattr("sys.stdin", Answer("n\n"))
    assert tlui(["rm", "head"]) == 1
    before, _ = capsys.readouterr().err.split("Delete this run")
    assert f"({parent.id}): full ({child.id}) is queued, starts from it and fails" in before
    assert f"tlui queue drop {child.id}" in before
    monkeypatch.setattr("sys.stdin", Answer("y\n"))
    assert tlui(["rm", "head"]) == 0
    assert not parent.path.exists() and child.exists()


def test_yes_leaves_no_queued_run_without_what_it_starts_from(home: Home, capsys: Capture) -> None:
    parent, child = family(home)
    ended = make_run(home, name="ended")
    assert tlui(["rm", "head", "ended", "-y"]) == 1
    assert parent.exists() and not ended.path.exists()
    assert f"tlui queue drop {child.id}" in capsys.readouterr().err
    assert tlui(["queue", "drop", child.id]) == 0
    assert tlui(["rm", "head", "-y"]) == 0


def test_parents_and_children_go_together_and_leave_the_queue(home: Home) -> None:
    family(home)
    assert tlui(["rm", "head", "full", "-y"]) == 0
    assert not list(home) and not order.entries(home)


def test_bad_usage(home: Home, capsys: Capture) -> None:
    make_run(home)
    assert tlui(["rm"]) == 2
    assert tlui(["rm", "@last", "--filter", "x"]) == 2
    assert tlui(["rm", "../../etc", "-y"]) == 2
