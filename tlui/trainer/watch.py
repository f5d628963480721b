"""What a person should look at while it trains: alerts, each said once a phase."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlui.trainer import overfit
from tlui.trainer.reporter import Reporter
from tlui.trainer.state import TrainingState
from tlui.trainer.step import Learner, to_array

LEAST_CHANGE = 1e-3
"""Relative change of the head's weights over an epoch below which the rate is too small."""
STILL_EPOCHS = 2
"""So many epochs at the start of a phase must pass like that: later on a network that has learnt
what it can, or a rate that was meant to fall, moves little as well."""
INPUT_SHARE = 0.5
"""Share of the time spent waiting for images that makes training bound by its input."""
IDLE_PERCENT = 50.0
"""Mean utilisation below which a GPU that could work waits instead."""
INPUT_SECONDS = 10.0
"""Training that is looked at together for that: NVML's samples are five seconds apart."""


class Watch:
    """Looks at each epoch of one phase.

    Args:
        unsettled: Epochs at the start of the phase whose val_loss says little, for the moving
            statistics of BatchNorm still follow what they start from.
    """

    def __init__(
        self, reporter: Reporter, state: TrainingState, learner: Learner, unsettled: int = 0
    ) -> None:
        self._reporter = reporter
        self._state = state
        self._unsettled = unsettled
        kernels = [v for v in learner.variables if len(v.shape) > 1]
        self._kernel = kernels[-1] if kernels else None
        self._before = self._weights()
        self._epochs = self._still = 0
        self._spent = self._waited = 0.0
        self._busy: list[float] = []

    def epoch(self, row: dict[str, Any], spent: float, waited: float) -> None:
        """An epoch of `spent` seconds, `waited` of them for batches, gave these metrics."""
        self._epochs += 1
        self._turning()
        self._hardly_moving(row["lr"])
        self._idling(spent, waited)

    def _idling(self, spent: float, waited: float) -> None:
        busy = self._reporter.take_gpu_percents()
        if self._epochs == 1:
            return  # graphs were traced, caches filled
        self._spent += spent
        self._waited += waited
        self._busy += busy
        if self._spent < INPUT_SECONDS or not self._busy:
            return
        use, share = float(np.mean(self._busy)), self._waited / self._spent
        if use < IDLE_PERCENT and share > INPUT_SHARE:
            self._reporter.alert(
                "input_bound",
                f"the GPU is {use:.0f}% busy and {share:.0%} of the time goes into waiting for "
                "images: reading and augmenting them is the bottleneck",
                once=self._state.phase,
            )
        self._spent = self._waited = 0.0
        self._busy.clear()

    def _turning(self) -> None:
        rows = [r for r in self._state.history if r["phase"] == self._state.phase]
        rows = rows[self._unsettled :]
        if not rows or "val_loss" not in rows[-1]:
            return
        val = [r["val_loss"] for r in rows]
        risen = overfit.rise([r["train_loss"] for r in rows], val)
        if risen:
            best = rows[int(np.argmin(val))]["epoch"]
            self._reporter.alert(
                "val_turning_up",
                f"val_loss has risen by {risen:.0%} since about epoch {best} while train_loss "
                "falls: it may begin to overfit; the best epoch is kept, so stopping now loses "
                "nothing",
                once=(self._state.phase, best),
            )

    def _hardly_moving(self, rate: float) -> None:
        before, self._before = self._before, self._weights()
        if before is None or self._before is None:
            return
        change = float(np.linalg.norm(self._before - before))
        size = float(np.linalg.norm(before))
        self._still += size > 0 and change < LEAST_CHANGE * size
        epochs = sum(1 for row in self._state.history if row["phase"] == self._state.phase)
        if self._still == epochs == STILL_EPOCHS:
            self._reporter.alert(
                "lr_too_small",
                f"learning rate {rate:g} hardly moves the weights: the head's changed by "
                f"{change / size:.1g} of their size in an epoch; a larger one would learn faster",
                once=self._state.phase,
            )

    def _weights(self) -> np.ndarray | None:
        return None if self._kernel is None else to_array(self._kernel)
