import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tlui.errors import TluiError
from tlui.runs.directory import Home, new_id
from tlui.runs.status import RUN_ID

META = {"name": "x", "preset": "p", "experiment": "e", "config": {}}


def test_a_run_appears_whole_and_private(home: Home) -> None:
    run = home.create("version = 1\n", META)
    assert run.exists() and run.observe().state == "queued"
    assert run.read_meta()["id"] == run.id and run.read_meta()["name"] == "x"
    for path in [home.path, home.runs, run.path, *run.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert list(home.runs.iterdir()) == [run.path]


def test_the_way_to_a_new_home_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """A folder above that others may write to would let them put another home in its place."""
    before = os.umask(0)
    try:
        home = Home.at(tmp_path / "share" / "deep" / "home")
    finally:
        os.umask(before)
    for path in (home.runs, home.path, *list(home.path.parents)[:2]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_foreign_files_and_links_are_passed_over(home: Home, tmp_path: Path) -> None:
    run = home.create("", META)
    (home.runs / "README").write_text("mine")
    (home.runs / "notes").mkdir()
    (home.runs / ".new-12345678").mkdir()
    (home.runs / "abcdef01").write_text("a file named like a run")
    (home.runs / "abcdef02").symlink_to(tmp_path)
    assert [r.id for r in home] == [run.id]


def test_ids_are_never_taken_for_numbers() -> None:
    for _ in range(2000):
        found = new_id()
        assert RUN_ID.fullmatch(found)
        with pytest.raises(ValueError):
            float(found)


def test_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TluiError, match="cannot be used"):
        Home.at(tmp_path / "file" / "home")


def test_run_that_cannot_be_made_leaves_nothing(home: Home) -> None:
    with pytest.raises(TypeError):
        home.create("", {**META, "config": {"bad": object()}})
    assert list(home.runs.iterdir()) == []
    home.runs.rmdir()
    home.runs.write_text("a file in the way")
    with pytest.raises(TluiError, match="cannot make a run"):
        home.create("", META)


def test_paths_of_all_kinds(tmp_path: Path) -> None:
    for name in ("with space", "new\nline", os.fsdecode(b"caf\xe9"), "x" * 200, "[red]"):
        home = Home.at(tmp_path / name)
        run = home.create("", {**META, "name": name})
        assert run.read_meta()["name"] == name
        assert [r.id for r in home] == [run.id]


class TestWhichHome:
    """--home, then $TLUI_HOME, then the configuration's `home`, then the data folder."""

    @pytest.fixture
    def config(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("TLUI_HOME")
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        (tmp_path / "settings").mkdir()
        path = tmp_path / "settings" / "config.toml"
        monkeypatch.setenv("TLUI_CONFIG", str(path))
        return path

    def test_the_order(self, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Home.at(create=False).path == tmp_path / "data" / "tlui"
        config.write_text("[cache]\nlimit_gb = 1\n")
        assert Home.at(create=False).path == tmp_path / "data" / "tlui"
        config.write_text(f"home = '{tmp_path}/configured'\n")
        assert Home.at(create=False).path == tmp_path / "configured"
        monkeypatch.setenv("TLUI_HOME", str(tmp_path / "environment"))
        assert Home.at(create=False).path == tmp_path / "environment"
        assert Home.at(tmp_path / "given", create=False).path == tmp_path / "given"

    def test_relative_to_the_configuration_or_to_the_user(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config.write_text('home = "runs of mine"\n')
        assert Home.at(create=False).path == config.parent / "runs of mine"
        monkeypatch.setenv("HOME", str(config.parent))
        config.write_text('home = "~/mine"\n')
        assert Home.at(create=False).path == config.parent / "mine"

    @pytest.mark.parametrize(
        "text", ["home = 3", 'home = ""', "home = [", 'home = "~nobody-such/x"']
    )
    def test_a_bad_one_is_named_rather_than_another_store_shown(
        self, config: Path, text: str
    ) -> None:
        config.write_text(text)
        with pytest.raises(TluiError, match=re.escape(str(config))):
            Home.at(create=False)

    def test_it_costs_no_pydantic(self, config: Path, tmp_path: Path) -> None:
        config.write_text(f"home = '{tmp_path}/configured'\n")
        code = (
            "import sys; from tlui.runs.directory import Home; print(Home.at().path.name)\n"
            "assert not {'pydantic', 'tomli'} & set(sys.modules)"
        )
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
        )
        assert done.stdout == "configured\n"


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_no_home(tmp_path: Path, create: bool) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TluiError, match="file: is no folder, so not tlui's home; choose another"):
        Home.at(tmp_path / "file", create=create)
