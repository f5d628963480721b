from pathlib import Path

import pandas as pd
import pytest
from factory import make_run

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home

Capture = pytest.CaptureFixture[str]


def test_runs_to_a_file(home: Home, capsys: Capture, tmp_path: Path) -> None:
    make_run(home, name="a", created=1e9)
    make_run(home, name="b", created=2e9)
    path = tmp_path / "runs.csv"
    assert tlui(["export", "-o", str(path)]) == 0
    assert "2 runs in" in capsys.readouterr().err
    assert pd.read_csv(path)["name"].tolist() == ["a", "b"]
    before = path.read_bytes()
    assert tlui(["export", "-o", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert tlui(["export", "b", "-o", str(path), "--force"]) == 0
    assert pd.read_csv(path)["name"].tolist() == ["b"]


def test_named_runs_are_sorted_where_that_is_asked_for(
    home: Home, capsys: Capture, tmp_path: Path
) -> None:
    for name in "abc":
        make_run(home, name=name)
    found = []
    for number, sort in enumerate(([], ["--sort", "-name"], ["--sort", "nonsense"])):
        path = tmp_path / f"{number}.csv"
        found.append(tlui(["export", "b", "a", "c", *sort, "-o", str(path)]))
    names = [pd.read_csv(tmp_path / f"{number}.csv")["name"].tolist() for number in (0, 1)]
    assert found == [0, 0, 2] and names == [list("bac"), list("cba")]


def test_force_needs_a_file(home: Home, capsys: Capture) -> None:
    make_run(home)
    assert tlui(["export", "--force"]) == 2
    assert "none is named" in capsys.readouterr().err


def test_stdout(home: Home, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    make_run(home, epochs=3, name="a")
    assert tlui(["export", "--epochs", "-o", "-"]) == 0
    lines = capfdbinary.readouterr().out.split(b"\r\n")
    assert lines[0].startswith(b"run_id,name,") and len(lines) == 5 and lines[-1] == b""


def test_filter(home: Home, tmp_path: Path, capsys: Capture) -> None:
    make_run(home, name="a", top=0.5)
    make_run(home, name="b", top=0.9)
    path = tmp_path / "x.csv"
    assert tlui(["export", "--filter", "val_accuracy>.8", "--epochs", "-o", str(path)]) == 0
    assert set(pd.read_csv(path)["name"]) == {"b"}
    assert tlui(["export", "a", "--filter", "b"]) == 2
    assert tlui(["export", "zzz"]) == 2


def test_nothing_that_matches_leaves_no_file(home: Home, tmp_path: Path, capsys: Capture) -> None:
    make_run(home, name="a")
    path = tmp_path / "x.csv"
    assert tlui(["export", "--filter", "preset:nope", "-o", str(path)]) == 1
    assert capsys.readouterr().err == "tlui: no run matches: preset:nope\n" and not path.exists()


def test_a_table_of_an_odd_name_is_named_in_plain_text(
    home: Home, tmp_path: Path, capsys: Capture
) -> None:
    make_run(home)
    path = tmp_path / "\x1b[2J\x1b]0;owned\x07\n.csv"
    assert tlui(["export", "-o", str(path)]) == 0
    err = capsys.readouterr().err
    assert path.exists() and err.startswith("1 run in ") and "owned" in err
    assert err.count("\n") == 1 and not {"\x1b", "\x07"} & set(err)
