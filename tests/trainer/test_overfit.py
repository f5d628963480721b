"""A validation that turns up, told from one that only shakes: curves with known noise."""

import numpy as np
import pytest

from tlui.trainer.overfit import noise, rise

FALLING = 0.05


def curves(epochs, deviation, seed, turn=None, slope=0.04):
    """(train, val): val falls to 0.5 and, from epoch `turn` on, climbs; both as losses do."""
    e = np.arange(epochs)
    val = 0.5 + 1.2 * np.exp(-0.4 * e)
    if turn is not None:
        val = val + slope * np.maximum(e - turn, 0)
    shaken = val * (1 + deviation * np.random.default_rng(seed).standard_normal(epochs))
    return np.exp(-FALLING * e), shaken


def first_alarm(train, val):
    """The epoch after which a rise is seen first; None where it never is."""
    return next((n for n in range(1, len(val) + 1) if rise(train[:n], val[:n])), None)


class TestACurveThatOnlyShakes:
    @pytest.mark.parametrize("deviation", [0.0, 0.01, 0.03, 0.1, 0.2])
    def test_is_hardly_ever_taken_for_a_rising_one(self, deviation):
        alarms = [first_alarm(*curves(50, deviation, seed)) for seed in range(200)]
        assert sum(a is not None for a in alarms) <= 4  # 2 % of runs of 50 epochs

    def test_three_epochs_up_in_a_row_are_not_enough(self):
        val = [1.0, 0.8, 0.7, 0.75, 0.66, 0.7, 0.72, 0.74]
        assert np.all(np.diff(val[-4:]) > 0)
        assert rise([1 / (n + 1) for n in range(8)], val) == 0.0


class TestACurveThatTurnsUp:
    @pytest.mark.parametrize(("deviation", "latest"), [(0.0, 14), (0.01, 15), (0.05, 20)])
    def test_is_seen_soon_and_never_before(self, deviation, latest):
        """It turns after epoch 8."""
        for seed in range(200):
            alarm = first_alarm(*curves(40, deviation, seed, turn=8))
            assert alarm is not None and 9 < alarm <= latest

    def test_by_how_much(self):
        val = [2.0, 1.0, 1.0, 1.0, 1.1, 1.3, 1.5, 1.7]
        train = [1 / (n + 1) for n in range(8)]
        assert rise(train, val) == pytest.approx(1.5 / 1.0 - 1)

    def test_short_of_two_strips_nothing_is_said(self):
        val, train = [1.0, 1.0, 1.0, 2.0, 3.0, 4.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
        assert rise(train, val) == pytest.approx(2.0)
        assert rise(train[:5], val[:5]) == 0.0

    def test_training_that_gets_worse_as_well_does_not_overfit(self):
        _, val = curves(40, 0.01, 0, turn=8)
        assert rise(np.exp(-FALLING * np.arange(40)), val) > 0
        assert rise(np.ones(40), val) == rise(np.linspace(0.1, 0.5, 40), val) == 0.0

    def test_a_rise_within_five_percent_is_not_worth_a_word(self):
        val = np.r_[np.linspace(1.0, 0.5, 10), np.full(10, 0.5 * 1.04)]
        assert rise(np.exp(-np.arange(20)), val) == 0.0
        assert rise(np.exp(-np.arange(20)), np.r_[val[:10], np.full(10, 0.5 * 1.2)]) > 0.05


@pytest.mark.parametrize("deviation", [0.01, 0.1])
def test_noise_is_measured_whatever_the_trend(deviation):
    drawn = deviation * np.random.default_rng(3).standard_normal(2000)
    trend = 5 * np.exp(-0.1 * np.arange(2000))
    assert noise(drawn) == pytest.approx(deviation, rel=0.08)
    assert noise(drawn + trend) == pytest.approx(deviation, rel=0.08)
    assert noise(np.linspace(3.0, 1.0, 9)) == pytest.approx(0.0, abs=1e-12)
