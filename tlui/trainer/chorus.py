"""Sweep fusion: the heads of one sweep trained together on one table of features.

Runs that differ in nothing but the optimizer, the learning rate, its policy, the epochs or early
stopping take the same batches with the same dropout, so one pass over the table trains all their
heads: features are gathered once a step, one optimizer updates all heads that may be stacked
(`stack`), each with its own learning rate and state, and only the few products with a head's own
weights are its own.

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
import tensorflow as tf

from tlui.trainer.feature_feed import FeatureFeed, in_calls
from tlui.trainer.feed import Rate
from tlui.trainer.stack import Held, Stack, sections
from tlui.trainer.step import Learner, graph, repeat, to_array
from tlui.trainer.voices import Voice

MOST_VOICES = 16
MOST_PARAMETERS = 200_000
"""Of one head; beyond it stacking costs more memory traffic than it saves."""
MOST_BYTES = 256 * 2**20
"""What is kept of all epochs of all heads."""


@dataclass(frozen=True)
class _Moment:
    """All heads at the end of an epoch."""

    stacks: list[Held]
    seeds: list[np.ndarray]
    """Of each dropout layer: (2,) where all share it, else (k, 2)."""
    counts: dict[str, np.ndarray]
    seconds: float


class Chorus:
    """Heads that train together; epochs are counted from 1.

    Args:
        voices: At least two; the first one leads.
        learner: As new; its forward function is that of `layers`.
        layers: From features to logits: Dropout and Dense layers with the leader's weights.
        feed: What they train on, a table.

    Raises:
        ValueError: A layer or an optimizer that cannot be copied.
    """

    def __init__(
        self,
        voices: Sequence[Voice],
        learner: Learner,
        layers: Sequence[keras.layers.Layer],
        feed: FeatureFeed,
    ) -> None:
        parameters = sum(int(np.prod(v.shape)) for v in learner.variables)
        epochs = max(voice.phase.epochs for voice in voices)
        most = MOST_BYTES // max(1, 12 * parameters * epochs)
        self.voices = list(voices[: min(MOST_VOICES, most)])
        if len(self.voices) < 2 or parameters > MOST_PARAMETERS:
            raise ValueError("too large to be stacked")
        self._layers = [x for x in layers if not isinstance(x, keras.layers.InputLayer)]
        if not all(isinstance(x, keras.layers.Dropout | keras.layers.Dense) for x in self._layers):
            raise ValueError("layers other than Dropout and Dense")
        own = [v for x in self._layers for v in x.trainable_variables]
        if list(map(id, own)) != list(map(id, learner.variables)):
            raise ValueError("more than the head learns")
        self._leading = next(
            i for i, x in enumerate(self._layers) if isinstance(x, keras.layers.Dense)
        )
        assert feed.table is not None
        self._objective, self._feed, self._table = learner.objective, feed, feed.table
        begin = [to_array(v) for v in learner.variables]
        self._stacks = [
            Stack(places, self.voices[places[0]].phase.optimizer, [begin] * len(places))
            for places in sections([voice.phase.optimizer for voice in self.voices])
        ]
        self._where = {
            place: (index, at)
            for index, stack in enumerate(self._stacks)
            for at, place in enumerate(stack.places)
        }
        """The stack of each voice, and its head's place there."""
        if not self._stacks[0].fits(learner):
            raise ValueError("an optimizer with other state than one slot for each weight")
        self._generators = []
        for i, layer in self._dropouts():
            many = 1 if i < self._leading else len(self.voices)
            made = [keras.random.SeedGenerator(0) for _ in range(many)]
            for generator in made:
                generator.state.assign(layer.seed_generator.state)
            self._generators.append(made)
        classes = self._objective.classes
        with tf.device("CPU:0"):
            self._cells = tf.Variable(tf.zeros(len(self.voices) * classes**2, tf.int64))
            self._loss = tf.Variable(tf.zeros(len(self.voices), tf.float64))
            self._hits = tf.Variable(tf.zeros(len(self.voices), tf.int64))
            self._images = tf.Variable(0, dtype=tf.int64)
        self._call = graph(
            self._over,
            input_signature=[
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None, len(self.voices)], tf.float32),
            ],
        )
        self._moments = [self._moment(0.0)]
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
        index, _ = self._where[place]
        return self._stacks[index].fits(learner) and all(
            _same(to_array(variable), array)
            for variable, array in self._pairs(self._moments[0], learner, place)
        )

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
        self._put(moment, learner, place)
        told(moment.seconds / len(self.voices))
        yield self._feed.steps

    def _train(
        self, learner: Learner, place: int, epoch: int, told: Callable[[float], None]
    ) -> Iterator[int]:
        self._whole = False  # until it is: whoever closes this half-way leaves the rest untrained
        self._reset()
        rows = self._feed.rows(epoch)
        rates = np.array([v.rates(epoch, self._feed.steps) for v in self.voices], np.float32).T
        seconds = 0.0

        def call(first: int, count: int) -> None:
            nonlocal seconds
            began = time.perf_counter()
            self._call(rows, first, tf.constant(rates[first : first + count]))
            spent = time.perf_counter() - began
            seconds += spent
            told(spent / len(self.voices) - spent)

        for done in in_calls(0, self._feed.steps, call):
            moment = self._moment(seconds)
            self._put(moment, learner, place)
            if done == self._feed.steps:
                self._moments.append(moment)
                self._whole = True
            yield done

    def _over(self, order: Any, first: Any, rates: Any) -> None:
        def one(i: Any) -> None:
            start = (first + i) * self._table.batch_size
            rows = order[start : start + self._table.batch_size]
            table = self._table
            x, y, label = (tf.gather(t, rows) for t in (table.x, table.y, table.label))
            self._step(x, y, label, rates[i])

        repeat(tf.shape(rates)[0], one)

    def _step(self, x: Any, y: Any, label: Any, rates: Any) -> None:
        """As `Learner`'s, for every head."""
        count = tf.cast(tf.shape(label)[0], tf.float32)
        for at, (i, layer) in enumerate(self._dropouts()):
            if i < self._leading:
                x = keras.random.dropout(x, layer.rate, seed=self._generators[at][0])
        heads: list[Any] = [None] * len(self.voices)
        for stack in self._stacks:
            for place, head in zip(stack.places, stack.heads(), strict=True):
                heads[place] = head
        sums, predicted = [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(heads)
            for place, weights in enumerate(heads):
                logits = self._logits(x, weights, place)
                sums.append(tf.reduce_sum(self._objective.losses(logits, y)))
                predicted.append(self._objective.predicted(logits))
            scaled = [loss / count for loss in sums]
        gradients = tape.gradient(scaled, heads)
        for stack in self._stacks:
            own = [gradients[place] for place in stack.places]
            stack.learn(own, tf.gather(rates, stack.places))
        self._count(tf.stack(sums), tf.stack(predicted), label)

    def _logits(self, x: Any, weights: Sequence[Any], place: int) -> Any:
        left, drops = list(weights), iter(self._generators)
        for i, layer in enumerate(self._layers):
            if isinstance(layer, keras.layers.Dropout):
                generators = next(drops) if layer.rate > 0 else []
                if i > self._leading and generators:
                    x = keras.random.dropout(x, layer.rate, seed=generators[place])
                continue
            x = keras.ops.matmul(x, left.pop(0))
            if layer.use_bias:
                x = keras.ops.add(x, left.pop(0))
            if layer.activation is not None:
                x = layer.activation(x)
        return x

    def _count(self, sums: Any, predicted: Any, label: Any) -> None:
        """As `Counts.add`, for every head: `sums` float32 (k,), `predicted` int32 (k, b)."""
        classes, many = self._objective.classes, len(self.voices)
        with tf.device("CPU:0"):
            base = tf.range(many)[:, None] * classes**2
            cells = tf.reshape(base + label * classes + predicted, (-1,))
            self._cells.scatter_add(tf.IndexedSlices(tf.ones_like(cells, tf.int64), cells))
            self._loss.assign_add(tf.cast(sums, tf.float64))
            hits = tf.cast(predicted == label, tf.int64)
            self._hits.assign_add(tf.reduce_sum(hits, axis=1))
            self._images.assign_add(tf.shape(label, tf.int64)[0])

    def _reset(self) -> None:
        for variable in (self._cells, self._loss, self._hits, self._images):
            variable.assign(tf.zeros_like(variable))

    def _moment(self, seconds: float) -> _Moment:
        classes = self._objective.classes
        return _Moment(
            [stack.held() for stack in self._stacks],
            [
                np.stack([to_array(x.state) for x in made])
                if len(made) > 1
                else to_array(made[0].state)
                for made in self._generators
            ],
            {
                "cells": self._cells.numpy().reshape(-1, classes**2),
                "loss": self._loss.numpy(),
                "hits": self._hits.numpy(),
                "images": self._images.numpy(),
            },
            seconds,
        )

    def _put(self, moment: _Moment, learner: Learner, place: int) -> None:
        """Make a learner, its dropout and its counts what a voice is at that moment."""
        for variable, array in self._pairs(moment, learner, place):
            variable.assign(array)
        index, at = self._where[place]
        learner.rate.assign(moment.stacks[index].rates[at, 0, 0])
        counts = moment.counts
        own = {k: v if k == "images" else v[place] for k, v in counts.items()}
        learner.counts.restore(own)

    def _pairs(
        self, moment: _Moment, learner: Learner, place: int
    ) -> Iterator[tuple[Any, np.ndarray]]:
        """Each variable of a learner and its dropout with what a voice has for it."""
        index, at = self._where[place]
        yield from self._stacks[index].pairs(learner, moment.stacks[index], at)
        for (_, layer), array in zip(self._dropouts(), moment.seeds, strict=True):
            yield layer.seed_generator.state, array[place] if array.ndim > 1 else array

    def _dropouts(self) -> list[tuple[int, Any]]:
        return [
            (i, x)
            for i, x in enumerate(self._layers)
            if isinstance(x, keras.layers.Dropout) and x.rate > 0
        ]


@dataclass
class ChorusFeed:
    """A feed of features whose epochs a chorus trains or recalls, as long as it can."""

    feed: FeatureFeed
    chorus: Callable[[Learner], Chorus | None]
    """Called with the learner of the first epoch."""
    run: str
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
