"""Learning-rate policies: each a pure function of progress, with its source.

A policy is one class here: its fields are what a preset may say, `at` is the closed form. The
form's preview, the CSV and the trainer all call `LearningRate.value`, so what is drawn is what
trains. A new policy is one class and one entry in `LearningRate`.

Progress is counted in epochs of the phase as a real number: `0.0` at its first step, `2.5` in
the middle of the third epoch. Ask `value` at every step: with `per = "epoch"` (the default) it
rounds progress down, so the rate is constant within an epoch; with `per = "step"` it does not.
The warm-up ramp moves at every step in either case, or a first epoch at rate 0 would be lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal, Union

from pydantic import Field, PositiveFloat, PositiveInt

from tlui.recipe.strict import Refused, Table, rule

Fraction = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Epochs = Annotated[float, Field(ge=1e-3, le=1e6)]
"""A length in epochs; so short or long that a formula overflows is refused."""
Start = Annotated[float, Field(gt=0, le=1000)]
"""A learning rate to start from."""


class Warmup(Table):
    """Linear warm-up in front of a policy (Goyal et al. 2017, arXiv:1706.02677, section 2.2)."""

    epochs: Epochs
    """How many epochs the ramp takes; the policy itself starts after it."""
    start: NonNegative = 0.0
    """The rate the ramp starts from."""


class Policy(Table):
    """What all policies share.

    `value` is the rate at a point of the phase, warm-up included; `at` the bare closed form.
    """

    initial: Start
    """Learning rate at the start (after warm-up)."""
    per: Literal["epoch", "step"] = "epoch"
    """Whether the rate changes once an epoch or at every step."""
    warmup: Warmup | None = None

    def at(self, epoch: float, epochs: float) -> float:
        """The closed form: `epoch` in [0, epochs], both real and counted without warm-up."""
        raise TypeError(f"{type(self).__name__} has no closed form")

    def value(self, epoch: float, epochs: int) -> float:
        """The learning rate at `epoch` (real, 0 at the phase's start) of a phase of `epochs`."""
        ramp = self.warmup.epochs if self.warmup is not None else 0.0
        rest = max(epochs - ramp, 0.0)
        if self.warmup is not None and epoch < ramp:
            target = self.at(0.0, rest)
            return self.warmup.start + (target - self.warmup.start) * epoch / ramp
        if self.per == "epoch":
            epoch = float(math.floor(epoch + 1e-9))
        return self.at(max(epoch - ramp, 0.0), rest)


class Constant(Policy):
    """`lr0`, for ever."""

    policy: Literal["constant"]

    def at(self, epoch: float, epochs: float) -> float:
        return self.initial


class Exponential(Policy):
    """`lr0 * exp(-k * epoch)`."""

    policy: Literal["exponential"]
    k: PositiveFloat
    """Decay per epoch."""

    def at(self, epoch: float, epochs: float) -> float:
        return self.initial * math.exp(-self.k * epoch)


class Step(Policy):
    """`lr0 * drop ** floor((offset + epoch) / epochs_drop)`.

    With `offset = 1` the first drop comes one epoch early: the `(1 + epoch)` variant that many
    scripts carry.
    """

    policy: Literal["step"]
    drop: Fraction
    """Factor at each drop."""
    epochs_drop: Epochs
    """Epochs between drops."""
    offset: Literal[0, 1] = 0

    def at(self, epoch: float, epochs: float) -> float:
        drops = math.floor((self.offset + epoch) / self.epochs_drop + 1e-9)
        return float(self.initial * self.drop**drops)


class Polynomial(Policy):
    """`(lr0 - end) * (1 - min(epoch, D) / D) ** power + end` (keras PolynomialDecay)."""

    policy: Literal["polynomial"]
    end: NonNegative = 0.0
    power: PositiveFloat = 1.0
    decay_epochs: Epochs | None = None
    """D; the length of the phase where not given."""

    def at(self, epoch: float, epochs: float) -> float:
        length = self.decay_epochs or max(epochs, 1e-12)
        rest = 1.0 - min(epoch, length) / length
        return float((self.initial - self.end) * rest**self.power + self.end)


class Piecewise(Policy):
    """`initial` up to and including the first boundary, then `values[i]` after `boundaries[i]`.

    Boundaries are inclusive on the left, as in keras PiecewiseConstantDecay.
    """

    policy: Literal["piecewise"]
    boundaries: Annotated[list[Epochs], Field(min_length=1)]
    """Epochs, rising."""
    values: Annotated[list[Start], Field(min_length=1)]
    """One rate after each boundary."""

    @staticmethod
    @rule("boundaries", "values")
    def _as_many(boundaries: list[float], values: list[float]) -> Iterator[Refused]:
        if len(values) != len(boundaries):
            yield Refused(
                f"must hold one rate for each boundary. "
                f"Received: {len(boundaries)} boundaries, {len(values)} values",
                "values",
            )

    @staticmethod
    @rule("boundaries")
    def _rise(boundaries: list[float]) -> Iterator[Refused]:
        if sorted(set(boundaries)) != boundaries:
            yield Refused(f"must rise. Received: {boundaries}", "boundaries")

    def at(self, epoch: float, epochs: float) -> float:
        rate = self.initial
        for boundary, after in zip(self.boundaries, self.values, strict=True):
            if epoch > boundary:
                rate = after
        return rate


class Cosine(Policy):
    """`end + (lr0 - end) * (1 + cos(pi * min(epoch, D) / D)) / 2`.

    Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts (keras CosineDecay with
    `alpha = end / lr0`).
    """

    policy: Literal["cosine"]
    end: NonNegative = 0.0
    decay_epochs: Epochs | None = None
    """D; the length of the phase where not given."""

    def at(self, epoch: float, epochs: float) -> float:
        length = self.decay_epochs or max(epochs, 1e-12)
        done = min(epoch, length) / length
        return self.end + (self.initial - self.end) * 0.5 * (1.0 + math.cos(math.pi * done))


class CosineRestarts(Policy):
    """SGDR: cosine decay that restarts (Loshchilov & Hutter 2016, arXiv:1608.03983).

    The i-th period lasts `first_epochs * t_mul**i` and starts from `lr0 * m_mul**i`
    (keras CosineDecayRestarts with `alpha = end / lr0`).
    """

    policy: Literal["cosine-restarts"]
    first_epochs: Epochs
    t_mul: Annotated[float, Field(ge=1, le=1000)] = 2.0
    m_mul: Annotated[float, Field(gt=0, le=1)] = 1.0
    end: NonNegative = 0.0

    def at(self, epoch: float, epochs: float) -> float:
        done = epoch / self.first_epochs
        if self.t_mul == 1.0:
            period = math.floor(done + 1e-9)
            within = max(done - period, 0.0)
        else:
            grown = 1.0 - done * (1.0 - self.t_mul)
            period = math.floor(math.log(grown) / math.log(self.t_mul) + 1e-9)
            start = (1.0 - self.t_mul**period) / (1.0 - self.t_mul)
            within = max(done - start, 0.0) / self.t_mul**period
        decay = 0.5 * self.m_mul**period * (1.0 + math.cos(math.pi * within))
        return self.end + (self.initial - self.end) * decay


class OneCycle(Policy):
    """One-cycle: cosine up from `lr0` to `peak`, then cosine down to `end`.

    Smith & Topin 2017, arXiv:1708.07120, with cosine annealing in both halves as in fastai.
    """

    policy: Literal["one-cycle"]
    peak: Start
    rise: Fraction = 0.25
    """Share of the phase spent going up."""
    end: NonNegative = 0.0
    per: Literal["epoch", "step"] = "step"

    @staticmethod
    @rule("peak", "initial")
    def _above(peak: float, initial: float) -> Iterator[Refused]:
        if peak <= initial:
            yield Refused(
                f"must be above initial. Received: peak={peak:g}, initial={initial:g}", "peak"
            )

    def at(self, epoch: float, epochs: float) -> float:
        top = self.rise * max(epochs, 1e-12)
        if epoch < top:
            return self.peak + (self.initial - self.peak) * _half_cosine(epoch / top)
        done = (epoch - top) / max(epochs - top, 1e-12)
        return self.end + (self.peak - self.end) * _half_cosine(min(done, 1.0))


class InverseTime(Policy):
    """`lr0 / (1 + rate * epoch / decay_epochs)` (keras InverseTimeDecay)."""

    policy: Literal["inverse-time"]
    rate: PositiveFloat
    decay_epochs: Epochs = 1.0

    def at(self, epoch: float, epochs: float) -> float:
        return self.initial / (1.0 + self.rate * epoch / self.decay_epochs)


class Plateau(Policy):
    """`lr0 * factor ** reductions`: reduce when the monitored metric stops improving.

    The only policy that looks at results: `replay` is a pure function of the metric's history.
    Same rules as keras ReduceLROnPlateau. Its preview is the rate before any reduction.
    """

    policy: Literal["plateau"]
    factor: Fraction = 0.1
    patience: PositiveInt = 3
    """Epochs without improvement before a reduction."""
    min_delta: NonNegative = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    """Epochs to wait after a reduction before counting again."""
    minimum: NonNegative = 0.0
    per: Literal["epoch"] = "epoch"

    def at(self, epoch: float, epochs: float) -> float:
        return self.initial

    def replay(self, history: list[float], higher_is_better: bool) -> float:
        """The factor (0, 1] that scales the rate after the epochs in `history`.

        `history` holds the monitored metric of every finished epoch of this phase, oldest
        first. The caller multiplies `value` by it.
        """
        sign = 1.0 if higher_is_better else -1.0
        best, wait, cooling, factor = -math.inf, 0, 0, 1.0
        for metric in history:
            if cooling > 0:
                cooling -= 1
                wait = 0
            if math.isfinite(metric) and sign * metric > best + self.min_delta:
                best, wait = sign * metric, 0
            elif cooling <= 0:
                wait += 1
                if wait >= self.patience and self.initial * factor > self.minimum:
                    factor = max(factor * self.factor, self.minimum / self.initial)
                    cooling, wait = self.cooldown, 0
        return factor


def _half_cosine(done: float) -> float:
    """1 at 0, 0 at 1, along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


LearningRate = Annotated[
    Union[
        Constant,
        Exponential,
        Step,
        Polynomial,
        Piecewise,
        Cosine,
        CosineRestarts,
        OneCycle,
        InverseTime,
        Plateau,
    ],
    Field(discriminator="policy"),
]
