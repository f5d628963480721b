"""How fast training goes and how far it is, said at most ten times a second.

Reading the running counts makes the host wait for the device, so that too happens only when a
record is due.
"""

from __future__ import annotations

import math
import time
from typing import Any

from tlui.trainer.reporter import STEP_SECONDS, Reporter
from tlui.trainer.state import TrainingState
from tlui.trainer.step import Counts


class Pace:
    """Step records and progress of one epoch.

    A step record's loss and accuracy are means over the steps since the record before it.
    """

    def __init__(
        self,
        reporter: Reporter,
        state: TrainingState,
        counts: Counts,
        epoch: int,
        epochs: int,
        steps: int,
    ) -> None:
        self._reporter = reporter
        self._state = state
        self._counts = counts
        self._epoch = epoch
        self._epochs = epochs
        self._steps = steps
        self._totals = counts.totals()
        self._at = self._began = time.perf_counter()
        self._first = state.step
        self._speed = math.nan
        self._progress(state.step)

    def step(self, rate: float, last: bool) -> bool:
        """Report if it is time to; False when the loss is seen not to be finite."""
        now = time.perf_counter()
        if not last and now - self._at < STEP_SECONDS:
            return True
        state = self._state
        totals = self._counts.totals()
        loss, hits, images = (new - old for new, old in zip(totals, self._totals, strict=True))
        if not math.isfinite(totals[0]):
            return False
        speed = images / max(now - self._at, 1e-9)
        self._speed = speed if math.isnan(self._speed) else 0.8 * self._speed + 0.2 * speed
        self._totals, self._at = totals, now
        self._reporter.event(
            "step",
            phase=state.phase,
            epoch=self._epoch,
            step=state.step,
            steps=self._steps,
            global_step=state.global_step,
            loss=loss / max(images, 1),
            accuracy=hits / max(images, 1),
            lr=rate,
            images_per_second=round(speed, 1),
        )
        self._progress(state.step)
        return True

    def epoch(self, facts: dict[str, Any], seconds: float) -> None:
        """An epoch is finished: `facts` is its record."""
        state = self._state
        best = state.best or {}
        self._reporter.progress(
            epoch=self._epoch,
            step=self._steps,
            eta_seconds=round((self._epochs - self._epoch) * seconds, 1),
            last=facts.get(state.monitor),
            best=best.get("value"),
            best_epoch=best.get("epoch"),
        )

    def _progress(self, step: int) -> None:
        done = step - self._first
        spent = time.perf_counter() - self._began
        left = self._steps - step + (self._epochs - self._epoch) * self._steps
        self._reporter.progress(
            phase=self._state.phase,
            epoch=self._epoch,
            epochs=self._epochs,
            step=step,
            steps=self._steps,
            monitor=self._state.monitor,
            images_per_second=None if math.isnan(self._speed) else round(self._speed, 1),
            eta_seconds=round(spent / done * left, 1) if done else None,
        )
