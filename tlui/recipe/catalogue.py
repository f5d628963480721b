"""What there is to choose from: backbones, freezing regimes, datasets, with what the form shows.

Plain data, no TensorFlow: the trainer looks up the builder by the same name. A new backbone,
regime or dataset shortcut is one entry here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Scaling = Literal["tf", "torch", "caffe", "own"]
"""How a family wants its input: `tf` x/127.5 - 1; `torch` (x/255 - mean) / std; `caffe` BGR minus
mean; `own` takes 0-255 as it is (a Rescaling layer inside)."""


@dataclass(frozen=True)
class BackboneSpec:
    """One image family member of keras.applications (or tlui's own)."""

    module: str
    """The module of keras.applications that holds it, or `tlui` for our own."""
    scaling: Scaling
    size: int
    """Input side it was trained at, in pixels."""
    least: int
    """Smallest input side it accepts without its top."""
    parameters: int
    """Without the top, alpha 1."""
    alphas: tuple[float, ...] = ()
    """Width multipliers with ImageNet weights; empty where it has no alpha."""
    imagenet: bool = True


def _family(
    module: str, scaling: Scaling, size: int, least: int, /, **parameters: int
) -> dict[str, BackboneSpec]:
    return {
        name: BackboneSpec(module, scaling, size, least, count)
        for name, count in parameters.items()
    }


BACKBONES: dict[str, BackboneSpec] = {
    "SmallConvNet": BackboneSpec("tlui", "own", 32, 8, 0, imagenet=False),
    "MobileNet": BackboneSpec("mobilenet", "tf", 224, 32, 3_228_864, alphas=(0.25, 0.5, 0.75, 1.0)),
    "MobileNetV2": BackboneSpec(
        "mobilenet_v2", "tf", 224, 32, 2_257_984, alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
    ),
}

REGIMES: dict[str, str] = {
    "backbone": "the whole backbone is frozen; only the head learns",
    "none": "everything learns",
    "batchnorm": "everything learns but BatchNorm",
}
"""Freezing regimes without an argument; `top:N` and `from:LAYER` take one."""


@dataclass(frozen=True)
class DatasetShortcut:
    """A public dataset by name: its layout, classes and where a person gets it."""

    dataset: dict[str, Any]
    """The `[dataset]` keys it stands for; a preset's own keys win."""
    title: str
    home: str
    """Where a person downloads it."""
    note: str = ""
    sizes: dict[str, int] = field(default_factory=dict)


DATASETS: dict[str, DatasetShortcut] = {}


def unknown(kind: str, received: object, known: Iterable[str]) -> str:
    """`"exp" is not a policy (did you mean "exponential"?)`: the nearest valid word, or all."""
    words = list(known)
    near = difflib.get_close_matches(str(received), words, n=1, cutoff=0.5)
    if not near:
        lower = {w.lower(): w for w in words}
        near = [
            lower[m] for m in difflib.get_close_matches(str(received).lower(), list(lower), 1, 0.5)
        ]
    hint = f'did you mean "{near[0]}"?' if near else "one of: " + ", ".join(words)
    article = "an" if kind[0] in "aeiou" else "a"
    return f'"{received}" is not {article} {kind} ({hint})'
