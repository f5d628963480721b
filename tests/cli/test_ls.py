import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from factory import dead_identity, make_run

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home
from tlui.runs.marks import mark

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Stdout passes for a terminal; its width is $COLUMNS."""
    monkeypatch.setattr("tlui.cli.terminal.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    return monkeypatch


def test_empty_store_says_what_to_do(home: Home, capsys: Capture) -> None:
    assert tlui(["ls"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "No runs yet" in err
    words = shlex.split(err.partition("Start one: ")[2])
    assert words[:2] == ["tlui", "run"] and Path(words[2]).is_absolute() and Path(words[2]).exists()


def test_missing_home_is_not_created(home: Home, capsys: Capture) -> None:
    assert tlui(["ls", "--home", str(home.path / "nowhere")]) == 0
    assert not (home.path / "nowhere").exists()


def test_pipe_gets_stable_tab_separated_lines(home: Home, capsys: Capture) -> None:
    run = make_run(home, name="head-1e-4", created=1e9)
    make_run(home, name="dead", state="running", owner=dead_identity(), created=2e9)
    assert tlui(["ls"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split("\t")[:4] == ["id", "name", "state", "dataset"]
    assert [line.split("\t")[1:3] for line in lines] == [
        ["dead", "interrupted"],
        ["head-1e-4", "finished"],
    ]
    assert lines[1].split("\t")[0] == run.id
    assert lines[1].split("\t")[8:10] == [".8700", ".8600"]


def test_json_has_metrics_at_the_top(home: Home, capsys: Capture) -> None:
    run = make_run(home)
    make_run(home, state="queued")
    assert tlui(["ls", "--json", "--sort", "-test_accuracy"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 2
    assert found[0]["run_id"] == run.id and found[0]["test_accuracy"] == 0.86
    assert found[0]["phase.0.lr.initial"] == 1e-4 and found[0]["dataset"] == "intel"
    assert "test_accuracy" not in found[1]
    assert tlui(["ls", "--json", "--filter", "status:failed"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_filter_sort_limit_columns(home: Home, capsys: Capture) -> None:
    for i, top in enumerate((0.5, 0.9, 0.7)):
        make_run(home, name=f"r{i}", top=top)
    args = ["--filter", "val_accuracy>.6", "--sort", "-val_accuracy", "--limit", "1"]
    assert tlui(["ls", *args, "--columns", "cfg.lr,test_f1,state,created"]) == 0
    out, err = capsys.readouterr()
    header, line = out.splitlines()
    assert header == "run\tcfg.lr\ttest_f1\tstate\tcreated"
    assert line.startswith("r1 #") and "\t1e-4\t.8880\tfinished\t20" in line
    assert "1 of 2 runs" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--filter", "lerning_rate>1"], 'filter: column 1: "lerning_rate" is not a field'),
        (["--filter", "cfg.lrr>1"], '(did you mean "cfg.lr"?)'),
        (["--sort", "nmae"], '"nmae" is not a field (did you mean "name"?)'),
        (["--columns", "zzzz"], '"zzzz" is not a field'),
    ],
)
def test_bad_usage_is_code_2(home: Home, capsys: Capture, args: list[str], said: str) -> None:
    make_run(home)
    assert tlui(["ls", *args]) == 2
    err = capsys.readouterr().err
    assert said in err and ("filter:" in err) == (args[0] == "--filter")


def test_nothing_matches(home: Home, capsys: Capture) -> None:
    make_run(home)
    assert tlui(["ls", "--filter", "status:failed"]) == 0
    assert "no run matches" in capsys.readouterr().err


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_table_fits_and_keeps_what_matters(
    home: Home, capsys: Capture, terminal: pytest.MonkeyPatch, width: int
) -> None:
    make_run(home, name="a-very-long-name-" * 8, top=0.9)
    make_run(home, name="head", state="failed")
    terminal.setenv("COLUMNS", str(width))
    assert tlui(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 3
    shown = lines[0].split()
    assert shown[0] == "run"
    if width >= 80:
        assert {"state", "lr", "val", "test"} <= set(shown)
        assert "✗ failed" in "\n".join(lines)
    if width >= 200:
        assert {"dataset", "backbone", "regime", "created", "device"} <= set(shown)


def test_best_is_marked(home: Home, capsys: Capture, terminal: pytest.MonkeyPatch) -> None:
    make_run(home, name="worse", top=0.5)
    make_run(home, name="better", top=0.9)
    assert tlui(["ls", "--ascii"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    better = next(line for line in out.splitlines() if line.startswith("better"))
    assert ".9000*" in better and ".8900*" in better
    assert out.count("*") == 2


def test_names_are_neither_markup_nor_control(
    home: Home, capsys: Capture, terminal: pytest.MonkeyPatch
) -> None:
    make_run(
        home, name="[red]x[/red] :smile: \x1b[2J", preset="\x07", config={"dataset.name": "\x9b"}
    )
    looks = (["ls"], ["ls", "--columns", "name,dataset,preset"], ["show"])
    for args in (*looks, ["ls", "--json"], ["show", "--json"], ["compare", "@last"]):
        assert tlui(args) == 0
        out = capsys.readouterr().out
        assert "[red]x[/red] :smile: \\" in out
        assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_notes_and_pins_are_fields(home: Home, capsys: Capture) -> None:
    run = make_run(home)
    make_run(home)
    mark(home, [run.id], pinned=True, note="keep")
    assert tlui(["ls", "--filter", "pinned:true", "--columns", "note"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("\tkeep")


def test_closed_pipe_is_quiet(home: Home) -> None:
    for _ in range(30):
        make_run(home, steps=0)
    command = f"{sys.executable} -m tlui.cli.main ls --json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.stderr == ""


def test_imports_stay_light(home: Home) -> None:
    make_run(home)
    code = (  # the command itself: Typer may bring pydantic for its own use
        "import sys; from tlui.cli.ls import ls; ls(filter='val_accuracy>.1')\n"
        "heavy = {'tensorflow', 'keras', 'textual', 'pydantic', 'numpy', 'rich', 'plotext'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stderr == "[]\n"
