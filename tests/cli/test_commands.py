"""The command line as a whole: which commands there are, and the options in front of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from factory import make_run

import tlui
from tlui.cli import main
from tlui.cli.commands import TABLE
from tlui.runs.directory import Home

COLUMNS = 80


@pytest.fixture(autouse=True)
def _same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--home` in front of a command is passed on in the environment."""
    monkeypatch.setenv("TLUI_HOME", os.environ["TLUI_HOME"])


def test_every_command_is_listed_on_one_line_and_has_its_own_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines[lines.index("Commands:") + 1 :]}
    assert list(listed) == list(TABLE)
    for name, line in listed.items():
        assert line.endswith(TABLE[name][1]) and len(line) < COLUMNS
        for flag in ("--help", "-h"):
            assert main.run([name, flag]) == 0
            assert capsys.readouterr().out.startswith(f"Usage: tlui {name} ")


def test_a_word_that_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["comapre"]) == 2
    assert "Did you mean 'compare'?" in capsys.readouterr().err
    assert main.run(["queue", "ad"]) == 2
    assert "Did you mean 'add'?" in capsys.readouterr().err


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["dataset"]) == 2
    assert capsys.readouterr().err.startswith("Usage: tlui dataset ")


def test_home_may_stand_in_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(Home.at(tmp_path / "other"))
    assert main.run(["ls"]) == 0
    assert run.id not in capsys.readouterr().out
    assert main.run(["--home", str(tmp_path / "other"), "ls"]) == 0
    assert run.id in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--ascii", "--no-mouse"])
def test_an_option_of_the_app_in_front_of_a_command(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([option, "ls"]) == 2
    assert f"{option} goes behind ls" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["ls", "--home", ""], ["--home", "", "ls"]])
def test_no_home_is_not_the_current_folder(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(line) == 2
    assert "--home" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [["--help"], ["ls", "--json"]])
def test_an_output_on_a_full_disk_is_no_bug(home: Home, command: list[str]) -> None:
    make_run(home)
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "tlui.cli.main", *command]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True)
    said = "tlui: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


PRESSED = """
import sys
from tlui.__main__ import main

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Press())
main()
"""


@pytest.mark.parametrize("module", ["tlui.cli", "tlui.errors", "tlui.cli.commands", "typer"])
def test_ctrl_c_while_it_is_imported_is_a_stop(module: str) -> None:
    call = [sys.executable, "-c", PRESSED, module]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tlui: stopped\n")


def test_it_is_a_module_as_well() -> None:
    done = subprocess.run([sys.executable, "-m", "tlui", "--version"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, f"tlui {tlui.__version__}\n".encode())
