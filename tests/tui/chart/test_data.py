"""Folding points: buckets, gaps, smoothing, truncation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tlui.tui.chart.data import FOLD, Pyramid, Timeline


@pytest.mark.parametrize("count", [1, 3, 4, 5, 63, 64, 65, 1000, 4097])
def test_buckets_cover_every_point_once_and_hold_its_extremes(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    pyramid = Pyramid()
    for value in values:
        pyramid.append(float(value))
    for most in (1, 7, 50, 5000):
        got = pyramid.buckets(0, count, most)
        edges = [*got.first, count]
        for low, high, start, stop in zip(got.low, got.high, edges, edges[1:], strict=False):
            assert low == values[start:stop].min()
            assert high == values[start:stop].max()
        assert got.first[0] == 0
        assert len(got.first) <= max(most, FOLD) + 1


def test_appending_one_by_one_equals_extending_at_once() -> None:
    values = np.random.default_rng(1).normal(size=777)
    one, many = Pyramid(), Pyramid()
    for value in values:
        one.append(float(value))
    many.extend(values)
    for most in (3, 30, 300):
        a, b = one.buckets(13, 700, most), many.buckets(13, 700, most)
        assert np.array_equal(a.first, b.first)
        assert np.array_equal(a.low, b.low)
        assert np.array_equal(a.high, b.high)


def test_nan_is_passed_over_in_buckets_but_kept_where_all_are() -> None:
    pyramid = Pyramid()
    pyramid.extend([1.0, math.nan, 3.0, 2.0, *[math.nan] * 4])
    got = pyramid.buckets(0, 8, 2)
    assert got.low[0] == 1.0
    assert got.high[0] == 3.0
    assert math.isnan(got.low[1])


def test_truncating_and_going_on_equals_never_having_been_there() -> None:
    rng = np.random.default_rng(2)
    first, rest = rng.normal(size=50), rng.normal(size=60)
    cut, straight = Pyramid(), Pyramid()
    cut.extend(np.r_[first, rng.normal(size=40)])
    cut.truncate(50)
    cut.extend(rest)
    straight.extend(np.r_[first, rest])
    a, b = cut.buckets(0, 110, 8), straight.buckets(0, 110, 8)
    assert np.array_equal(a.low, b.low)
    assert np.array_equal(a.high, b.high)


@pytest.mark.parametrize("weight", [0.3, 0.6, 0.97])
def test_smoothing_is_the_debiased_average_whatever_the_portions(weight: float) -> None:
    values = np.random.default_rng(3).normal(size=301)
    values[[0, 7, 200]] = np.nan
    line = Timeline()
    last, seen, expected = 0.0, 0, []
    for i, value in enumerate(values):
        line.append(i, i, i, {"loss": value})
        if i % 37 == 0:
            line.series["loss"].smoothed(weight)
        if math.isfinite(value):
            last, seen = weight * last + (1 - weight) * value, seen + 1
            expected.append(last / (1 - weight**seen))
        else:
            expected.append(math.nan)
    got = line.series["loss"].smoothed(weight).raw.values
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_a_metric_that_comes_late_starts_with_gaps_and_infinity_is_one() -> None:
    line = Timeline()
    line.append(1, 1, 1, {"loss": 1.0})
    line.append(2, 2, 2, {"loss": math.inf, "val": 0.5})
    line.append(3, 3, 3, {"loss": None, "val": 0.6})
    assert [math.isnan(v) for v in line.series["loss"].values] == [False, True, True]
    assert math.isnan(line.series["val"].values[0])
    assert line.series["val"].at("step", 9) == (3.0, 0.6)
    assert line.series["loss"].at("step", 9) == (1.0, 1.0)


def test_a_resume_voids_what_was_trained_past_its_step() -> None:
    line = Timeline()
    for step in range(100):
        line.append(step, step / 10, step, {"loss": float(step)})
    line.truncate_after(49)
    line.append(50, 5.0, 200, {"loss": -1.0})
    assert len(line) == 51
    assert line.series["loss"].at("step", 1000) == (50.0, -1.0)
