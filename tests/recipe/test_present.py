"""Files that a preset names and that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlui.recipe.lab import Point
from tlui.recipe.present import missing_files, missing_weights
from tlui.recipe.preset import parse_preset


def point(path: str, weights: str) -> Point:
    text = f"""
name = "one"
[dataset]
source = "folder"
path = "{path}"
[backbone]
name = "MobileNetV2"
weights = "{weights}"
[[phase]]
lr = {{ policy = "constant", initial = 1e-3 }}
"""
    return parse_preset(text).points[0]


def test_each_is_named_once(tmp_path: Path) -> None:
    one = point(f"{tmp_path}/photos", f"{tmp_path}/w.h5")
    assert missing_files([one, one]) == [
        f"dataset.path: there is nothing at {tmp_path}/photos",
        f"backbone.weights: there is no file {tmp_path}/w.h5 (or imagenet, none, run:ID)",
    ]


def test_a_word_that_is_nearly_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing_files([point(str(tmp_path), "imagnet")]) == [
        f'backbone.weights: there is no file {tmp_path}/imagnet (did you mean "imagenet"?)'
    ]


@pytest.mark.parametrize("weights", ["imagenet", "none", "run:0a1b2c3d"])
def test_nothing_is_missing(tmp_path: Path, weights: str) -> None:
    assert missing_files([point(str(tmp_path), weights)]) == []


def test_weights_that_are_to_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    wanting = point(str(tmp_path), "imagenet")
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    assert missing_weights([wanting, wanting, point(str(tmp_path), "none")]) == [
        f"backbone.weights: {file} is not in {tmp_path}/models yet; "
        "the first run downloads it, or tlui weights pull beforehand"
    ]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file).touch()
    assert missing_weights([wanting]) == []


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = missing_files([point(f"{tmp_path}/file/photos", "none")])
    assert found == f"dataset.path: there is nothing at {tmp_path}/file/photos"
