"""Phases, epochs and steps: the training loop.

Owns progress, checkpoints of it, and what is reported of it. Which model a phase trains and where
its batches come from is a `Stage` that is handed in, so that a phase may as well run on cached
features. Numbers are a function of the experiment alone: a run interrupted anywhere and resumed
ends, on the CPU, with the weights it would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras

from tlui.recipe.schema import Experiment, Phase
from tlui.trainer.checkpoint import Checkpoint, Checkpoints
from tlui.trainer.feed import Feed
from tlui.trainer.model.freezing import (
    RegimeReport,
    batchnorm_mode,
    set_regime,
    settling_steps,
)
from tlui.trainer.model.network import Network
from tlui.trainer.model.variables import SEED, named_variables, resting
from tlui.trainer.objective import Objective
from tlui.trainer.optimizers import make_optimizer
from tlui.trainer.pace import Pace
from tlui.trainer.race import Race
from tlui.trainer.reporter import Reporter
from tlui.trainer.reuse import Traced
from tlui.trainer.signals import AskedToEndError, Requests
from tlui.trainer.state import TrainingState, rate_at, should_stop_early
from tlui.trainer.step import Forward, Learner, to_array
from tlui.trainer.tensorboard import TensorBoard
from tlui.trainer.validation import validate
from tlui.trainer.watch import Watch

Ending = Literal["done", "stop", "interrupt"]


class DivergedError(Exception):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Stage:
    """What one phase trains, and on what."""

    forward: Forward
    """(x of the feed, training) -> logits, traced after the regime is set."""
    variables: Sequence[keras.Variable]
    feed: Feed
    traced: Traced = field(default_factory=Traced)
    """Its graphs; a later run's where it has the same stage."""


@dataclass
class Fit:
    """One run's training, from wherever `state` stands to its end.

    `stage` is called once a phase, with the regime set.
    """

    experiment: Experiment
    network: Network
    objective: Objective
    stage: Callable[[Phase, RegimeReport], Stage]
    state: TrainingState
    reporter: Reporter
    requests: Requests
    checkpoints: Checkpoints
    board: TensorBoard
    strategy: Any = None
    gpu: bool = False
    """Whether that is where it trains: losses of mixed precision are scaled, XLA is tried."""
    resumed: Checkpoint | None = None
    """The checkpoint `state` came from; the network has its weights already."""

    def run(self) -> Ending:
        """Train the phases that are left.

        Returns:
            `done`, or what was asked for and honoured; the present state is checkpointed.

        Raises:
            DivergedError: Loss not finite; checkpoints from before stay.
        """
        phases = self.experiment.phase
        self._variables = named_variables(self.network)
        self._saving = ""
        self._learner: Learner | None = None
        while self.state.phase < len(phases):
            ending = self._phase(phases[self.state.phase])
            if ending != "done":
                return ending
            self.state.phase += 1
            self.state.phase_epoch = 0
        if self._learner is not None:
            self._save("the end of training")
        return "done"

    def _phase(self, phase: Phase) -> Ending:
        state = self.state
        mode = batchnorm_mode(phase.batchnorm, self.experiment.transfers)
        regime = set_regime(self.network, phase.freeze, mode)
        still = resting(self.network)
        self._still = {key: to_array(self._variables[key]) for key in still}
        self._announce(phase, regime)
        began = time.perf_counter()
        try:
            stage = self.stage(phase, regime)
        except AskedToEndError as asked:
            if not state.epoch:
                raise
            if self.resumed is None:
                self._save("the request to end")
            return asked.request
        state.seconds += time.perf_counter() - began  # features may have been computed
        self._feed, self._steps = stage.feed, stage.feed.steps
        self._predict = stage.traced.predictor(stage.forward)
        learner = self._learner = self._learner_of(stage, phase)
        if self.resumed is not None:
            self._restore(learner, self.resumed)
            self.resumed = None
        unsettled = math.ceil(settling_steps(self.network) / max(self._steps, 1))
        self._watch = Watch(self.reporter, state, learner, unsettled)
        while state.phase_epoch < phase.epochs:
            values = state.phase_values()
            if should_stop_early(self.experiment.train.early_stopping, values, state.monitor):
                self.reporter.log(
                    f"{state.monitor} no longer improves: the phase ends after epoch {state.epoch}"
                )
                break
            ending = self._epoch(phase, learner)
            if ending != "done":
                return ending
        return "done"

    def _learner_of(self, stage: Stage, phase: Phase) -> Learner:
        rate = rate_at(phase, self.state, 0, self._steps)
        scale_loss = self.gpu and self.experiment.train.mixed_precision
        left = (phase.epochs - self.state.phase_epoch) * self._steps

        def make() -> Learner:
            scope = self.strategy.scope() if self.strategy is not None else _Anywhere()
            with scope:
                optimizer = make_optimizer(phase.optimizer, rate, scale_loss)
            objective, strategy = self.objective, self.strategy
            race = Race(left, self.reporter.log) if self.gpu and strategy is None else None
            return Learner(stage.forward, stage.variables, optimizer, objective, strategy, race)

        learner = stage.traced.learner(phase.optimizer.model_dump_json(), rate, make)
        if learner.race is not None:
            learner.race.go_on(left, self.reporter.log)
        return learner

    def _announce(self, phase: Phase, regime: RegimeReport) -> None:
        state = self.state
        row = {
            "phase": state.phase,
            "freeze": phase.freeze,
            "batchnorm": regime.batchnorm,
            "trainable_parameters": regime.trainable_parameters,
            "total_parameters": regime.total_parameters,
        }
        del state.phases[state.phase :]
        state.phases.append(row)
        first = state.epoch - state.phase_epoch + 1
        self.reporter.event("phase", **row, epochs=phase.epochs, first_epoch=first)

    def _restore(self, learner: Learner, checkpoint: Checkpoint) -> None:
        """The optimizer and counts of the epoch under way, where the phase is the same."""
        arrays = checkpoint.part("optimizer")
        variables = learner.optimizer.variables
        if not self.state.phase_epoch and not self.state.step:
            return  # the checkpoint's optimizer belongs to the phase before
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{i:03}"])
        if self.state.step:
            learner.counts.restore(checkpoint.part("counts"))

    def _epoch(self, phase: Phase, learner: Learner) -> Ending:
        state, steps = self.state, self._steps
        number, start = state.epoch + 1, state.step
        if not start:
            learner.counts.reset()
        epochs = state.epoch + sum(p.epochs for p in self.experiment.phase[state.phase :])
        epochs -= state.phase_epoch
        pace = Pace(self.reporter, state, learner.counts, number, epochs, steps)
        began = time.perf_counter()
        before_seconds, before_epoch_seconds = state.seconds, state.epoch_seconds
        waited, elsewhere = self._feed.waited, self._feed.elsewhere

        def passed() -> float:
            return time.perf_counter() - began + self._feed.elsewhere - elsewhere

        constant = rate_at(phase, state, start, steps) if phase.lr.per == "epoch" else None

        def rate(step: int) -> float:
            return rate_at(phase, state, step, steps) if constant is None else constant

        for done in self._feed.course(learner, number, start, rate):
            state.global_step += done - state.step
            state.step = done
            spent = passed()
            state.seconds = before_seconds + spent
            state.epoch_seconds = before_epoch_seconds + spent
            if not pace.step(rate(done - 1), last=done == steps):
                raise DivergedError(f"the loss is not finite at step {done} of epoch {number}")
            if done < steps and (asked := self.requests.poll()):
                self._save("the request to end")
                return asked
        trained = passed()
        row: dict[str, Any] = {f"train_{k}": v for k, v in learner.counts.metrics().items()}
        validated = validate(self._feed.evaluation("val"), self._predict, self.objective)
        row |= {f"val_{k}": v for k, v in validated.items()}
        if not all(math.isfinite(row[k]) for k in row if k.endswith("_loss")):
            raise DivergedError(f"the loss is not finite after epoch {number}")
        spent = passed()
        state.seconds = before_seconds + spent
        seconds = before_epoch_seconds + spent
        images = learner.counts.totals()[2]
        row["lr"] = rate(steps - 1)
        best = state.finish_epoch(row)
        facts = {
            **row,
            "phase": state.phase,
            "epoch": number,
            "epochs": epochs,
            "global_step": state.global_step,
            "seconds": round(seconds, 3),
            "images_per_second": images / (before_epoch_seconds + trained),
            "best": best,
        }
        self._settle()  # so that no more than this epoch is lost should all end here
        self.reporter.event("epoch", **facts)
        pace.epoch(facts, seconds)
        self._watch.epoch(row, spent=trained, waited=self._feed.waited - waited)
        self._log_curves(facts)
        if best:
            self.checkpoints.remember_best(self._checkpoint(weights_only=True))
        asked = self.requests.poll()
        if asked:
            self._save("the request to end")
            return asked
        self._saving = f"epoch {number}"
        try:
            self.checkpoints.write_behind(self._checkpoint(), self._still.keys())
        except OSError as error:
            self._not_saved(self._saving, error)
        return "done"

    def _log_curves(self, row: dict[str, Any]) -> None:
        try:
            self.board.write(row)
        except OSError as error:
            self.reporter.alert("tensorboard", f"TensorBoard's files cannot be written: {error}")

    def _checkpoint(self, weights_only: bool = False) -> Checkpoint:
        still = self._still
        arrays = {k: still[k] if k in still else to_array(v) for k, v in self._variables.items()}
        if weights_only:
            arrays = {k: v for k, v in arrays.items() if not k.endswith(f"/{SEED}")}
        elif self._learner is not None:
            for i, variable in enumerate(self._learner.optimizer.variables):
                arrays[f"optimizer/{i:03}"] = to_array(variable)
            counts = self._learner.counts.arrays() if self.state.step else {}
            arrays |= {f"counts/{key}": value for key, value in counts.items()}
        return Checkpoint(arrays, self.state.to_dict())

    def _save(self, occasion: str) -> None:
        """Checkpoint; a full disk leaves the one before and raises an alert."""
        self._settle()
        try:
            self.checkpoints.write(self._checkpoint())
        except OSError as error:
            self._not_saved(occasion, error)

    def _settle(self) -> None:
        """Have the last epoch's checkpoint on the disk, or an alert that it is not."""
        try:
            self.checkpoints.settle()
        except OSError as error:
            self._not_saved(self._saving, error)

    def _not_saved(self, occasion: str, error: OSError) -> None:
        kept = "the last good one is kept" if self.checkpoints.last.exists() else "none yet"
        self.reporter.alert(
            "checkpoint",
            f"no checkpoint at {occasion}: {error.strerror or error}; {kept}. Free some space",
            once=occasion,
        )


class _Anywhere:
    """No distribution strategy."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None
