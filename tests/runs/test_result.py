import pytest
from factory import make_result

from tlui.runs.result import sound


def test_a_whole_result_is_left_as_it_is() -> None:
    assert sound(make_result()) == make_result()


@pytest.mark.parametrize(
    "part", ["metrics", "splits", "best", "versions", "skipped_images", "train_seconds"]
)
@pytest.mark.parametrize("odd", [True, "x", 10**400])
def test_what_has_another_type_is_left_out(part: str, odd: object) -> None:
    left = make_result()
    del left[part]
    assert sound({**make_result(), part: odd}) == left


@pytest.mark.parametrize("odd", [None, 1, [[1, 2], [3]], [[1, "x"], [2, 3]], [1, 2], {"a": 1}])
def test_a_confusion_is_square_or_absent(odd: object) -> None:
    result = make_result()
    result["splits"]["test"]["confusion"] = odd
    found = sound(result)["splits"]
    assert "confusion" not in found["test"] and "confusion" in found["val"]


def test_classes_are_tables_of_numbers() -> None:
    result = make_result()
    result["splits"]["test"]["classes"][0]["f1"] = []
    result["splits"]["val"]["classes"][1] = "x"
    found = sound(result)["splits"]
    assert "f1" not in found["test"]["classes"][0] and "f1" in found["test"]["classes"][1]
    assert "classes" not in found["val"]
