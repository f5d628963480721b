"""Where training stands: everything a resume needs that is not an array.

Plain data with a JSON form. Counting: `epoch` is the number of finished epochs of the run through
all phases, `phase_epoch` those of the phase, `step` the finished steps of the epoch under way.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from tlui.recipe.lr import Plateau
from tlui.recipe.schema import EarlyStopping, Phase
from tlui.runs.history import lower_is_better

VERSION = 1


@dataclass
class TrainingState:
    """Progress of a run."""

    monitor: str
    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    step: int = 0
    global_step: int = 0
    seconds: float = 0.0
    """Spent training and validating, all attempts together."""
    epoch_seconds: float = 0.0
    """Spent in the epoch under way."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row a finished epoch: phase, epoch and the metrics."""
    best: dict[str, Any] | None = None
    """{epoch, value} of the monitored metric's best epoch."""
    phases: list[dict[str, Any]] = field(default_factory=list)
    """One row a begun phase: freeze, parameters, first epoch."""

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> TrainingState:
        """From `to_dict`'s JSON; fields of a later version are passed over."""
        known = {name: given[name] for name in cls.__dataclass_fields__ if name in given}
        return cls(**known)

    def phase_values(self) -> list[float]:
        """The monitored metric of the present phase's finished epochs, oldest first."""
        rows = [row for row in self.history if row["phase"] == self.phase]
        return [_number(row.get(self.monitor)) for row in rows]

    def finish_epoch(self, row: dict[str, Any]) -> bool:
        """Take in the metrics of the epoch just done; True when it is the best so far."""
        self.epoch += 1
        self.phase_epoch += 1
        self.step = 0
        self.epoch_seconds = 0.0
        self.history.append({**row, "phase": self.phase, "epoch": self.epoch})
        value = _number(row.get(self.monitor))
        if not math.isfinite(value):
            return False
        if self.best is not None:
            sign = -1.0 if lower_is_better(self.monitor) else 1.0
            if sign * value <= sign * self.best["value"]:
                return bool(self.best["epoch"] == self.epoch)
        self.best = {"epoch": self.epoch, "value": value}
        return True


def monitored(metric: str, splits: Collection[str]) -> str:
    """What stands for a metric named `SPLIT_METRIC` in data of these splits: without val, train's
    for val's."""
    if metric.startswith("val_") and "val" not in splits:
        return "train_" + metric.removeprefix("val_")
    return metric


def rate_at(phase: Phase, state: TrainingState, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0) of the state's running epoch.

    The recipe's pure function of progress; for reduce-on-plateau scaled by the replay of the
    phase's metric history.
    """
    policy = phase.lr
    progress = state.phase_epoch + (step / steps if policy.per == "step" and steps else 0.0)
    rate = policy.value(progress, phase.epochs)
    if isinstance(policy, Plateau):
        rate *= policy.replay(state.phase_values(), not lower_is_better(state.monitor))
    return rate


def should_stop_early(rule: EarlyStopping | None, values: list[float], monitor: str) -> bool:
    """Whether a phase whose monitored metric went through `values` has stopped improving.

    As keras EarlyStopping: an epoch improves when it beats the best by more than `min_delta`;
    `patience` epochs in a row without end the phase.
    """
    if rule is None:
        return False
    sign = -1.0 if lower_is_better(monitor) else 1.0
    best, waited = -math.inf, 0
    for value in values:
        if math.isfinite(value) and sign * value > best + rule.min_delta:
            best, waited = sign * value, 0
        else:
            waited += 1
    return waited >= rule.patience


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
