"""The heads of a chorus in one graph: their weights, optimizers, dropout and running counts.

Heads of one seed take the same batches with the same dropout: features are gathered, and dropped
in front of the first layer with weights, once for each seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlui.trainer.model.head import beginnings
from tlui.trainer.objective import Objective
from tlui.trainer.stack import Held, Stack, sections
from tlui.trainer.step import Learner, Table, graph, repeat, to_array
from tlui.trainer.voices import Voice

Pairs = Iterator[tuple[Any, np.ndarray]]
"""Variables of a learner, each with what a head has for it."""


@dataclass(frozen=True)
class Moment:
    """All heads at the end of an epoch."""

    stacks: list[Held]
    seeds: list[np.ndarray]
    """Of each dropout layer: (seeds, 2) in front of all weights, else (k, 2)."""
    counts: dict[str, np.ndarray]
    seconds: float


class Heads:
    """What all voices train, as new.

    Args:
        voices: Whose heads they are, k of them.
        layers: From features to logits: Dropout and Dense layers of a head that was built.
        objective: The loss.
        table: What they train on.
    """

    def __init__(
        self,
        voices: Sequence[Voice],
        layers: Sequence[keras.layers.Layer],
        objective: Objective,
        table: Table,
    ) -> None:
        self._layers, self._objective, self._table = layers, objective, table
        self._leading = next(i for i, x in enumerate(layers) if isinstance(x, keras.layers.Dense))
        self.seeds = list(dict.fromkeys(voice.seed for voice in voices))
        self._seed_of = [self.seeds.index(voice.seed) for voice in voices]
        begin = [beginnings(layers, seed) for seed in self.seeds]
        weights = [[array for v, array in own if v.trainable] for own in begin]
        self._stacks = [
            Stack(
                places,
                voices[places[0]].phase.optimizer,
                [weights[self._seed_of[place]] for place in places],
            )
            for places in sections([voice.phase.optimizer for voice in voices])
        ]
        self._where = {
            place: (index, at)
            for index, stack in enumerate(self._stacks)
            for at, place in enumerate(stack.places)
        }
        """The stack of each voice, and its head's place there."""
        streams = [[array for v, array in own if not v.trainable] for own in begin]
        self._generators = []
        for layer, (i, _) in enumerate(self._dropouts()):
            seeds = range(len(self.seeds)) if i < self._leading else self._seed_of
            made = [keras.random.SeedGenerator(0) for _ in seeds]
            for generator, seed in zip(made, seeds, strict=True):
                generator.state.assign(streams[seed][layer])
            self._generators.append(made)
        many, classes = len(voices), objective.classes
        with tf.device("CPU:0"):
            self._cells = tf.Variable(tf.zeros(many * classes**2, tf.int64))
            self._loss = tf.Variable(tf.zeros(many, tf.float64))
            self._hits = tf.Variable(tf.zeros(many, tf.int64))
            self._images = tf.Variable(0, dtype=tf.int64)
        self._call = graph(
            self._over,
            input_signature=[
                tf.TensorSpec([len(self.seeds), None], tf.int64),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None, many], tf.float32),
            ],
        )

    def steps(self, orders: np.ndarray, first: int, rates: np.ndarray) -> None:
        """Steps from `first` of an epoch on, in one call of the graph.

        Args:
            orders: Rows of the table in each seed's order: int64 (seeds, n).
            rates: Of each step and voice: float32 (steps, k).
        """
        self._call(orders, first, tf.constant(rates))

    def reset(self) -> None:
        """Count anew."""
        for variable in (self._cells, self._loss, self._hits, self._images):
            variable.assign(tf.zeros_like(variable))

    def moment(self, seconds: float) -> Moment:
        """A copy of what they are now."""
        return Moment(
            [stack.held() for stack in self._stacks],
            [np.stack([to_array(x.state) for x in made]) for made in self._generators],
            {
                "cells": self._cells.numpy().reshape(-1, self._objective.classes**2),
                "loss": self._loss.numpy(),
                "hits": self._hits.numpy(),
                "images": self._images.numpy(),
            },
            seconds,
        )

    def fits(self, learner: Learner, place: int) -> bool:
        """Whether a learner's optimizer has the same state as that of a voice."""
        index, _ = self._where[place]
        return self._stacks[index].fits(learner)

    def weights(self, moment: Moment, learner: Learner, place: int) -> Pairs:
        """What a learner has learnt as a voice at that moment."""
        index, at = self._where[place]
        return self._stacks[index].weights(learner, moment.stacks[index], at)

    def state(self, moment: Moment, learner: Learner, place: int) -> Pairs:
        """The state of the optimizer, the rate left out, and of dropout."""
        index, at = self._where[place]
        yield from self._stacks[index].slots(learner, moment.stacks[index], at)
        for (i, layer), array in zip(self._dropouts(), moment.seeds, strict=True):
            own = self._seed_of[place] if i < self._leading else place
            yield layer.seed_generator.state, array[own]

    def show(self, moment: Moment, learner: Learner, place: int) -> None:
        """Give a learner the weights and counts that a voice has at that moment."""
        for variable, array in self.weights(moment, learner, place):
            variable.assign(array)
        counts = moment.counts
        learner.counts.restore({k: v if k == "images" else v[place] for k, v in counts.items()})

    def put(self, moment: Moment, learner: Learner, place: int) -> None:
        """Make a learner, its dropout and its counts what a voice is at that moment."""
        self.show(moment, learner, place)
        for variable, array in self.state(moment, learner, place):
            variable.assign(array)
        index, at = self._where[place]
        learner.rate.assign(moment.stacks[index].rates[at, 0, 0])

    def _over(self, orders: Any, first: Any, rates: Any) -> None:
        def one(i: Any) -> None:
            start = (first + i) * self._table.batch_size
            self._step(orders[:, start : start + self._table.batch_size], rates[i])

        repeat(tf.shape(rates)[0], one)

    def _step(self, rows: Any, rates: Any) -> None:
        """As `Learner`'s, for every head; `rows` is (seeds, b)."""
        table, count = self._table, tf.cast(tf.shape(rows)[1], tf.float32)
        batches = []
        for seed in range(len(self.seeds)):
            x, y, label = (tf.gather(t, rows[seed]) for t in (table.x, table.y, table.label))
            for made, (i, layer) in zip(self._generators, self._dropouts(), strict=True):
                if i < self._leading:
                    x = keras.random.dropout(x, layer.rate, seed=made[seed])
            batches.append((x, y, label))
        heads = {
            place: head
            for stack in self._stacks
            for place, head in zip(stack.places, stack.heads(), strict=True)
        }
        sums, predicted = [], []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(heads)
            for place, seed in enumerate(self._seed_of):
                x, y, _ = batches[seed]
                logits = self._logits(x, heads[place], place)
                sums.append(tf.reduce_sum(self._objective.losses(logits, y)))
                predicted.append(self._objective.predicted(logits))
            scaled = [loss / count for loss in sums]
        gradients = tape.gradient(scaled, heads)
        for stack in self._stacks:
            own = [gradients[place] for place in stack.places]
            stack.learn(own, tf.gather(rates, stack.places))
        labels = tf.stack([batches[seed][2] for seed in self._seed_of])
        self._count(tf.stack(sums), tf.stack(predicted), labels)

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

    def _count(self, sums: Any, predicted: Any, labels: Any) -> None:
        """As `Counts.add`, for every head: `sums` float32 (k,), the others int32 (k, b)."""
        classes, many = self._objective.classes, len(self._seed_of)
        with tf.device("CPU:0"):
            base = tf.range(many)[:, None] * classes**2
            cells = tf.reshape(base + labels * classes + predicted, (-1,))
            self._cells.scatter_add(tf.IndexedSlices(tf.ones_like(cells, tf.int64), cells))
            self._loss.assign_add(tf.cast(sums, tf.float64))
            hits = tf.cast(predicted == labels, tf.int64)
            self._hits.assign_add(tf.reduce_sum(hits, axis=1))
            self._images.assign_add(tf.shape(labels, tf.int64)[1])

    def _dropouts(self) -> list[tuple[int, Any]]:
        return [
            (i, x)
            for i, x in enumerate(self._layers)
            if isinstance(x, keras.layers.Dropout) and x.rate > 0
        ]
