"""Every policy against its closed form, and against Keras where Keras has the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tlui.recipe.catalogue import POLICIES
from tlui.recipe.fields import node_at
from tlui.recipe.lr import LearningRate, Plateau, Policy

read = TypeAdapter(LearningRate).validate_python


def policy(name: str, **given: Any) -> Policy:
    return read({"policy": name, "initial": 0.01, **given})


def rates(lr: Policy, epochs: int) -> list[float]:
    return [lr.value(float(epoch), epochs) for epoch in range(epochs)]


class TestClosedForms:
    def test_constant(self) -> None:
        assert rates(policy("constant"), 4) == [0.01] * 4

    def test_exponential(self) -> None:
        got = rates(policy("exponential", k=0.3), 50)
        assert got == pytest.approx([0.01 * math.exp(-0.3 * e) for e in range(50)], rel=1e-12)

    @pytest.mark.parametrize(("drop", "every"), [(0.5, 10), (0.75, 5), (0.98, 1)])
    def test_step(self, drop: float, every: int) -> None:
        got = rates(policy("step", drop=drop, epochs_drop=every), 40)
        assert got == pytest.approx([0.01 * drop ** (e // every) for e in range(40)], rel=1e-12)

    def test_step_with_offset_drops_one_epoch_early(self) -> None:
        got = rates(policy("step", drop=0.5, epochs_drop=10, offset=1), 25)
        expected = [0.01 * 0.5 ** math.floor((1 + e) / 10) for e in range(25)]
        assert got == pytest.approx(expected, rel=1e-12)
        assert got[8] == 0.01
        assert got[9] == 0.005

    def test_one_cycle_rises_then_falls_to_the_end(self) -> None:
        lr = policy("one-cycle", peak=0.1, rise=0.25, end=1e-5)
        assert lr.value(0.0, 8) == pytest.approx(0.01)
        assert lr.value(1.0, 8) == pytest.approx((0.01 + 0.1) / 2)
        assert lr.value(2.0, 8) == pytest.approx(0.1)
        assert lr.value(5.0, 8) == pytest.approx((0.1 + 1e-5) / 2)
        assert lr.value(8.0, 8) == pytest.approx(1e-5)

    def test_per_epoch_is_constant_within_an_epoch_and_per_step_is_not(self) -> None:
        whole = policy("exponential", k=0.5)
        moving = policy("exponential", k=0.5, per="step")
        assert whole.value(2.99, 5) == whole.value(2.0, 5)
        assert moving.value(2.5, 5) == pytest.approx(0.01 * math.exp(-1.25))

    def test_progress_a_rounding_error_below_an_epoch_counts_as_that_epoch(self) -> None:
        lr = policy("step", drop=0.5, epochs_drop=3)
        assert lr.value(3 - 1e-12, 10) == 0.005


class TestWarmup:
    @pytest.mark.parametrize("name", sorted(POLICIES))
    def test_ramps_at_every_step_to_the_policys_start_and_shifts_it(self, name: str) -> None:
        extra: dict[str, dict[str, Any]] = {
            "exponential": {"k": 0.3},
            "step": {"drop": 0.5, "epochs_drop": 2},
            "piecewise": {"boundaries": [2], "values": [0.001]},
            "cosine-restarts": {"first_epochs": 3},
            "one-cycle": {"peak": 0.05},
            "inverse-time": {"rate": 1.0},
        }
        bare = policy(name, **extra.get(name, {}))
        warm = policy(name, warmup={"epochs": 2, "start": 0.001}, **extra.get(name, {}))
        assert warm.value(0.0, 10) == pytest.approx(0.001)
        assert warm.value(0.5, 10) == pytest.approx(0.001 + 0.009 * 0.25)
        assert warm.value(1.0, 10) == pytest.approx(0.0055)
        for epoch in range(2, 10):
            assert warm.value(float(epoch), 10) == bare.value(float(epoch - 2), 8)

    def test_half_an_epoch_of_warmup_does_not_reach_before_the_start(self) -> None:
        lr = policy("exponential", k=1.0, warmup={"epochs": 0.5})
        assert lr.value(0.25, 3) == pytest.approx(0.005)
        assert lr.value(0.75, 3) == pytest.approx(0.01)
        assert lr.value(1.0, 3) == pytest.approx(0.01 * math.exp(-0.5))

    def test_warmup_longer_than_the_phase(self) -> None:
        lr = policy("cosine", warmup={"epochs": 5})
        assert rates(lr, 3) == pytest.approx([0.0, 0.002, 0.004])


class TestAgainstKeras:
    @pytest.fixture(scope="class")
    def schedules(self) -> Any:
        return pytest.importorskip("keras").optimizers.schedules

    def same(self, ours: Policy, theirs: Any, length: int = 24) -> None:
        got = [ours.at(float(e), float(length)) for e in range(length + 3)]
        want = [float(theirs(e)) for e in range(length + 3)]
        assert got == pytest.approx(want, rel=2e-5, abs=1e-9)

    def test_exponential(self, schedules: Any) -> None:
        theirs = schedules.ExponentialDecay(0.01, decay_steps=1, decay_rate=math.exp(-0.3))
        self.same(policy("exponential", k=0.3), theirs)

    def test_step_is_staircase_exponential(self, schedules: Any) -> None:
        theirs = schedules.ExponentialDecay(0.01, 10, 0.5, staircase=True)
        self.same(policy("step", drop=0.5, epochs_drop=10), theirs)

    @pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
    def test_polynomial(self, schedules: Any, power: float) -> None:
        theirs = schedules.PolynomialDecay(0.01, 20, 1e-4, power=power)
        self.same(policy("polynomial", end=1e-4, power=power, decay_epochs=20), theirs)

    def test_piecewise(self, schedules: Any) -> None:
        theirs = schedules.PiecewiseConstantDecay([5, 12], [0.01, 0.003, 0.0005])
        self.same(policy("piecewise", boundaries=[5, 12], values=[0.003, 0.0005]), theirs)

    def test_cosine(self, schedules: Any) -> None:
        theirs = schedules.CosineDecay(0.01, 20, alpha=0.1)
        self.same(policy("cosine", end=0.001, decay_epochs=20), theirs)

    def test_cosine_over_the_whole_phase(self, schedules: Any) -> None:
        self.same(policy("cosine"), schedules.CosineDecay(0.01, 24))

    @pytest.mark.parametrize(("t_mul", "m_mul"), [(2.0, 1.0), (1.0, 0.5), (1.5, 0.9)])
    def test_cosine_restarts(self, schedules: Any, t_mul: float, m_mul: float) -> None:
        # first_epochs is not a whole number, so that Keras's float32 never has to decide
        # on which side of a restart an epoch lies
        theirs = schedules.CosineDecayRestarts(0.01, 4.3, t_mul, m_mul, alpha=0.05)
        ours = policy("cosine-restarts", first_epochs=4.3, t_mul=t_mul, m_mul=m_mul, end=0.0005)
        self.same(ours, theirs)

    def test_restart_falls_exactly_on_its_epoch(self) -> None:
        lr = policy("cosine-restarts", first_epochs=3, t_mul=2.0)
        assert [e for e in range(1, 22) if lr.at(float(e), 30.0) == pytest.approx(0.01)] == [
            3,
            9,
            21,
        ]

    def test_inverse_time(self, schedules: Any) -> None:
        theirs = schedules.InverseTimeDecay(0.01, decay_steps=4, decay_rate=0.7)
        self.same(policy("inverse-time", rate=0.7, decay_epochs=4), theirs)

    @pytest.mark.parametrize(
        "given",
        [
            {"factor": 0.5, "patience": 2},
            {"factor": 0.5, "patience": 1, "cooldown": 2},
            {"factor": 0.1, "patience": 1, "minimum": 5e-4},
            {"factor": 0.5, "patience": 1, "minimum": 0.5},
            {"factor": 0.2, "patience": 3, "min_delta": 0.05, "cooldown": 1},
        ],
    )
    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_plateau(self, given: dict[str, Any], mode: str) -> None:
        keras = pytest.importorskip("keras")
        history = [
            0.5,
            0.5,
            0.52,
            0.4,
            0.41,
            float("nan"),
            0.45,
            0.6,
            0.6,
            0.6,
            0.61,
            0.2,
            0.2,
            0.2,
        ]

        class Optimizer:
            learning_rate = keras.Variable(0.01)

        class Model:
            optimizer = Optimizer()

        callback = keras.callbacks.ReduceLROnPlateau(
            monitor="x", mode=mode, factor=given["factor"], patience=given["patience"],
            cooldown=given.get("cooldown", 0), min_lr=given.get("minimum", 0.0),
            min_delta=given.get("min_delta", 1e-4),
        )  # fmt: skip
        callback.set_model(Model())
        callback.on_train_begin()
        ours = policy("plateau", **given)
        assert isinstance(ours, Plateau)
        for epoch, metric in enumerate(history):
            callback.on_epoch_end(epoch, {"x": metric})
            got = 0.01 * ours.replay(history[: epoch + 1], higher_is_better=mode == "max")
            assert got == pytest.approx(float(Model.optimizer.learning_rate), rel=1e-5), epoch


class TestWhatCanBeSaid:
    def test_the_catalogue_describes_every_policy(self) -> None:
        node = node_at(("phase", "0", "lr"))
        assert node is not None
        assert set(node.tables) == set(POLICIES)

    @pytest.mark.parametrize(
        "given",
        [
            {"policy": "one-cycle", "initial": 0.1, "peak": 0.01},
            {"policy": "piecewise", "initial": 0.1, "boundaries": [2, 1], "values": [1e-2, 1e-3]},
            {"policy": "piecewise", "initial": 0.1, "boundaries": [2], "values": [1e-2, 1e-3]},
            {"policy": "cosine-restarts", "initial": 0.1, "first_epochs": 1e-300},
            {"policy": "constant", "initial": float("nan")},
        ],
    )
    def test_nonsense_is_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            read(given)

    small = st.floats(1e-3, 1e3)

    @given(
        given=st.one_of(
            st.fixed_dictionaries({"policy": st.just("constant")}),
            st.fixed_dictionaries({"policy": st.just("exponential"), "k": st.floats(1e-9, 1e300)}),
            st.fixed_dictionaries(
                {
                    "policy": st.just("step"),
                    "drop": st.floats(0, 1, exclude_min=True, exclude_max=True),
                    "epochs_drop": small,
                    "offset": st.sampled_from([0, 1]),
                }
            ),
            st.fixed_dictionaries(
                {"policy": st.just("polynomial"), "power": st.floats(1e-3, 1e3), "end": small}
            ),
            st.fixed_dictionaries({"policy": st.just("cosine"), "end": st.floats(0, 1)}),
            st.fixed_dictionaries(
                {
                    "policy": st.just("cosine-restarts"),
                    "first_epochs": small,
                    "t_mul": st.floats(1, 1000),
                    "m_mul": st.floats(1e-3, 1),
                }
            ),
            st.fixed_dictionaries({"policy": st.just("one-cycle"), "peak": st.floats(1.5, 1000)}),
            st.fixed_dictionaries(
                {"policy": st.just("inverse-time"), "rate": st.floats(1e-300, 1e300)}
            ),
        ),
        per=st.sampled_from(["epoch", "step"]),
        warmup=st.none() | small,
        epochs=st.integers(1, 100_000),
        share=st.floats(0, 1),
    )
    def test_every_rate_is_finite_and_not_negative(
        self, given: dict[str, Any], per: str, warmup: float | None, epochs: int, share: float
    ) -> None:
        ramp = {"warmup": {"epochs": warmup}} if warmup else {}
        lr = read({"initial": 1.0, "per": per, **given, **ramp})
        rate = lr.value(share * epochs, epochs)
        assert math.isfinite(rate)
        assert rate >= 0
