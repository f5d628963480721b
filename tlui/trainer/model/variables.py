"""Every variable of a network by a key that is the same in every process, and putting them back.

Keys are paths of layers, `backbone/block1_conv1/kernel`, free of Keras's process-wide numbering:
checkpoints are npz files of arrays under these keys, and one network's weights find their place
in another of the same shape.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlui.errors import TluiError
from tlui.trainer.checkpoint import key_of_today, moved_since
from tlui.trainer.model.naming import fresh_names, layer_variables
from tlui.trainer.model.network import Network

SEED = "seed_generator_state"
"""Last part of the keys that hold a dropout stream rather than a weight."""


def named_variables(network: Network) -> dict[str, keras.Variable]:
    """All variables of the network: weights, moving statistics and dropout streams.

    Keys are unique, start with `backbone/` or `head/`, and depend only on the architecture.
    """
    found: dict[str, keras.Variable] = {}
    parts = (
        ("backbone", network.backbone_layers, network.backbone_names),
        ("head", network.head_layers, fresh_names(network.head_layers)),
    )
    for part, layers, names in parts:
        for layer, name in zip(layers, names, strict=True):
            for key, variable in layer_variables(layer, f"{part}/{name}"):
                if key in found:
                    raise AssertionError(f"two variables share the key {key}")
                found[key] = variable
    return found


def weight_keys(network: Network) -> list[str]:
    """The keys of `named_variables` that are weights, dropout streams left out."""
    return [key for key in named_variables(network) if not key.endswith(f"/{SEED}")]


def resting(network: Network) -> set[str]:
    """The keys of what training leaves as it is under the regime that is set.

    A layer that is frozen runs BatchNorm in inference mode; only its dropout streams move.
    """
    names = zip(network.backbone_names, network.backbone_layers, strict=True)
    frozen = {name for name, layer in names if not layer.trainable}
    return {
        key
        for key in weight_keys(network)
        if key.startswith("backbone/") and key.split("/", 2)[1] in frozen
    }


def assign_variables(network: Network, arrays: Mapping[str, Any]) -> None:
    """Put arrays into the network's variables by key; keys not given stay as they are.

    Do this before tracing a graph: Normalization layers keep their statistics as constants.

    Raises:
        TluiError: A key the network lacks, or a shape that does not fit; all are named.
    """
    variables = named_variables(network)
    problems = mismatches(variables, arrays)
    if problems:
        raise TluiError("these weights do not fit this network:\n" + shorten(problems))
    for key, array in arrays.items():
        variables[key].assign(array)
    settle(network.backbone)


def settle(layer: keras.layers.Layer) -> None:
    """Have Normalization layers take up statistics that were just assigned."""
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()


def mismatches(variables: Mapping[str, keras.Variable], arrays: Mapping[str, Any]) -> list[str]:
    """One line for each array that has no place or another shape."""
    problems = []
    for key, array in arrays.items():
        if key not in variables:
            problems.append(f"{key}: not in this network")
        elif tuple(variables[key].shape) != tuple(np.shape(array)):
            want, got = tuple(variables[key].shape), tuple(np.shape(array))
            problems.append(f"{key}: {got} given, {want} wanted")
    return problems


def shorten(problems: list[str], most: int = 8) -> str:
    """The first few lines, and how many more there are."""
    rest = len(problems) - most
    lines = [f"  {line}" for line in problems[:most]]
    return "\n".join(lines + ([f"  … and {rest} more"] if rest > 0 else []))


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """A checkpoint's weights by key; what else the file holds (optimizer, steps) is left out.

    Of a run's best or last one they are the newest, be the file itself older (`moved_since`).

    Raises:
        TluiError: Absent or damaged.
    """
    if newer := moved_since(path):
        return newer.network()
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = [k for k in file.files if k.startswith(("backbone/", "head/"))]
            return {key_of_today(key): file[key] for key in keys}
    except FileNotFoundError:
        raise TluiError(f"{path}: no such checkpoint; that run has not saved one yet") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TluiError(f"{path}: not a readable checkpoint ({error})") from error
