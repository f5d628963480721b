"""Classes and stratified shares: refused by name, and the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlui.data.splits import order
from tlui.data.table import open_dataset
from tlui.errors import DataError


def test_the_order_of_a_class_never_changes() -> None:
    # Computed once and written down: a change here moves images between splits of everyone's runs.
    assert order(0, "cat", 10).tolist() == ORDER_CAT
    assert order(7, "dög", 6).tolist() == ORDER_DOG


ORDER_CAT = [8, 6, 4, 1, 7, 3, 5, 9, 2, 0]
ORDER_DOG = [1, 2, 3, 0, 4, 5]


def test_shares_are_a_function_of_names_and_seed(
    classes_of: Callable[..., Path], describe: Callable[..., Any]
) -> None:
    root = classes_of({"cat": 10, "dog": 7})
    table = open_dataset(
        describe(source="folder", path=str(root), validation=0.2, test=0.25, split_seed=0)
    )
    assert {name: len(split) for name, split in table.splits.items()} == {
        "train": 9,
        "val": 3,
        "test": 5,
    }
    assert list(table.splits["test"].names) == TEST_NAMES
    assert list(table.splits["val"].names) == VAL_NAMES
    every = [name for split in table.splits.values() for name in split.names]
    assert sorted(every) == sorted(set(every)) and len(every) == 17
    again = open_dataset(
        describe(source="folder", path=str(root), validation=0.2, test=0.25, split_seed=0)
    )
    assert again.fingerprint == table.fingerprint
    other = open_dataset(
        describe(source="folder", path=str(root), validation=0.2, test=0.25, split_seed=1)
    )
    assert list(other.splits["test"].names) != TEST_NAMES
    assert other.fingerprint != table.fingerprint


TEST_NAMES = ["cat/004.png", "cat/006.png", "cat/008.png", "dog/002.png", "dog/006.png"]
VAL_NAMES = ["cat/001.png", "cat/007.png", "dog/003.png"]


def test_leaving_a_class_out_leaves_the_other_splits_alone(describe: Callable[..., Any]) -> None:
    every = open_dataset(describe(source="digits"))
    some = open_dataset(describe(source="digits", classes=["7", "3"]))
    assert some.classes == ["7", "3"]
    for split in ("train", "val", "test"):
        a, b = every.splits[split], some.splits[split]
        sevens = [n for n, label in zip(a.names, a.labels, strict=True) if label == 7]
        assert [n for n, label in zip(b.names, b.labels, strict=True) if label == 0] == sevens


def test_shares_are_stratified(describe: Callable[..., Any]) -> None:
    table = open_dataset(describe(source="digits", validation=0.1, test=0.3))
    counts = table.counts()
    whole = counts["train"] + counts["val"] + counts["test"]
    assert whole.sum() == 1797
    assert np.abs(counts["test"] / whole - 0.3).max() < 0.005
    assert np.abs(counts["val"] / whole - 0.1).max() < 0.005


def test_no_shares_where_none_are_wanted(describe: Callable[..., Any]) -> None:
    table = open_dataset(describe(source="digits", validation=0, test=0))
    assert list(table.splits) == ["train"]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"train/a": 3, "train/b": 3, "train/c": 3, "test/a": 1, "test/b": 1},
            '"c" has images in train but none in test',
        ),
        (
            {"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1, "test/z": 1},
            '"z" is only in test, not in train',
        ),
        ({"train/a": 3, "train/b": 3, "train/c": 0}, '"c" is empty'),
        (
            {"train/a": 3, "train/b": 3, "train/c": 0, "test/a": 1, "test/b": 1, "test/c": 1},
            '"c" is only in test, not in train (its folder there is empty)',
        ),
        ({"a": 3}, "needs two classes or more"),
        ({"a": 0, "b": 0}, "no images found"),
        ({"a": 9, "b": 1}, '"b": 1'),
    ],
)
def test_class_problems_are_refused_by_name(
    classes_of: Callable[..., Path],
    describe: Callable[..., Any],
    counts: dict[str, int],
    message: str,
) -> None:
    dataset = describe(source="folder", path=str(classes_of(counts)))
    with pytest.raises(DataError) as caught:
        open_dataset(dataset)
    assert message in str(caught.value)
    table = open_dataset(dataset, check=False)
    assert message in "\n".join(table.problems)


def test_all_class_problems_at_once_with_the_way_out(
    classes_of: Callable[..., Path], describe: Callable[..., Any]
) -> None:
    root = classes_of(
        {
            "train/a": 3,
            "train/b": 3,
            "train/c": 0,
            "train/d": 2,
            "test/a": 1,
            "test/b": 1,
            "test/e": 1,
        }
    )
    with pytest.raises(DataError) as caught:
        open_dataset(describe(source="folder", path=str(root)))
    text = str(caught.value)
    for name in ("c", "d", "e"):
        assert f'"{name}"' in text
    assert 'dataset.classes = ["a", "b"]' in text
    table = open_dataset(describe(source="folder", path=str(root), classes=["a", "b"]))
    assert table.classes == ["a", "b"]
    assert table.counts()["test"].tolist() == [1, 1]


def test_classes_give_order_and_subset(
    classes_of: Callable[..., Path], describe: Callable[..., Any]
) -> None:
    root = classes_of(
        {"train/a": 4, "train/b": 5, "train/c": 6, "test/a": 1, "test/b": 2, "test/c": 3}
    )
    table = open_dataset(
        describe(source="folder", path=str(root), classes=["c", "a"], validation=0)
    )
    assert table.classes == ["c", "a"]
    assert table.counts()["train"].tolist() == [6, 4]
    assert all(name.startswith(("test/a/", "test/c/")) for name in table.splits["test"].names)
    with pytest.raises(DataError, match=r'"cc" \(did you mean "c"\?\)'):
        open_dataset(describe(source="folder", path=str(root), classes=["cc", "a"]))


def test_real_splits_are_written_down(realdata: Path, describe: Callable[..., Any]) -> None:
    table = open_dataset(describe(source="folder", path=str(realdata / "datasets" / "intel6")))
    assert table.counts()["val"].tolist() == [23] * 6
    assert list(table.splits["val"].names[:4]) == INTEL_VAL


INTEL_VAL = [
    "train/buildings/11042.jpg",
    "train/buildings/11108.jpg",
    "train/buildings/11418.jpg",
    "train/buildings/12169.jpg",
]
