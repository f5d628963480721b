import json

import pytest
from factory import make_run, write_epochs

from tlui.cli.main import run as tlui
from tlui.runs.directory import Home
from tlui.runs.events import EventWriter
from tlui.runs.files import write_json

Capture = pytest.CaptureFixture[str]


def test_everything_is_there(home: Home, capsys: Capture) -> None:
    run = make_run(home, name="head-1e-4")
    assert tlui(["show", "head-1e-4"]) == 0
    out = capsys.readouterr().out
    for text in (
        run.id,
        "✓ finished",
        "intel-regimes / head",
        "7,686 of 2,265,670 parameters",
        "phase.0.lr.initial      1e-4",
        "best     epoch 5, val_accuracy .8700",
        "  accuracy     .9200  .8700  .8600",
        "  glacier       1     3    16",
        "  buildings      .9000   .8800  .8900      20",
        "  inference: after a warm-up (batch 32, cpu)",
    ):
        assert text in out, text
    assert out.count("1e-4  1.5s") == 5
    assert "    5*" in out


def test_last_ten_epochs_unless_all_are_asked(home: Home, capsys: Capture) -> None:
    make_run(home, epochs=25, steps=0)
    assert tlui(["show"]) == 0
    assert capsys.readouterr().out.count("1.5s") == 10
    assert tlui(["show", "--epochs"]) == 0
    assert capsys.readouterr().out.count("1.5s") == 25


def test_json(home: Home, capsys: Capture) -> None:
    run = make_run(home)
    assert tlui(["show", run.id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run_id"] == run.id and found["test_f1"] == 0.858
    assert found["splits"]["test"]["confusion"][0][0] == 18
    assert "epochs" not in found
    assert tlui(["show", run.id, "--json", "--epochs"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["epoch"] for row in found["epochs"]] == [1, 2, 3, 4, 5]
    assert found["epochs"][4]["val_accuracy"] == 0.87


@pytest.mark.parametrize("state", ["queued", "starting", "running", "failed", "diverged"])
def test_runs_in_every_state(home: Home, capsys: Capture, state: str) -> None:
    make_run(home, state=state, reason="because of \x1b[31m")
    assert tlui(["show"]) == 0
    out = capsys.readouterr().out
    assert state in out and "\x1b" not in out


def test_resumed_run_shows_each_epoch_once(home: Home, capsys: Capture) -> None:
    run = make_run(home, state="failed", epochs=6, done=4)
    writer = EventWriter(run.events)
    writer.write("open", version=1, attempt=2, epoch=2, step=8)
    write_epochs(writer, [3, 4, 5], 6)
    writer.close()
    assert tlui(["show", "--json", "--epochs"]) == 0
    rows = json.loads(capsys.readouterr().out)["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "splits",
    [
        {"test": 3},
        {"test": {"classes": 3, "confusion": "x"}},
        {"test": {"classes": [{"name": None}], "confusion": [["a", "b"]]}},
        {"test": {"classes": [{"name": "\x1b"}], "confusion": [["\x1b"]]}},
        [],
    ],
)
def test_damaged_results_are_shown_as_far_as_they_go(
    home: Home, capsys: Capture, splits: object
) -> None:
    run = make_run(home)
    write_json(run.result, {**(run.read_result() or {}), "splits": splits, "best": {"monitor": 1}})
    assert tlui(["show"]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out and "\x1b" not in out


def test_newer_format_is_said(home: Home, capsys: Capture) -> None:
    run = make_run(home)
    write_json(run.meta, {**run.read_meta(), "version": 9})
    assert tlui(["show"]) == 0
    assert "newer tlui" in capsys.readouterr().out


def test_unknown_run_is_code_2(home: Home, capsys: Capture) -> None:
    make_run(home, name="head")
    assert tlui(["show", "haed"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_a_reason_of_several_lines_is_shown_as_lines(home: Home, capsys: Capture) -> None:
    make_run(home, state="failed", reason="2 images cannot be used:\n  a.jpg: cut\x1b[31m")
    assert tlui(["show", "@last"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["  2 images cannot be used:", "    a.jpg: cut\\x1b[31m"]
