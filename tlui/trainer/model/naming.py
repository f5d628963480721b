"""Names that do not depend on what else a process has built.

Keras numbers unnamed layers by a counter of the whole process (`conv2d_94`), so the same network
built twice has different names. Names here are counted within one list of layers, which gives
what a fresh process would show. Keys of variables are built from them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import keras


def snake(name: str) -> str:
    """`Conv2D` -> `conv2d`, as Keras names its layers."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def is_counted(layer: keras.layers.Layer) -> bool:
    """Whether its name is Keras's own, by class and count, rather than given."""
    return bool(re.fullmatch(rf"{re.escape(snake(type(layer).__name__))}(_\d+)?", layer.name))


def fresh_names(layers: Sequence[keras.layers.Layer]) -> list[str]:
    """One name a layer: its own if it was given one, else its class and count in this list."""
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        if is_counted(layer):
            stem = snake(type(layer).__name__)
            names.append(stem if not seen[stem] else f"{stem}_{seen[stem]}")
            seen[stem] += 1
        else:
            names.append(layer.name)
    return names


def layer_variables(layer: keras.layers.Layer, prefix: str) -> Iterator[tuple[str, keras.Variable]]:
    """Every variable of a layer and those inside it, with keys under `prefix`."""
    inner = getattr(layer, "layers", None) or []
    inside = {id(v) for sub in inner for v in sub.variables}
    unnamed = 0
    for variable in layer.variables:
        if id(variable) in inside:
            continue
        name = snake(variable.name)
        if re.fullmatch(r"variable(_\d+)?", name):  # Keras's own: ConvNeXt's LayerScale
            name = f"unnamed_{unnamed}" if unnamed else "unnamed"
            unnamed += 1
        yield f"{prefix}/{name}", variable
    for sub, name in zip(inner, fresh_names(inner), strict=True):
        yield from layer_variables(sub, f"{prefix}/{name}")
