"""Names and tables write a number in one way."""

from __future__ import annotations

import random

import pytest

from tlui.cli.compare import setting
from tlui.recipe.number import short_number
from tlui.runs.format import rate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.01, "0.01"), (1e-4, "1e-4"), (2.5e-5, "2.5e-5"), (0.25, "0.25"), (1.0, "1")),
        *((0.0, "0"), (32, "32"), (-3e-5, "-3e-5"), (1.5e7, "1.5e7")),
    ],
)
def test_a_run_is_named_and_listed_alike(value: float, text: str) -> None:
    assert short_number(value) == rate(value) == setting("phase.0.lr.initial", value, True) == text
    assert setting("train.weight_decay", value, True) == text


def test_no_digit_is_lost() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        value = chance.uniform(-1, 1) * 10 ** chance.randint(-300, 300)
        assert float(short_number(value)) == value
