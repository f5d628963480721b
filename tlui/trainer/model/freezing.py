"""Freezing regimes: which layers the gradient may change, and how BatchNorm runs meanwhile.

A regime is one function in `REGIMES` that says, for every backbone layer, whether it learns. The
head always learns. BatchNorm's mode is a choice of its own: in `inference` its moving statistics
stay put even where gamma and beta learn; in `train` layers that learn use and update batch
statistics, while frozen ones run in inference as Keras has it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras

from tlui.errors import TluiError
from tlui.recipe.layers import wrong_layers
from tlui.trainer.model.network import BatchNorm, Network


@dataclass(frozen=True)
class RegimeReport:
    """What a regime came to."""

    freeze: str
    batchnorm: BatchNorm
    trainable_parameters: int
    total_parameters: int
    layers: list[tuple[str, bool]]
    """Backbone layers in order: name and whether frozen (or without weights)."""
    first_learning: int | None
    """Index in `layers` of the first that learns; None where the whole backbone is frozen."""

    @property
    def frozen(self) -> list[str]:
        """Names of the layers the gradient leaves alone."""
        return [name for name, is_frozen in self.layers if is_frozen]


def _all(network: Network, argument: str) -> list[bool]:
    return [True] * len(network.backbone_layers)


def _nothing(network: Network, argument: str) -> list[bool]:
    return [False] * len(network.backbone_layers)


def _but_batchnorm(network: Network, argument: str) -> list[bool]:
    return [
        not isinstance(layer, keras.layers.BatchNormalization) for layer in network.backbone_layers
    ]


def _top(network: Network, argument: str) -> list[bool]:
    count = len(network.backbone_layers)
    learning = int(argument)
    return [False] * (count - learning) + [True] * learning


def _from(network: Network, argument: str) -> list[bool]:
    names = network.backbone_names
    start = names.index(argument)
    return [i >= start for i in range(len(names))]


REGIMES: dict[str, Callable[[Network, str], list[bool]]] = {
    "backbone": _nothing,
    "none": _all,
    "batchnorm": _but_batchnorm,
    "top": _top,
    "from": _from,
}
"""By the word before the colon: which backbone layers learn."""


def set_regime(network: Network, freeze: str, batchnorm: BatchNorm = "inference") -> RegimeReport:
    """Freeze and unfreeze; weights stay as they are.

    Afterwards build an optimizer for `network.trainable_variables` and trace the training step
    anew: what learns and the backbone's mode are fixed when a graph is traced.

    Args:
        freeze: `backbone`, `none`, `batchnorm`, `top:N` or `from:LAYER`.
        batchnorm: `inference` or `train` (`auto` is resolved by `batchnorm_mode`). With
            `freeze = "batchnorm"` it is always inference.

    Raises:
        TluiError: No such regime, N too large or no such layer.
    """
    word, _, argument = freeze.partition(":")
    if word not in REGIMES:
        near = difflib.get_close_matches(word, REGIMES, n=1) or list(REGIMES)
        raise TluiError(f'freeze = "{freeze}" is not a regime (nearest: {", ".join(near)})', code=2)
    if complaint := wrong_layers(freeze, network.backbone_names):
        raise TluiError(f"freeze: {complaint}", code=2)
    learns = REGIMES[word](network, argument)
    network.backbone.trainable = True
    for layer, learning in zip(network.backbone_layers, learns, strict=True):
        layer.trainable = learning
    network.head.trainable = True
    network.batchnorm = "inference" if word == "batchnorm" else batchnorm
    return report(network, freeze)


def report(network: Network, freeze: str) -> RegimeReport:
    """Counts and layer flags of the regime that is set."""
    layers = [
        (name, not layer.trainable_weights)
        for name, layer in zip(network.backbone_names, network.backbone_layers, strict=True)
    ]
    learning = [i for i, (_, frozen) in enumerate(layers) if not frozen]
    total = network.backbone.weights + network.head.weights
    return RegimeReport(
        freeze=freeze,
        batchnorm=network.batchnorm,
        trainable_parameters=_parameters(network.trainable_variables),
        total_parameters=_parameters(total),
        layers=layers,
        first_learning=learning[0] if learning else None,
    )


def batchnorm_mode(chosen: str, transfers: bool) -> BatchNorm:
    """`auto` resolved: inference when transferring, train from random weights."""
    if chosen == "auto":
        return "inference" if transfers else "train"
    return "train" if chosen == "train" else "inference"


def settling_steps(network: Network) -> int:
    """Steps until BatchNorm's moving statistics have forgotten 95 % of what they start from.

    `momentum ** steps = 0.05` for the slowest layer that updates them under the present regime;
    0 where none does. Before that the validation, which uses them, may get worse by itself.
    """
    if network.batchnorm == "inference":
        return 0
    momenta = [
        layer.momentum
        for layer in network.backbone_layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    slowest = max(momenta, default=0.0)
    return math.ceil(math.log(0.05) / math.log(slowest)) if 0 < slowest < 1 else 0


def _parameters(variables: list[keras.Variable]) -> int:
    total = 0
    for variable in variables:
        count = 1
        for side in variable.shape:
            count *= int(side)
        total += count
    return total
