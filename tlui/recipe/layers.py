"""The layers of every backbone by name, so that `top:N` and `from:LAYER` are checked, and offered,
without TensorFlow.

`layers.txt` holds a line for each backbone: its name, then its layers in order, as they are at
alpha 1. `python -m tlui.trainer.model.layers` writes it; a test compares it, and what other widths
make of it, with Keras.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).with_name("layers.txt")


@functools.cache
def _lines() -> dict[str, str]:
    lines = FILE.read_text("utf-8").splitlines()
    return {name: layers for name, _, layers in (line.partition(" ") for line in lines)}


def layer_names(backbone: str, alpha: float = 1.0) -> list[str]:
    """The layers of a backbone of this width in order, without its input.

    Raises:
        KeyError: No backbone of that name.
    """
    layers = _lines()[backbone].split()
    for block, is_added in _added(backbone, alpha).items():
        add = f"{block}_add"
        if not is_added and add in layers:
            layers.remove(add)
        elif is_added and add not in layers:
            last = max(i for i, name in enumerate(layers) if name.startswith(f"{block}_project"))
            layers.insert(last + 1, add)
    return layers


def _added(backbone: str, alpha: float) -> dict[str, bool]:
    """Whether a block adds its input to its output, where that depends on the width.

    A block without a stride does (keras.applications) where both have as many channels, and at
    some widths numbers that differ at alpha 1 are rounded to the same, or the other way round.
    """
    if backbone == "MobileNetV2":

        def wide(channels: int) -> int:
            return _rounded(int(channels * alpha))

        return {
            "expanded_conv": _rounded(32 * alpha) == wide(16),
            "block_10": wide(64) == wide(96),
            "block_16": wide(160) == wide(320),
        }
    if backbone == "MobileNetV3Small":
        return {"expanded_conv_6": _rounded(40 * alpha) == _rounded(48 * alpha)}
    if backbone == "MobileNetV3Large":
        return {
            "expanded_conv": _rounded(16 * alpha) == 16,
            "expanded_conv_10": _rounded(80 * alpha) == _rounded(112 * alpha),
        }
    return {}


def _rounded(channels: float) -> int:
    """A number of channels as the MobileNets round it: to eights, by no more than 10 % down."""
    eights = max(8, int(channels + 4) // 8 * 8)
    return eights + 8 if eights < 0.9 * channels else eights


def wrong_at(freeze: str, backbone: str, alpha: float) -> str:
    """Why a freezing regime does not fit a backbone of this width; '' where it does."""
    return wrong_layers(freeze, layer_names(backbone, alpha))


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
