"""What a person should look at while it trains: alerts, each said once a phase."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np

from tlui.trainer.reporter import Reporter
from tlui.trainer.state import TrainingState
from tlui.trainer.step import Learner, to_array

TURNING_EPOCHS = 3
"""Epochs in a row in which val_loss rises while train_loss falls."""
LEAST_CHANGE = 1e-3
"""Relative change of the head's weights over an epoch below which the rate is too small."""
STILL_EPOCHS = 2
"""So many epochs at the start of a phase must pass like that: later on a network that has learnt
what it can, or a rate that was meant to fall, moves little as well."""
INPUT_SHARE = 0.5
"""Share of an epoch spent waiting for images that makes it bound by its input."""


class Watch:
    """Looks at each epoch of one phase."""

    def __init__(self, reporter: Reporter, state: TrainingState, learner: Learner) -> None:
        self._reporter = reporter
        self._state = state
        kernels = [v for v in learner.variables if len(v.shape) > 1]
        self._kernel = kernels[-1] if kernels else None
        self._before = self._weights()
        self._epochs = self._still = 0

    def epoch(self, row: dict[str, Any], spent: float, waited: float) -> None:
        """An epoch of `spent` seconds, `waited` of them for batches, gave these metrics."""
        self._epochs += 1
        self._turning()
        self._hardly_moving(row["lr"])
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and _has_gpu()
        if gpu and self._epochs > 1 and waited > INPUT_SHARE * spent:
            self._reporter.alert(
                "input_bound",
                f"the GPU waits for images {waited / spent:.0%} of the time: reading and "
                "augmenting them is the bottleneck",
                once=self._state.phase,
            )

    def _turning(self) -> None:
        rows = [r for r in self._state.history if r["phase"] == self._state.phase]
        rows = rows[-TURNING_EPOCHS - 1 :]
        if len(rows) <= TURNING_EPOCHS or "val_loss" not in rows[0]:
            return
        pairs = list(itertools.pairwise(rows))
        if all(b["val_loss"] > a["val_loss"] for a, b in pairs) and all(
            b["train_loss"] < a["train_loss"] for a, b in pairs
        ):
            self._reporter.alert(
                "val_turning_up",
                f"val_loss has risen for {TURNING_EPOCHS} epochs while train_loss falls: "
                "it may begin to overfit; the best epoch is kept, so stopping now loses nothing",
                once=self._state.phase,
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


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
