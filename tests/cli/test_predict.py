"""`tlui predict`: a real trained run classifies photos as it did when it was evaluated."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from factory import make_run as untrained
from PIL import Image
from training import make_run, train

from tlui.cli.main import run as tlui
from tlui.recipe.schema import Experiment
from tlui.runs.directory import Home


def trained(home, photos, **tables):
    given = {
        "name": "colours",
        "dataset": {"source": "folder", "path": str(photos), "image_size": 24, "resize": "crop"},
        "backbone": {"name": "SmallConvNet", "weights": "none"},
        "train": {"batch_size": 5},
        "phase": [
            {"freeze": "none", "epochs": 2, "lr": {"policy": "constant", "initial": 1e-3}},
        ],
        **tables,
    }
    run = make_run(home, Experiment.model_validate(given))
    assert train(run).state == "finished"
    return run


@pytest.fixture
def run(home, photos):
    return trained(home, photos)


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"head": {"output": "sigmoid"}, "augment": {"crop_from": 32}},
        {"evaluate": {"weights": "last"}, "train": {"mixed_precision": True}},
    ],
    ids=["softmax", "sigmoid, cropped", "last, mixed precision"],
)
def test_probabilities_are_those_of_the_evaluation(home, photos, tables, tmp_path, capsys):
    run = trained(home, photos, **tables)
    path = tmp_path / "answers.csv"
    code = tlui(["predict", run.id, str(photos / "test"), "-o", str(path), "--batch-size", "3"])
    said = capsys.readouterr().err
    assert code == 0, said
    which = "last" if "evaluate" in tables else "best"
    assert f"8 photos with the {which} weights of run {run.id}" in said
    assert "warmed up, batch 3, " in said
    table = pd.read_csv(path)
    with np.load(run.predictions / "test.npz") as stored:
        assert [str(photos / name) for name in stored["file"]] == table["file"].tolist()
        expected = stored["probabilities"]
    found = table[["probability.blue", "probability.red"]].to_numpy()
    close = 5e-3 if "train" in tables else 5e-5  # half precision has 8 bits
    assert np.abs(found - expected).max() < close
    assert np.abs(table["probability"] - found.max(axis=1)).max() == 0
    assert table["class"].tolist() == [["blue", "red"][i] for i in found.argmax(axis=1)]
    assert table["error"].isna().all()


class TestOddFiles:
    @pytest.fixture
    def odd(self, tmp_path):
        """A folder: two good photos, one far down; a damaged one; a text; and an evil name."""
        folder = tmp_path / "odd"
        (folder / "deep" / "er").mkdir(parents=True)
        blue = Image.new("RGB", (50, 40), (30, 40, 200))
        blue.save(folder / "deep" / "er" / "no_suffix", "WEBP")
        blue.save(folder / "=evil\x1b[31m\t\udcff.png")
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
        (folder / "notes.txt").write_text("not a photo")
        return folder

    def test_are_named_and_stop_nobody(self, run, odd, capfd):
        code = tlui(["predict", run.id, "--json", "--top", "9", str(odd), str(odd / "gone.png")])
        out, err = capfd.readouterr()
        assert code == 1
        rows = [json.loads(line) for line in out.splitlines()]
        names = ["=evil\x1b[31m\t\udcff.png", "broken.jpg", "deep/er/no_suffix", "gone.png"]
        assert [row["file"] for row in rows] == [f"{odd}/{name}" for name in names]
        assert rows[1]["error"] == "truncated after 12 bytes"
        assert rows[3]["error"] == "cannot be read: No such file or directory"
        for row in (rows[0], rows[2]):
            assert [entry["class"] for entry in row["top"]] in (["blue", "red"], ["red", "blue"])
            assert sum(entry["probability"] for entry in row["top"]) == pytest.approx(1)
            assert row["top"][0] == {"class": row["class"], "probability": row["probability"]}
        assert rows[0]["class"] == rows[2]["class"]
        assert f"{odd}/broken.jpg: truncated after 12 bytes" in err
        assert "1 other file in the folders, not photos, left out" in err

    def test_names_are_shown_literally(self, run, odd, capfd, monkeypatch):
        shown = r"=evil\x1b[31m\t\xff.png"
        for terminal in (False, True):
            monkeypatch.setattr("tlui.cli.terminal.is_terminal", lambda to=terminal: to)
            monkeypatch.setenv("COLUMNS", "300")
            assert tlui(["predict", run.id, str(odd), "--top", "1"]) == 1
            out = capfd.readouterr().out
            assert "\x1b" not in out
            good = [line.split("\t" if not terminal else None) for line in out.splitlines()]
            assert [f"{odd}/{shown}" in row for row in good].count(True) == 1
            assert len(good) == (3 if terminal else 2)

    def test_csv_has_a_row_for_every_one(self, run, odd, tmp_path):
        path = tmp_path / "x.csv"
        assert tlui(["predict", run.id, str(odd), "-o", str(path)]) == 1
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [bool(row["error"]) for row in rows] == [False, True, False]
        assert rows[1]["class"] == rows[1]["probability.red"] == ""


def test_nothing_readable_needs_no_network(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert tlui(["predict", run.id, str(tmp_path / "empty")]) == 1
    assert "empty: a folder without photos" in capsys.readouterr().err


def test_options_without_a_part_in_it_are_refused(run, tmp_path, capsys):
    photo, path = str(tmp_path / "gone.png"), str(tmp_path / "x.csv")
    assert tlui(["predict", run.id, photo, "-o", path, "--top", "2"]) == 2
    assert "--top has no part" in capsys.readouterr().err
    assert tlui(["predict", run.id, photo, "--force"]) == 2
    assert "none is named" in capsys.readouterr().err


def test_a_file_is_not_replaced_unasked(run, photos, tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("mine")
    assert tlui(["predict", run.id, str(photos / "test"), "-o", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert tlui(["predict", run.id, str(photos / "test"), "-o", str(path), "--json"]) == 2


def test_weights_that_do_not_fit_are_named(run, photos, capsys):
    with np.load(run.checkpoints / "best.npz") as file:
        arrays = {key: file[key] for key in file.files}
    key = next(k for k in arrays if k.startswith("head/") and k.endswith("kernel"))
    arrays[key] = arrays[key][:-1]
    np.savez(run.checkpoints / "best.npz", **arrays)
    assert tlui(["predict", run.id, str(photos / "test")]) == 1
    err = capsys.readouterr().err
    assert "do not fit this network" in err and key in err and "Traceback" not in err


class TestRunsThatCannot:
    """No process with TensorFlow is started for these."""

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("queued", "is queued and has no result to predict with; tlui watch"),
            ("failed", "is failed and has no result to predict with; tlui resume"),
            ("finished", "has no best weights (checkpoints/best.npz); tlui resume"),
        ],
    )
    def test_say_why(self, home: Home, state, words, capsys):
        run = untrained(home, state=state)
        assert tlui(["predict", run.id, "photo.png"]) == 1
        assert words in capsys.readouterr().err

    def test_other_weights_are_proposed(self, home: Home, capsys):
        run = untrained(home)
        run.checkpoints.mkdir(exist_ok=True)
        (run.checkpoints / "last.npz").touch()
        assert tlui(["predict", run.id, "photo.png"]) == 1
        assert "try --weights last" in capsys.readouterr().err

    def test_unknown_run(self, home: Home, capsys):
        untrained(home, name="head")
        assert tlui(["predict", "haed", "photo.png"]) == 2
        assert "did you mean" in capsys.readouterr().err
