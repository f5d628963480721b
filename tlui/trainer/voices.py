"""Which runs of a sweep may be trained together (`chorus`), and how each of them learns.

Two runs sing together when they agree in all but the optimizer, the learning rate, its policy, the
epochs, early stopping and the monitored metric. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlui.errors import TluiError
from tlui.recipe.lr import Plateau
from tlui.recipe.schema import Experiment, Phase
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.runs.status import read_status


@dataclass(frozen=True)
class Voice:
    """One run of a chorus."""

    run: str
    phase: Phase

    def rates(self, epoch: int, steps: int) -> list[float]:
        """Learning rates of an epoch (from 1): one a step, as `rate_at`; 0 after its last."""
        policy, total = self.phase.lr, self.phase.epochs
        if epoch > total:
            return [0.0] * steps
        if policy.per == "epoch":
            return [policy.value(float(epoch - 1), total)] * steps
        return [policy.value(epoch - 1 + i / steps, total) for i in range(steps)]


def companions(run: RunDirectory, experiment: Experiment, ids: Sequence[str]) -> list[Voice]:
    """The voices of a chorus that `run` leads: itself, and those of `ids` that wait and fit."""
    found = [Voice(run.id, experiment.phase[0])]
    for run_id in ids:
        other = RunDirectory(run.path.parent / run_id)
        status = read_status(other.status)
        if run_id == run.id or status is None or status.state != "queued" or status.attempt:
            continue
        try:
            theirs = load_experiment(other.preset)
        except (TluiError, OSError):
            continue  # it will say so itself when its turn comes
        if _kind(theirs) == _kind(experiment):
            found.append(Voice(run_id, theirs.phase[0]))
    return found


def can_sing(experiment: Experiment) -> bool:
    """Whether a run's first phase may be trained together with others."""
    phase = experiment.phase[0]
    return (
        experiment.start_from is None
        and not experiment.train.mixed_precision
        and experiment.train.devices == 1
        and not isinstance(phase.lr, Plateau)  # it depends on what validation will say
    )


def _kind(experiment: Experiment) -> dict[str, Any] | None:
    """All that voices of one chorus agree in."""
    if not can_sing(experiment):
        return None
    given = experiment.model_dump(include={"dataset", "backbone", "head", "train", "augment"})
    for own in ("early_stopping", "monitor"):
        del given["train"][own]
    phase = experiment.phase[0].model_dump(exclude={"lr", "epochs", "optimizer"})
    return {**given, "phase": phase}
