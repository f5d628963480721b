from pathlib import Path

import pytest
from factory import age, dead_identity, make_run

from tlui.errors import TluiError
from tlui.runs.directory import Home, RunDirectory
from tlui.runs.remove import remove


@pytest.mark.parametrize("state", ["finished", "failed", "queued", "interrupted"])
def test_ended_and_queued_runs_go(home: Home, state: str) -> None:
    run, other = make_run(home, state=state), make_run(home)
    remove(home, run)
    assert list(home.runs.iterdir()) == [other.path]


@pytest.mark.parametrize("state", ["starting", "running", "evaluating"])
def test_live_runs_stay(home: Home, state: str) -> None:
    run = make_run(home, state=state)
    with pytest.raises(TluiError, match="stop it first"):
        remove(home, run)
    age(run.status, 3600)
    with pytest.raises(TluiError, match="stale"):
        remove(home, run)
    assert run.exists()


def test_killed_runs_go(home: Home) -> None:
    run = make_run(home, state="running", owner=dead_identity())
    remove(home, run)
    assert not run.path.exists()


def test_links_are_deleted_not_followed(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    run = make_run(home)
    (run.path / "data").symlink_to(outside)
    (run.checkpoints / "file").symlink_to(outside / "precious")
    remove(home, run)
    assert (outside / "precious").read_text() == "data"
    assert not run.path.exists()


def test_run_that_is_a_link_is_refused(home: Home, tmp_path: Path) -> None:
    run = make_run(home)
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    with pytest.raises(TluiError, match="is a link"):
        remove(home, run)
    assert (elsewhere / "run.json").exists()


def test_outside_the_store_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "abcdef01").mkdir()
    for path in (tmp_path / "abcdef01", home.runs / ".." / "runs", home.runs / "notes"):
        with pytest.raises(TluiError, match="is no run"):
            remove(home, RunDirectory(path))
    with pytest.raises(TluiError, match="no such run"):
        remove(home, home.run("abcdef01"))
    assert (tmp_path / "abcdef01").is_dir()


def test_what_an_interrupted_removal_left_is_swept(home: Home, tmp_path: Path) -> None:
    left = home.runs / ".gone-abcdef01-aaaa"
    left.mkdir()
    (left / "weights").write_text("x")
    (tmp_path / "outside").mkdir()
    (home.runs / ".gone-link").symlink_to(tmp_path / "outside")
    remove(home, make_run(home))
    assert not left.exists()
    assert (tmp_path / "outside").is_dir()
