"""One training step as one graph, and the running counts that give an epoch's metrics.

`Learner` knows a forward function, the variables the gradient may change, an optimizer and an
objective; whether x is a photo or a cached feature, and whose model it is, is not its business.
Nothing leaves the graph but what `Counts` holds, and that is read only when it is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlui.trainer.metrics import from_confusion
from tlui.trainer.objective import Objective
from tlui.trainer.race import Graph, Race

Forward = Callable[[Any, bool], Any]
"""(x, training) -> float32 logits."""


class Counts:
    """Running confusion counts, loss and images of an epoch, kept in the graph on the CPU."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        with tf.device("CPU:0"):
            self._cells = tf.Variable(tf.zeros(classes * classes, tf.int64), trainable=False)
            self._loss = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self._hits = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._images = tf.Variable(0, dtype=tf.int64, trainable=False)

    def add(self, loss_sum: Any, predicted: Any, label: Any) -> None:
        """In-graph: take in a batch; `predicted` and `label` are int32 (b,)."""
        with tf.device("CPU:0"):
            cells = label * self.classes + predicted
            ones = tf.ones_like(cells, tf.int64)
            self._cells.scatter_add(tf.IndexedSlices(ones, cells))
            self._loss.assign_add(tf.cast(loss_sum, tf.float64))
            self._hits.assign_add(tf.reduce_sum(tf.cast(predicted == label, tf.int64)))
            self._images.assign_add(tf.shape(label, tf.int64)[0])

    def reset(self) -> None:
        for variable in (self._cells, self._loss, self._hits, self._images):
            variable.assign(tf.zeros_like(variable))

    def totals(self) -> tuple[float, int, int]:
        """(sum of losses, correct, images) so far: cheap, for step records."""
        return float(self._loss), int(self._hits), int(self._images)

    def metrics(self) -> dict[str, float]:
        """loss, accuracy, precision, recall and f1 of the epoch so far."""
        loss, _, images = self.totals()
        confusion = self._cells.numpy().reshape(self.classes, self.classes)
        return {"loss": loss / images if images else float("nan"), **from_confusion(confusion)}

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps of an epoch half done."""
        return {
            "cells": self._cells.numpy(),
            "loss": self._loss.numpy(),
            "hits": self._hits.numpy(),
            "images": self._images.numpy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `arrays` gave."""
        self._cells.assign(arrays["cells"])
        self._loss.assign(arrays["loss"])
        self._hits.assign(arrays["hits"])
        self._images.assign(arrays["images"])


@dataclass(frozen=True)
class Table:
    """Training inputs that lie in memory whole, for epochs that run inside one graph."""

    x: Any
    """Tensor (n, …)."""
    y: Any
    """float32 (n, classes)."""
    label: Any
    """int32 (n,)."""
    batch_size: int


class Learner:
    """The training step of one phase.

    Args:
        forward: Traced with training=True.
        variables: What the gradient may change; the optimizer is built for them at once, which
            halves the first step.
        optimizer: Made under `strategy`'s scope.
        objective: The loss.
        strategy: The batch is shared out among its replicas; None for one device.
        race: Tries in single steps whether XLA is faster; None leaves it off.
    """

    def __init__(
        self,
        forward: Forward,
        variables: Sequence[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        strategy: Any = None,
        race: Race | None = None,
    ) -> None:
        self.forward = forward
        self.variables = list(variables)
        self.optimizer = optimizer
        self.objective = objective
        self.strategy = strategy
        self.race = race
        self.counts = Counts(objective.classes)
        with tf.distribute.get_strategy().scope() if strategy is None else strategy.scope():
            optimizer.build(self.variables)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        self.rate = inner.learning_rate
        """The variable that holds the learning rate."""
        self._step: dict[Graph, Any] = {}
        self._several: Any = None
        self._table: Any = None

    def begin_at(self, rate: float) -> None:
        """Set the learning rate the first step finds."""
        self.rate.assign(rate)

    def step(self, batch: tuple[Any, ...], rate: float) -> None:
        """One step on (index, x, y, label) at learning rate `rate`."""
        if self.race is None:
            self._take("plain", batch, rate)
            return
        graphs: dict[Graph, Callable[[], None]] = {
            "plain": lambda: self._take("plain", batch, rate),
            "compiled": lambda: self._take("compiled", batch, rate),
        }
        self.race.step(graphs, self.counts.totals)

    def _take(self, which: Graph, batch: tuple[Any, ...], rate: float) -> None:
        if which not in self._step:
            signature = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in batch[1:]]
            signature.append(tf.TensorSpec([], tf.float32))
            replica = self._replica
            if which == "compiled":
                replica = tf.function(replica, jit_compile=True, autograph=False)

            def train(x: Any, y: Any, label: Any, rate: Any) -> None:
                self._train(x, y, label, rate, replica)

            self._step[which] = graph(train, input_signature=signature)
        self._step[which](*batch[1:], rate)

    def steps(self, iterator: Any, rates: np.ndarray) -> None:
        """len(rates) steps on what a dataset's iterator gives, in one call of the graph."""
        if self._several is None:
            self._several = graph(self._loop, reduce_retracing=True)
        self._several(iterator, tf.constant(rates, tf.float32))

    def table_steps(self, table: Table, order: np.ndarray, first: int, rates: np.ndarray) -> None:
        """len(rates) steps from step `first` of an epoch over `table` in `order`, in one call."""
        if self._table is None:
            self._table = graph(
                lambda order, first, rates: self._over(table, order, first, rates),
                input_signature=[
                    tf.TensorSpec([None], tf.int64),
                    tf.TensorSpec([], tf.int32),
                    tf.TensorSpec([None], tf.float32),
                ],
            )
        self._table(order, first, tf.constant(rates, tf.float32))

    def _loop(self, iterator: Any, rates: Any) -> None:
        def one(i: Any) -> None:
            _, x, y, label = next(iterator)
            self._train(x, y, label, rates[i])

        repeat(tf.shape(rates)[0], one)

    def _over(self, table: Table, order: Any, first: Any, rates: Any) -> None:
        def one(i: Any) -> None:
            start = (first + i) * table.batch_size
            rows = order[start : start + table.batch_size]
            x, y, label = (tf.gather(t, rows) for t in (table.x, table.y, table.label))
            self._train(x, y, label, rates[i])

        repeat(tf.shape(rates)[0], one)

    def _train(self, x: Any, y: Any, label: Any, rate: Any, replica: Any = None) -> None:
        self.rate.assign(rate)
        count = tf.cast(tf.shape(label)[0], tf.float32)
        if self.strategy is None:
            loss_sum, predicted = (replica or self._replica)(x, y, None, count)
        else:
            loss_sum, predicted = self._shared_out(x, y, count)
        self.counts.add(loss_sum, predicted, label)

    def _shared_out(self, x: Any, y: Any, count: Any) -> tuple[Any, Any]:
        """Every replica takes an equal share. Where a last batch does not divide, a replica's
        share is filled up with images of weight 0: an empty share would make BatchNorm's
        statistics NaN."""
        images = tf.shape(y)[0]
        share = -(-images // self.strategy.num_replicas_in_sync)

        def run() -> tuple[Any, Any]:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            with tf.device("CPU:0"):
                rows = tf.cast(replica, tf.int32) * share + tf.range(share)
                own = tf.cast(rows < images, tf.float32)
                rows = tf.minimum(rows, images - 1)
                mine = tf.gather(x, rows), tf.gather(y, rows)
            return self._replica(*mine, own, count)

        loss_sums, predictions = self.strategy.run(run)
        local = self.strategy.experimental_local_results
        with tf.device("CPU:0"):
            return tf.add_n(local(loss_sums)), tf.concat(local(predictions), 0)[:images]

    def _replica(self, x: Any, y: Any, own: Any, count: Any) -> tuple[Any, Any]:
        if x.dtype.is_integer:
            x = tf.cast(x, tf.float32)
        with tf.GradientTape() as tape:
            logits = self.forward(x, True)
            losses = self.objective.losses(logits, y)
            if own is not None:
                losses = losses * own
            loss_sum = tf.reduce_sum(losses)
            scaled = self.optimizer.scale_loss(loss_sum / count)
        gradients = tape.gradient(scaled, [v.value for v in self.variables])
        self.optimizer.apply(gradients, self.variables)
        return loss_sum, self.objective.predicted(logits)


def graph(function: Callable[..., Any], **options: Any) -> Any:
    """A traced function. XLA is off, which is 10 times slower on a CPU (on a GPU see `race`); so
    is autograph, which reads sources from disk and fails where they are replaced while a run is
    under way."""
    return tf.function(function, jit_compile=False, autograph=False, **options)


def repeat(count: Any, step: Callable[[Any], None]) -> None:
    """In a graph: `step(i)` for i below `count`, one after the other."""

    def body(i: Any) -> Any:
        step(i)
        return (i + 1,)

    tf.while_loop(lambda i: i < count, body, (tf.constant(0),), parallel_iterations=1)


def predictor(forward: Forward) -> Callable[[Any], np.ndarray]:
    """A function from a batch x to float32 logits (b, k), traced once for any batch size.

    Once it has been called, several threads may call it at once.
    """
    traced: list[Any] = []

    def run(x: Any) -> Any:
        if x.dtype.is_integer:
            x = tf.cast(x, tf.float32)
        return forward(x, False)

    def predict(x: Any) -> np.ndarray:
        if not traced:
            spec = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
            # Its one concrete function: unlike the whole, it has no lock that an error leaves held.
            traced.append(graph(run, input_signature=[spec]).get_concrete_function())
        return np.asarray(traced[0](x), np.float32)

    return predict


def to_array(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value; of the first replica's under a distribution strategy."""
    return np.asarray(tf.convert_to_tensor(variable.value).numpy())
