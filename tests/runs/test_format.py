import math

import pytest

from tlui.runs import format


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.91236, ".9124"),
        (0.999951, "1.000"),
        (1.0, "1.000"),
        (0.0, ".0000"),
        (None, "–"),
        (math.nan, "nan"),
        (-math.inf, "nan"),
        (12.5, "12.50"),
    ],
)
def test_metric(value: float | None, shown: str) -> None:
    assert format.metric(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.40119, ".4012"),
        (1.6, "1.600"),
        (12.345, "12.35"),
        (99.996, "100.0"),
        (0.00123456, ".001235"),
        (0.9999999, "1.000"),
        (0.0000432, "4.320e-5"),
        (1234567.0, "1.235e6"),
        (-0.25, "-.2500"),
        (0, ".0000"),
    ],
)
def test_loss_has_four_significant_digits(value: float, shown: str) -> None:
    assert format.loss(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e-4, "1e-4"),
        (5e-7, "5e-7"),
        (0.00025, "2.5e-4"),
        (0.01, "0.01"),
        (0.05, "0.05"),
        (0.0099999, "0.01"),
        (1.0, "1"),
        (0, "0"),
    ],
)
def test_rate(value: float, shown: str) -> None:
    assert format.rate(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (42, "42s"),
        (190, "3m10"),
        (5040, "1h24"),
        (0.04, "40ms"),
        (4.92, "4.9s"),
        (59.7, "1m00"),
        (3599.7, "1h00"),
        (86400 * 2 + 3600 * 3, "2d03"),
        (None, "–"),
    ],
)
def test_duration(seconds: float | None, shown: str) -> None:
    assert format.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(13050, "13,050"), (2_257_984, "2.26M"), (422_000, "422k"), (999_700, "1.00M"), (0, "0")],
)
def test_count(value: int, shown: str) -> None:
    assert format.count(value) == shown


def test_ascii_has_nothing_else() -> None:
    shown = [
        format.metric(None, ascii=True),
        format.state_word("running", ascii=True),
        format.sparkline([0.1, 0.5, None, 0.9], ascii=True),
        format.progress(None, None, ascii=True),
    ]
    assert all(text.isascii() for text in shown)


def test_state_is_glyph_and_word() -> None:
    assert format.state_word("finished") == "✓ finished"
    assert format.state_word("finished", ascii=True) == "+ finished"
    assert format.state_word("odd") == "? odd"


def test_sparkline_rises_with_the_values() -> None:
    assert format.sparkline([0, 1, 2, 3, 4], 5, ascii=True) == "_.-~^"
    assert format.sparkline([1, 1], 5, ascii=True) == "__"
    assert format.sparkline([], 5) == ""
    assert format.sparkline([None, math.nan], 5) == ""
    assert len(format.sparkline(list(range(1000)), 5)) == 5
    assert format.sparkline([0, 0, 9, 9], 5) == "⣀⠉"


def test_named_follows_the_name() -> None:
    assert format.named("val_loss", 1.25) == "1.250"
    assert format.named("phase.0.lr.initial", 1e-4) == "1e-4"
    assert format.named("train_seconds", 84.5) == "1m24"
    assert format.named("trainable_parameters", 7686) == "7,686"
    assert format.named("peak_memory_mb", 3174) == "3.1G"
    assert format.named("test_f1", 0.5) == ".5000"


def test_skipped_counts_files() -> None:
    assert format.skipped(1) == "1 file skipped"
    assert format.skipped(1234) == "1,234 files skipped"
