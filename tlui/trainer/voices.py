"""Which runs of a sweep may be trained together (`chorus`), and how each of them learns.

Two runs sing together when they agree in all but the optimizer, the learning rate, its policy, the
epochs, early stopping, the monitored metric and a seed that leaves features as they are. No
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tlui.errors import TluiError
from tlui.recipe.lr import Plateau
from tlui.recipe.schema import Experiment, Phase
from tlui.recipe.toml import load_experiment
from tlui.runs.directory import RunDirectory
from tlui.runs.status import read_status
from tlui.trainer.state import TrainingState, monitored, rate_at


@dataclass(frozen=True)
class Voice:
    """One run of a chorus."""

    run: str
    phase: Phase
    seed: int
    monitor: str

    def rates(self, state: TrainingState, steps: int) -> list[float]:
        """Learning rates of the state's running epoch, one a step; 0 after its last."""
        if state.phase_epoch >= self.phase.epochs:
            return [0.0] * steps
        if self.phase.lr.per == "epoch":
            return [rate_at(self.phase, state, 0, steps)] * steps
        return [rate_at(self.phase, state, step, steps) for step in range(steps)]

    def listens(self, state: TrainingState) -> bool:
        """Whether its next rates depend on how its last epoch went."""
        return isinstance(self.phase.lr, Plateau) and state.epoch + 1 < self.phase.epochs


def companions(
    run: RunDirectory, experiment: Experiment, splits: Collection[str], ids: Sequence[str]
) -> list[Voice]:
    """The voices of a chorus that `run` leads: itself, and those of `ids` that wait and fit.

    Args:
        splits: Of their data.
    """
    found = [_voice(run.id, experiment, splits)]
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
            found.append(_voice(run_id, theirs, splits))
    return found


def _voice(run_id: str, experiment: Experiment, splits: Collection[str]) -> Voice:
    train = experiment.train
    return Voice(run_id, experiment.phase[0], train.seed, monitored(train.monitor, splits))


def can_sing(experiment: Experiment) -> bool:
    """Whether a run's first phase may be trained together with others."""
    return (
        experiment.start_from is None
        and not experiment.train.mixed_precision
        and experiment.train.devices == 1
    )


def _kind(experiment: Experiment) -> dict[str, Any] | None:
    """All that voices of one chorus agree in."""
    if not can_sing(experiment):
        return None
    given = experiment.model_dump(include={"dataset", "backbone", "head", "train", "augment"})
    for own in ("early_stopping", "monitor"):
        del given["train"][own]
    if not _seed_shapes_features(experiment):
        del given["train"]["seed"]
    phase = experiment.phase[0].model_dump(exclude={"lr", "epochs", "optimizer"})
    return {**given, "phase": phase}


def _seed_shapes_features(experiment: Experiment) -> bool:
    """Whether the frozen backbone or the images it sees are drawn by the seed."""
    return experiment.backbone.weights == "none" or experiment.augment.views > 0
