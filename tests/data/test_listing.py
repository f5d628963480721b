from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tlui.data.listing import Listing, list_dataset
from tlui.recipe.sources import Dataset


def listing(**given: Any) -> Listing:
    return list_dataset(TypeAdapter(Dataset).validate_python({"source": "folder", **given}))


def test_data_that_is_not_here_may_be_elsewhere(tmp_path: Path) -> None:
    gone = listing(path=str(tmp_path / "gone"))
    assert gone.classes is None and not gone.wrong and "does not exist" in gone.unknown
    named = listing(path=str(tmp_path / "gone"), classes=["a", "b"])
    assert named.classes == ["a", "b"] and not named.images


def test_data_that_is_here_and_wrong(tmp_path: Path) -> None:
    assert "no class folders" in listing(path=str(tmp_path)).wrong
    assert not listing(path=str(tmp_path)).unknown


def test_classes_and_splits_of_data_that_is_here() -> None:
    digits = listing(source="digits", classes=["1", "0"], validation=0.5)
    assert digits.classes == ["1", "0"] and list(digits.images) == ["train", "val", "test"]
    assert not digits.wrong and not digits.unknown
