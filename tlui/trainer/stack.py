"""Heads of a chorus that one optimizer updates, stacked along a first axis.

Stacked are those whose optimizer gives each weight the same bits whatever it is stacked with. The
others have an optimizer of their own, in a stack of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlui.recipe.optimizers import OptimizerBase
from tlui.trainer.optimizers import make_optimizer
from tlui.trainer.step import Learner, to_array

STACKABLE = frozenset({"adam", "adamw", "sgd"})
"""Not RMSprop: its x / sqrt(y) becomes x * rsqrt(y), which is rounded otherwise at a tensor's
end."""


def sections(optimizers: Sequence[OptimizerBase]) -> list[list[int]]:
    """Which of these may share a stack: their places, by section."""
    found: dict[str, list[int]] = {}
    for place, optimizer in enumerate(optimizers):
        by_norm = optimizer.clipnorm or optimizer.global_clipnorm
        together = optimizer.name in STACKABLE and not by_norm  # type: ignore[attr-defined]
        key = optimizer.model_dump_json() if together else str(place)
        found.setdefault(key, []).append(place)
    return list(found.values())


@dataclass(frozen=True)
class Held:
    """A stack at one moment."""

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    """Iterations first, which all share; then the slots, stacked."""
    rates: np.ndarray
    """The last learning rates, (k, 1, 1)."""


class Stack:
    """Heads and their optimizer.

    Args:
        places: Of its heads among all of the chorus.
        optimizer: Of all of them.
        heads: The weights each begins with.
    """

    def __init__(
        self,
        places: Sequence[int],
        optimizer: OptimizerBase,
        heads: Sequence[Sequence[np.ndarray]],
    ) -> None:
        self.places = list(places)
        self._shapes = [array.shape for array in heads[0]]
        self._variables = [
            keras.Variable(np.stack([_wide(array) for array in each]), trainable=True)
            for each in zip(*heads, strict=True)
        ]
        self._rates = keras.Variable(np.zeros((len(heads), 1, 1), np.float32))
        self._optimizer = make_optimizer(optimizer, lambda: self._rates.value)
        self._optimizer.build(self._variables)

    def heads(self) -> list[tuple[Any, ...]]:
        """In-graph: the present weights of each."""
        each = [
            [tf.reshape(one, shape) for one in tf.unstack(v.value)]
            for v, shape in zip(self._variables, self._shapes, strict=True)
        ]
        return list(zip(*each, strict=True))

    def learn(self, gradients: Sequence[Sequence[Any]], rates: Any) -> None:
        """In-graph: one step of each head, at its rate of `rates` (k,)."""
        self._rates.assign(tf.reshape(rates, (-1, 1, 1)))
        stacked = [
            tf.reshape(tf.stack(each), v.shape)
            for each, v in zip(zip(*gradients, strict=True), self._variables, strict=True)
        ]
        self._optimizer.apply(stacked, self._variables)

    def held(self) -> Held:
        """A copy of what it holds now."""
        return Held(
            [to_array(v) for v in self._variables],
            [to_array(v) for v in self._optimizer.variables],
            to_array(self._rates),
        )

    def fits(self, learner: Learner) -> bool:
        """Whether a learner's optimizer has the same state as each of these heads."""
        theirs, many = _slots(learner), len(self.places)
        sizes = [math.prod(v.shape) * (many if i else 1) for i, v in enumerate(theirs)]
        return sizes == [math.prod(v.shape) for v in self._optimizer.variables]

    def weights(self, learner: Learner, held: Held, at: int) -> Iterator[tuple[Any, np.ndarray]]:
        """The weights of a learner, each with what head `at` of the stack has for it."""
        for variable, array in zip(learner.variables, held.weights, strict=True):
            yield variable, array[at].reshape(variable.shape)

    def slots(self, learner: Learner, held: Held, at: int) -> Iterator[tuple[Any, np.ndarray]]:
        """The state of the optimizer of a learner that fits, as `weights`."""
        for i, (variable, array) in enumerate(zip(_slots(learner), held.optimizer, strict=True)):
            yield variable, array[at].reshape(variable.shape) if i else array


def _slots(learner: Learner) -> list[Any]:
    """The variables of its optimizer but for the rate, as a stack's has them."""
    return [v for v in learner.optimizer.variables if v is not learner.rate]


def _wide(array: np.ndarray) -> np.ndarray:
    """A bias (c,) as (1, c): with the stack's axis as many as the learning rates have."""
    return array[None] if array.ndim == 1 else array
