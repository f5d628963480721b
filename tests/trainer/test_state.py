"""Progress, learning rates and early stopping."""

import json
import math

import pytest
from pydantic import TypeAdapter

from tlui.recipe.schema import EarlyStopping, Phase
from tlui.trainer.state import TrainingState, rate_at, should_stop_early


def phase(**lr):
    return TypeAdapter(Phase).validate_python({"epochs": 4, "lr": lr})


class TestBest:
    def test_of_accuracies_the_first_of_equals(self):
        state = TrainingState("val_accuracy")
        values = (0.5, 0.7, 0.7, 0.6)
        assert [state.finish_epoch({"val_accuracy": v}) for v in values] == [1, 1, 0, 0]
        assert state.best == {"epoch": 2, "value": 0.7}

    def test_of_losses(self):
        state = TrainingState("val_loss")
        assert [state.finish_epoch({"val_loss": v}) for v in (1.0, 2.0, 0.5)] == [1, 0, 1]

    def test_an_undefined_value_is_never_best(self):
        state = TrainingState("val_f1")
        assert not state.finish_epoch({"val_f1": math.nan})
        assert state.best is None


class TestRates:
    def test_per_epoch_is_constant_within(self):
        state = TrainingState("val_loss", phase_epoch=2)
        given = phase(policy="exponential", initial=0.1, k=0.5)
        assert rate_at(given, state, 7, 10) == pytest.approx(0.1 * math.exp(-1.0))

    def test_per_step_follows_progress(self):
        state = TrainingState("val_loss", phase_epoch=2)
        given = phase(policy="cosine", initial=0.1, per="step")
        expected = 0.05 * (1 + math.cos(math.pi * 2.5 / 4))
        assert rate_at(given, state, 5, 10) == pytest.approx(expected)

    def test_plateau_replays_this_phase_only(self):
        state = TrainingState("val_loss")
        for value in (1.0, 1.0, 1.0):
            state.finish_epoch({"val_loss": value})
        given = phase(policy="plateau", initial=0.1, factor=0.5, patience=2)
        assert rate_at(given, state, 0, 10) == pytest.approx(0.05)
        state.phase, state.phase_epoch = 1, 0
        assert rate_at(given, state, 0, 10) == pytest.approx(0.1)


class TestEarlyStopping:
    @pytest.mark.parametrize(
        "values,ends",
        [
            ([0.5, 0.6], False),
            ([0.5, 0.5, 0.5], True),
            ([0.5, 0.55, 0.58], True),  # less than min_delta above the best each time
            ([0.5, 0.4, 0.7], False),
            ([0.5, math.nan, math.nan], True),
            ([], False),
        ],
    )
    def test_patience_and_delta(self, values, ends):
        rule = EarlyStopping(patience=2, min_delta=0.1)
        assert should_stop_early(rule, values, "val_accuracy") is ends

    def test_not_asked_for(self):
        assert not should_stop_early(None, [1.0] * 99, "val_loss")


def test_json_brings_it_back():
    state = TrainingState("val_loss", phase=1, step=3)
    state.finish_epoch({"val_loss": 0.1 + 0.2, "train_f1": math.nan})
    back = TrainingState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert back.history[0]["val_loss"] == 0.1 + 0.2
    assert repr(back) == repr(state)


def test_fields_of_a_later_version_are_passed_over():
    assert TrainingState.from_dict({"monitor": "val_loss", "moon": "full"}).epoch == 0
