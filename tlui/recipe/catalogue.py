"""What there is to choose from: backbones, freezing regimes, policies, optimizers, datasets.

Plain data with what the form shows, no TensorFlow: the trainer looks up what it builds by the
same names. Backbones and dataset shortcuts have their own files; both can be read from here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tlui.recipe.backbones import (
    BACKBONES,
    BackboneSpec,
    Scaling,
    weights_at_hand,
    weights_file,
    weights_folder,
)
from tlui.recipe.shortcuts import DATASETS, DatasetShortcut

__all__ = [
    "BACKBONES",
    "DATASETS",
    "OPTIMIZERS",
    "POLICIES",
    "REGIMES",
    "REGIMES_WITH_ARGUMENT",
    "BackboneSpec",
    "DatasetShortcut",
    "Scaling",
    "nearest",
    "unknown",
    "weights_at_hand",
    "weights_file",
    "weights_folder",
]

REGIMES: dict[str, str] = {
    "backbone": "the whole backbone is frozen; only the head learns",
    "none": "everything learns",
    "batchnorm": "everything learns but BatchNorm",
}
"""Freezing regimes without an argument."""

REGIMES_WITH_ARGUMENT: dict[str, str] = {
    "top:N": "the last N layers of the backbone learn, and the head",
    "from:LAYER": "the backbone learns from the layer of that name on, and the head",
}

POLICIES: dict[str, str] = {
    "constant": "lr0",
    "exponential": "lr0 * exp(-k * epoch)",
    "step": "lr0 * drop ** floor((offset + epoch) / epochs_drop)",
    "polynomial": "(lr0 - end) * (1 - epoch / decay_epochs) ** power + end",
    "piecewise": "lr0, then values[i] where epoch > boundaries[i]",
    "cosine": "end + (lr0 - end) * (1 + cos(pi * epoch / decay_epochs)) / 2",
    "cosine-restarts": "cosine, restarting after first_epochs * t_mul ** i at lr0 * m_mul ** i",
    "one-cycle": "lr0 up to peak in the first part of the phase, then down to end",
    "inverse-time": "lr0 / (1 + rate * epoch / decay_epochs)",
    "plateau": "lr0 * factor each time the monitored metric stops improving",
}
"""Learning-rate policies as the form shows them; `tlui.recipe.lr` computes them."""

OPTIMIZERS: dict[str, str] = {
    "adam": "Adam: adaptive moments (Kingma & Ba 2014)",
    "adamw": "Adam with decoupled weight decay (Loshchilov & Hutter 2017)",
    "sgd": "stochastic gradient descent, with momentum and Nesterov's variant",
    "rmsprop": "RMSprop (Hinton 2012)",
}


def nearest(received: object, known: Iterable[str]) -> str | None:
    """The valid word that was most likely meant; None where none is like it."""
    words = list(known)
    lower = {word.lower(): word for word in reversed(words)}
    text = str(received).lower()[:200]
    # a beginning is a better guess than a likeness: "exp" is meant to be "exponential", not "step"
    near = [word for word in words if word.lower().startswith(text)] if len(text) >= 3 else []
    near = near or [lower[m] for m in difflib.get_close_matches(text, list(lower), 1, 0.6)]
    return near[0] if near else None


def unknown(kind: str, received: object, known: Iterable[str]) -> str:
    """`"exp" is not a policy (did you mean "exponential"?)`: the nearest valid word, or all."""
    words = list(known)
    if near := nearest(received, words):
        hint = f'did you mean "{near}"?'
    else:
        hint = "one of: " + ", ".join(words) if words else "there are none"
    article = "an" if kind[0] in "aeiou" else "a"
    return f'"{received}" is not {article} {kind} ({hint})'
