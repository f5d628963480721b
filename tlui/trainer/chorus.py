"""Sweep fusion: the heads of one sweep trained together on one table of features.

Runs that differ in nothing but the optimizer, the learning rate, its policy, the epochs, early
stopping or a seed that leaves the features as they are learn from the same table, so one pass over
it trains all their heads (`heads`): features are gathered once a step, one optimizer updates all
heads that may be stacked (`stack`), each with its own learning rate and state, and only the few
products with a head's own weights are its own.

One of the runs is trained; the others still wait in the queue. What became of their heads is kept,
epoch by epoch, and recalled when this process is handed them (`relay`). So each run keeps its own
directory, log, stopping, checkpoints and place in the queue, a run that never comes costs nothing
but the time it took, and a process that dies takes only its own run with it. The numbers are those
each run has alone, bit for bit: nothing is recalled for a run that does not begin with exactly the
weights, optimizer and dropout state that were assumed for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlui.trainer.feature_feed import FeatureFeed, in_calls
from tlui.trainer.feed import Rate
from tlui.trainer.heads import Heads
from tlui.trainer.state import TrainingState
from tlui.trainer.step import Learner, to_array
from tlui.trainer.voices import Voice

MOST_VOICES = 16
MOST_PARAMETERS = 200_000
"""Of one head; beyond it stacking costs more memory traffic than it saves."""
MOST_BYTES = 256 * 2**20
"""What is kept of all epochs of all heads."""


class Chorus:
    """Heads that train together; epochs are counted from 1.

    Args:
        voices: At least two; the first one leads.
        learner: As new; its forward function is that of `layers`.
        layers: From features to logits: Dropout and Dense layers with the leader's weights.
        feed: What they train on, a table.
        validate: Metrics of the val split with the weights the learner has.

    Raises:
        ValueError: A layer or an optimizer that cannot be copied.
    """

    def __init__(
        self,
        voices: Sequence[Voice],
        learner: Learner,
        layers: Sequence[keras.layers.Layer],
        feed: FeatureFeed,
        validate: Callable[[], dict[str, float]],
    ) -> None:
        parameters = sum(int(np.prod(v.shape)) for v in learner.variables)
        epochs = max(voice.phase.epochs for voice in voices)
        most = MOST_BYTES // max(1, 12 * parameters * epochs)
        self.voices = list(voices[: min(MOST_VOICES, most)])
        if len(self.voices) < 2 or parameters > MOST_PARAMETERS:
            raise ValueError("too large to be stacked")
        self._states = [TrainingState(voice.monitor) for voice in self.voices]
        self._validate = validate
        stack = [x for x in layers if not isinstance(x, keras.layers.InputLayer)]
        if not all(isinstance(x, keras.layers.Dropout | keras.layers.Dense) for x in stack):
            raise ValueError("layers other than Dropout and Dense")
        own = [v for x in stack for v in x.trainable_variables]
        if list(map(id, own)) != list(map(id, learner.variables)):
            raise ValueError("more than the head learns")
        assert feed.table is not None
        self._heads = Heads(self.voices, stack, learner.objective, feed.table)
        if not self._heads.fits(learner, 0):
            raise ValueError("an optimizer with other state than one slot for each weight")
        self._feed = feed
        self._moments = [self._heads.moment(0.0)]
        self._whole = True

    @property
    def epoch(self) -> int:
        """Epochs all heads have been through."""
        return len(self._moments) - 1

    def place(self, run: str) -> int | None:
        """Which voice a run is; None where it is none."""
        return next((i for i, voice in enumerate(self.voices) if voice.run == run), None)

    def begins_as(self, learner: Learner, place: int) -> bool:
        """Whether a learner that is new stands where this voice began, bit for bit."""
        if not self._heads.fits(learner, place):
            return False
        given = self._moments[0], learner, place
        pairs = [*self._heads.weights(*given), *self._heads.state(*given)]
        return all(_same(to_array(variable), array) for variable, array in pairs)

    def course(
        self, learner: Learner, place: int, epoch: int, told: Callable[[float], None]
    ) -> Iterator[int] | None:
        """Train or recall an epoch of a voice: yields the steps done, as `Feed.course`.

        Args:
            told: Hears the seconds this epoch took for the voice beyond what the caller sees
                pass: its share of an epoch that is recalled, or, less than 0, what was spent on
                the other voices meanwhile.

        Returns:
            None where the epoch must be trained alone.
        """
        if epoch <= self.epoch:
            return self._recall(learner, place, epoch, told)
        if epoch == self.epoch + 1 and self._whole and self._feed.knows(epoch):
            return self._train(learner, place, epoch, told)
        return None

    def _recall(
        self, learner: Learner, place: int, epoch: int, told: Callable[[float], None]
    ) -> Iterator[int]:
        moment = self._moments[epoch]
        self._heads.put(moment, learner, place)
        told(moment.seconds / len(self.voices))
        yield self._feed.steps

    def _train(
        self, learner: Learner, place: int, epoch: int, told: Callable[[float], None]
    ) -> Iterator[int]:
        self._whole = False  # until it is: whoever closes this half-way leaves the rest untrained
        seconds = self._finish(learner, place) if epoch > 1 else 0.0
        told(seconds / len(self.voices) - seconds)
        self._heads.reset()
        orders = np.stack([self._feed.rows(epoch, seed) for seed in self._heads.seeds])
        pairs = zip(self.voices, self._states, strict=True)
        rates = np.array([v.rates(s, self._feed.steps) for v, s in pairs], np.float32).T

        def call(first: int, count: int) -> None:
            nonlocal seconds
            began = time.perf_counter()
            self._heads.steps(orders, first, rates[first : first + count])
            spent = time.perf_counter() - began
            seconds += spent
            told(spent / len(self.voices) - spent)

        for done in in_calls(0, self._feed.steps, call):
            moment = self._heads.moment(seconds)
            self._heads.put(moment, learner, place)
            if done == self._feed.steps:
                self._moments.append(moment)
                self._whole = True
            yield done

    def _finish(self, learner: Learner, place: int) -> float:
        """Take every voice's state past the last epoch; the seconds it took."""
        began = time.perf_counter()
        moment = self._moments[-1]
        listening = False
        for i, (voice, state) in enumerate(zip(self.voices, self._states, strict=True)):
            row: dict[str, float] = {}
            if voice.listens(state) and np.isfinite(moment.counts["loss"][i]):
                listening = True
                self._heads.show(moment, learner, i)
                row |= {f"train_{k}": v for k, v in learner.counts.metrics().items()}
                row |= {f"val_{k}": v for k, v in self._validate().items()}
            state.finish_epoch(row)
        if listening:
            self._heads.show(moment, learner, place)
        return time.perf_counter() - began


@dataclass
class ChorusFeed:
    """A feed of features whose epochs a chorus trains or recalls, as long as it can."""

    feed: FeatureFeed
    chorus: Callable[[Learner], Chorus | None]
    """Called with the learner of the first epoch."""
    run: str
    told: Callable[[str], None]
    """Hears which run this one has been trained together with, where that was before it."""
    elsewhere: float = 0.0
    _chorus: Chorus | None = None
    _place: int | None = None

    @property
    def steps(self) -> int:
        return self.feed.steps

    @property
    def waited(self) -> float:
        return self.feed.waited

    def course(self, learner: Learner, epoch: int, start: int, rate: Rate) -> Iterator[int]:
        """As `Feed.course`."""
        if epoch == 1 and not start:
            self._chorus = self.chorus(learner)
            self._place = None
            if self._chorus is not None:
                place = self._chorus.place(self.run)
                if place is not None and self._chorus.begins_as(learner, place):
                    self._place = place
                    if place:
                        self.told(self._chorus.voices[0].run)
        found = None
        if self._chorus is not None and self._place is not None and not start:
            found = self._chorus.course(learner, self._place, epoch, self._tell)
        if found is None:
            self._place = None  # once alone, its head goes its own way
            found = self.feed.course(learner, epoch, start, rate)
        return found

    def _tell(self, seconds: float) -> None:
        self.elsewhere += seconds

    def evaluation(self, split: str) -> Any | None:
        """As `Feed.evaluation`."""
        return self.feed.evaluation(split)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.size == b.size and a.tobytes() == b.tobytes()
