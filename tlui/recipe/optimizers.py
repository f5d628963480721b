"""Optimizers: what a preset may say of each, with its source.

The trainer builds the Keras optimizer of the same name. A new one is one class here, added to
`Optimizer`, a line in the catalogue, and its builder in `tlui.trainer.optimizers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Union

from pydantic import BeforeValidator, Field, PositiveFloat

from tlui.recipe.lr import NonNegative, Rate
from tlui.recipe.strict import Refused, Table, rule


class OptimizerBase(Table):
    clipnorm: PositiveFloat | None = None
    """Clip each variable's gradient to this L2 norm."""
    clipvalue: PositiveFloat | None = None
    global_clipnorm: PositiveFloat | None = None
    """Clip all gradients together to this L2 norm."""

    @staticmethod
    @rule("clipnorm", "clipvalue", "global_clipnorm")
    def _one_clip(*norms: float | None) -> Iterator[Refused]:
        names = ("clipnorm", "clipvalue", "global_clipnorm")
        given = [name for name, norm in zip(names, norms, strict=True) if norm]
        if len(given) > 1:
            yield Refused(f"only one of {' and '.join(given)} may be set")


class Adam(OptimizerBase):
    """Kingma & Ba 2014, arXiv:1412.6980."""

    name: Literal["adam"]
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    epsilon: PositiveFloat = 1e-7


class AdamW(OptimizerBase):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101)."""

    name: Literal["adamw"]
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    epsilon: PositiveFloat = 1e-7
    weight_decay: NonNegative = 0.004


class SGD(OptimizerBase):
    """Stochastic gradient descent, with momentum and Nesterov's variant."""

    name: Literal["sgd"]
    momentum: Rate = 0.0
    nesterov: bool = False
    """Nesterov's momentum in place of the plain one."""

    @staticmethod
    @rule("momentum", "nesterov")
    def _nesterov_of_momentum(momentum: float, nesterov: bool) -> Iterator[Refused]:
        if nesterov and not momentum:
            yield Refused(
                "nesterov does nothing without momentum; set momentum, such as 0.9", "momentum"
            )


class RMSprop(OptimizerBase):
    """Hinton, lecture 6e of Neural Networks for Machine Learning (2012)."""

    name: Literal["rmsprop"]
    rho: Rate = 0.9
    momentum: Rate = 0.0
    epsilon: PositiveFloat = 1e-7


Optimizer = Annotated[
    Union[Adam, AdamW, SGD, RMSprop],
    Field(discriminator="name"),
    BeforeValidator(lambda given: {"name": given} if isinstance(given, str) else given),
]
