"""`check_dataset`: damage, duplicates, leakage and counts, on known folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlui.data.check import check_dataset
from tlui.data.table import open_dataset
from tlui.data.thumbnails import thumbnails

Describe = Callable[..., Any]


def test_everything_is_found(photos: Path, describe: Describe) -> None:
    shutil.copy(photos / "train/red/00.png", photos / "test/red/copy.png")
    shutil.copy(photos / "train/blue/01.png", photos / "train/blue/twin.png")
    shutil.copy(photos / "train/blue/02.png", photos / "train/red/liar.png")
    (photos / "train/red/empty.jpg").write_bytes(b"")
    (photos / "train/red/empty2.jpg").write_bytes(b"")
    (photos / "train/red/notes.txt").write_text("x")
    dataset = describe(source="folder", path=str(photos), validation=0)
    calls: list[tuple[int, int]] = []
    report = check_dataset(
        open_dataset(dataset, check=False), 2, lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (37, 37)
    assert report.images == 37 and report.counts == {"train": [13, 15], "test": [4, 5]}
    assert [(bad.name, bad.reason) for bad in report.bad] == [
        ("train/red/empty.jpg", "0 bytes"),
        ("train/red/empty2.jpg", "0 bytes"),
    ]
    assert [[item.name for item in group] for group in report.leaks] == [
        ["train/red/00.png", "test/red/copy.png"]
    ]
    assert [[item.name for item in group] for group in report.duplicates] == [
        ["train/blue/01.png", "train/blue/twin.png"],
        ["train/blue/02.png", "train/red/liar.png"],
    ]
    assert [group[1].name for group in report.conflicts] == ["train/red/liar.png"]
    assert report.widths == [48, 48, 48] and report.heights == [40, 40, 40]
    assert report.formats == {"PNG": 35} and report.modes == {"RGB": 35}
    assert report.skipped == {"not an image": 1}
    assert report.imbalance("train") == 15 / 13


def test_class_problems_are_reported_with_the_rest(
    classes_of: Callable[..., Path], describe: Describe
) -> None:
    root = classes_of({"train/a": 3, "train/b": 0, "test/a": 1})
    table = open_dataset(describe(source="folder", path=str(root)), check=False)
    report = check_dataset(table)
    assert any('"b" is empty' in problem for problem in report.problems)
    assert report.images == 4 and report.imbalance("train") == float("inf")
    assert report.to_json()["problems"] == report.problems


def test_real_leakage_in_pcam(realdata: Path, describe: Describe) -> None:
    table = open_dataset(describe(source="hdf5", path=str(realdata / "datasets" / "pcam_h5")))
    report = check_dataset(table)
    assert [[item.name.split("_")[-2:] for item in group] for group in report.leaks] == [
        [["train", "x.h5:143"], ["test", "x.h5:0"]]
    ]


def test_dirty_folder(realdata: Path, describe: Describe, tmp_path: Path) -> None:
    shutil.copytree(realdata / "dirty", tmp_path / "d" / "a")
    shutil.copytree(realdata / "datasets/food3/test/sushi", tmp_path / "d" / "b")
    table = open_dataset(describe(source="folder", path=str(tmp_path / "d"), validation=0))
    report = check_dataset(table)
    assert len(report.bad) == 9 and report.counts["train"] == [37, 31]
    assert report.widths[2] == 6000 and report.heights[0] == 1
    assert {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"} == set(report.formats)


def test_thumbnails(photos: Path, describe: Describe) -> None:
    (photos / "train/red/00.png").write_bytes(b"broken")
    table = open_dataset(describe(source="folder", path=str(photos)))
    shown = thumbnails(table, per_class=2, size=12)
    assert list(shown) == ["blue", "red"]
    assert all(len(images) == 2 and images[0].shape == (12, 12, 3) for images in shown.values())
    assert np.mean(shown["red"][0], axis=(0, 1)).argmax() == 0
    assert np.mean(shown["blue"][0], axis=(0, 1)).argmax() == 2


def test_a_damaged_chunk_is_named_image_by_image(
    pcam_with_damage: Path, describe: Describe
) -> None:
    table = open_dataset(describe(source="hdf5", path=str(pcam_with_damage)))
    report = check_dataset(table)
    assert [bad.name[-2:] for bad in report.bad] == [":8", ":9", "10", "11"]
    assert all(bad.reason.startswith("cannot be read: ") for bad in report.bad)
    assert report.formats == {"pixels": 28}
