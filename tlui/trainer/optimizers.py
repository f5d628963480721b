"""Optimizers by the name a preset gives them. One entry here and one model in the recipe each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tlui.recipe.optimizers import SGD, Adam, AdamW, OptimizerBase, RMSprop


def _adam(given: Adam, rest: dict[str, Any]) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(
        beta_1=given.beta_1, beta_2=given.beta_2, epsilon=given.epsilon, **rest
    )


def _adamw(given: AdamW, rest: dict[str, Any]) -> keras.optimizers.Optimizer:
    return keras.optimizers.AdamW(
        beta_1=given.beta_1,
        beta_2=given.beta_2,
        epsilon=given.epsilon,
        weight_decay=given.weight_decay,
        **rest,
    )


def _sgd(given: SGD, rest: dict[str, Any]) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(momentum=given.momentum, nesterov=given.nesterov, **rest)


def _rmsprop(given: RMSprop, rest: dict[str, Any]) -> keras.optimizers.Optimizer:
    return keras.optimizers.RMSprop(
        rho=given.rho, momentum=given.momentum, epsilon=given.epsilon, **rest
    )


OPTIMIZERS: dict[str, Callable[[Any, dict[str, Any]], keras.optimizers.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
}


def make_optimizer(
    given: OptimizerBase, rate: float | Callable[[], Any], scale_loss: bool = False
) -> keras.optimizers.Optimizer:
    """A fresh optimizer as the preset describes it; call under the strategy's scope.

    Args:
        given: The phase's optimizer.
        rate: Learning rate to begin with, which the loop assigns afterwards; or what is asked for
            it at every step.
        scale_loss: Wrap it in dynamic loss scaling, which float16 needs.
    """
    rest = {
        "learning_rate": rate,
        "clipnorm": given.clipnorm,
        "clipvalue": given.clipvalue,
        "global_clipnorm": given.global_clipnorm,
    }
    optimizer = OPTIMIZERS[given.name](given, rest)  # type: ignore[attr-defined]
    return keras.optimizers.LossScaleOptimizer(optimizer) if scale_loss else optimizer
