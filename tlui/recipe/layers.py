"""The layers of every backbone by name, so that `top:N` and `from:LAYER` are checked, and offered,
without TensorFlow.

`layers.txt` holds a line for each backbone: its name, then its layers in order, as they are at
every width that has ImageNet weights. `python -m tlui.trainer.model.layers` writes it; a test
compares it with Keras.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path

from tlui.recipe.backbones import BACKBONES

FILE = Path(__file__).with_name("layers.txt")


@functools.cache
def _lines() -> dict[str, str]:
    lines = FILE.read_text("utf-8").splitlines()
    return {name: layers for name, _, layers in (line.partition(" ") for line in lines)}


def layer_names(backbone: str) -> list[str]:
    """The layers of a backbone in order, without its input, at the widths that have weights.

    Raises:
        KeyError: No backbone of that name.
    """
    return _lines()[backbone].split()


def wrong_at(freeze: str, backbone: str, alpha: float) -> str:
    """Why a freezing regime does not fit a backbone of this width; '' where it does, or may.

    At a width nobody trained, one layer that adds a block's input to its output (`…_add`) may come
    or go: what depends on that is left to the trainer, which counts what it has built.
    """
    layers = layer_names(backbone)
    if alpha not in (BACKBONES[backbone].alphas or (1.0,)) and (
        freeze == f"top:{len(layers) + 1}" or freeze.endswith("_add")
    ):
        return ""
    return wrong_layers(freeze, layers)


def wrong_layers(freeze: str, layers: Sequence[str]) -> str:
    """Why a freezing regime does not fit a backbone with these layers; '' where it does."""
    word, _, argument = freeze.partition(":")
    if word == "top" and not (argument.isdecimal() and 1 <= int(argument) <= len(layers)):
        return (
            f'the backbone has {len(layers)} layers, so it is top:1 to top:{len(layers)} ("none" '
            f'lets everything learn). Received: "{freeze}"'
        )
    if word == "from" and argument not in layers:
        near = [layer for layer in layers if layer.startswith(argument)][:3]
        near = near or difflib.get_close_matches(argument, layers, n=3, cutoff=0.3)
        near = near or list(layers[-3:])
        return (
            f'the backbone has no layer "{argument}" (nearest: {", ".join(near)}). '
            f'Received: "{freeze}"'
        )
    return ""
