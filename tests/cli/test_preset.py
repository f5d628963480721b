"""`tlui preset`: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlui.recipe.bundled import bundled_presets
from tlui.runs.environment import importable

GOOD = """
name = "lab"
[dataset]
source = "digits"
[backbone]
name = "SmallConvNet"
weights = "none"
[[phase]]
freeze = "none"
epochs = 3
lr = { policy = "constant", initial = 1e-4 }
[[phase]]
epochs = 2
lr = { policy = "cosine", initial = 1e-4 }
[[experiment]]
name = "a [red]"
[[experiment]]
name = "b"
start_from = { experiment = "a [red]" }
sweep = { "train.seed" = [1, 2] }
"""


def tlui(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tlui.cli.main", "preset", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


def test_check_shows_the_runs_and_what_learns_in_each_phase(good: Path) -> None:
    done = tlui("check", str(good))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{good}: ok, 3 runs"
    assert lines[1].split() == [
        *("run", "dataset", "backbone", "learns", "lr", "epochs", "trainable", "/", "total"),
        *("starts", "from"),
    ]
    assert lines[2].split() == [
        *("a", "[red]", "digits", "SmallConvNet", "(random)", "all", "1e-4", "3"),
        *("288,746", "/", "289,642"),
    ]
    assert lines[3].split() == ["head", "cosine", "1e-4", "2", "1,290", "/", "289,642"]
    assert [line.split()[0] for line in lines[4:8:2]] == ["b-1", "b-2"]
    assert lines[4].endswith("a [red]")


def test_check_says_every_problem_of_every_file_and_ends_with_2(good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(GOOD.replace('"cosine"', '"cos"').replace("epochs = 3", "epochs = 0"))
    done = tlui("check", str(good), str(bad), str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"tlui: {bad}: phase[0].epochs: must be at least 1 and at most 100000. Received: 0",
        f'tlui: {bad}: phase[1].lr.policy: "cos" is not a policy (did you mean "cosine"?)',
        f"tlui: {tmp_path}/none.toml: cannot be read: No such file or directory",
    ]


def test_check_takes_overrides_and_a_choice(good: Path) -> None:
    done = tlui("check", str(good), "--no-count", "--set", "phase.*.epochs=7", "--only", "a [red]")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].endswith("ok, 1 run")
    assert [line.split()[-1] for line in lines[2:]] == ["7", "7"]


def test_check_holds_the_head_against_the_classes_of_data_that_is_at_hand(
    good: Path, photos: Path
) -> None:
    weights = '--set=head.class_weights={"0" = 2, "x" = 1}'
    done = tlui("check", str(good), weights, "--set=head.output=sigmoid")
    assert done.returncode == 2
    assert [line.removeprefix(f"tlui: {good}: ") for line in done.stderr.splitlines()] == [
        '--set head.output: "sigmoid" is for two classes; the dataset has 10',
        '--set head.class_weights (x): "x" is not a class (one of: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)',
        "--set head.class_weights: gives no weight for 1, 2, 3, 4, 5",
    ]
    folder = f'--set=dataset={{ source = "folder", path = "{photos}", image_size = 32 }}'
    done = tlui("check", str(good), folder, "--set=head.class_weights={ bleu = 2, red = 1 }")
    assert done.returncode == 2
    assert '(bleu): "bleu" is not a class (did you mean "blue"?)' in done.stderr
    fits = "--set=head.class_weights={ blue = 2, red = 1 }"
    assert tlui("check", str(good), folder, fits, "--set=head.output=sigmoid").returncode == 0


def test_check_looks_at_data_that_is_at_hand(good: Path, photos: Path) -> None:
    folder = f'--set=dataset={{ source = "folder", path = "{photos}", image_size = 32 }}'
    done = tlui("check", str(good), folder)
    assert done.returncode == 0
    assert "data: photos: train 20, val 4, test 8; 2 classes: blue, red" in done.stdout
    shutil.rmtree(photos / "test" / "blue")
    done = tlui("check", str(good), folder)
    assert done.returncode == 2
    assert f"{good}: dataset {photos}: 1 of 2 classes cannot be used" in done.stderr
    assert '"blue" has images in train but none in test' in done.stderr
    assert tlui("check", str(good), folder, "--no-count").returncode == 0


def test_check_refuses_what_only_the_built_network_shows(good: Path) -> None:
    backbone = '--set=backbone={ name = "MobileNetV3Large", alpha = 0.2, weights = "none" }'
    done = tlui("check", str(good), backbone, "--set=phase.*.freeze=from:expanded_conv_add")
    assert done.returncode == 2
    assert 'the backbone has no layer "expanded_conv_add"' in done.stderr


def test_check_notes_a_dataset_nobody_said_where_to_find() -> None:
    pcam = next(path for path in bundled_presets() if path.stem == "pcam-backbones")
    done = tlui("check", str(pcam), "--no-count")
    assert done.returncode == 1
    assert done.stderr.startswith(f"tlui: {pcam}: dataset.path: missing: where is pcam?")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("tlui run would refuse it here\n")


def test_check_executes_nothing_that_lies_beside_the_preset(good: Path) -> None:
    (good.parent / "json.py").write_text("open('executed', 'w')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tlui.cli.main", "preset", "check", good.name],
        cwd=good.parent,
        env=importable(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "learn" in done.stdout
    assert not (good.parent / "executed").exists()


def test_check_says_once_what_is_not_here_and_ends_with_1(good: Path, tmp_path: Path) -> None:
    text = good.read_text().replace('source = "digits"', 'source = "folder"\npath = "/no/photos"')
    good.write_text(text)
    refuse = "dataset.path: there is nothing at /no/photos: tlui run would refuse it here"
    done = tlui("check", str(good))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: ok but for what is not here, 3 runs\n")
    assert "note" not in done.stdout and "trainable" not in done.stdout
    assert done.stderr == f"tlui: {good}: {refuse}\n"
    done = tlui("check", str(good), "--json")
    assert done.returncode == 1 and len(json.loads(done.stdout)) == 3 and refuse in done.stderr


def test_check_starts_no_tensorflow_where_there_is_nothing_to_count(
    good: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tlui.cli.main import run

    started: list[str] = []
    monkeypatch.setattr("subprocess.run", lambda words, **_: started.append(words))
    text = good.read_text().replace('source = "digits"', 'source = "folder"\npath = "/no/photos"')
    good.write_text(text)
    assert run(["preset", "check", str(good)]) == 1 and started == []
    assert capsys.readouterr().err.count("/no/photos") == 1


def test_check_as_json(good: Path) -> None:
    done = tlui("check", str(good), "--no-count", "--json")
    rows = json.loads(done.stdout)
    assert [(row["name"], row["parents"]) for row in rows] == [
        ("a [red]", []),
        ("b-1", ["a [red]"]),
        ("b-2", ["a [red]"]),
    ]
    assert rows[1]["config"]["train"]["seed"] == 1


def test_schema_is_json() -> None:
    done = tlui("schema")
    assert json.loads(done.stdout)["title"] == "tlui preset"


def test_list_names_files_that_can_be_run() -> None:
    done = tlui("list")
    paths = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [Path(path).exists() for path in paths] == [True] * 6
