"""Whether the files that a preset names are there, before anything is made for it."""

from __future__ import annotations

from pathlib import Path

from tlui.recipe.catalogue import nearest
from tlui.recipe.problems import escape
from tlui.recipe.resolve import UNKNOWN_PATH
from tlui.recipe.schema import Experiment

WORDS = ("imagenet", "none")
"""What `backbone.weights` may say beside a file and `run:ID`."""


def missing_files(experiments: list[Experiment]) -> list[str]:
    """One line, `dataset.path: …`, for every file or folder that does not exist, each once.

    Never raises: what cannot be looked at (no permission) counts as there; the reader says why.
    """
    found: dict[str, None] = {}
    for experiment in experiments:
        path = getattr(experiment.dataset, "path", None)
        if path and path != UNKNOWN_PATH and _missing(path):
            found[f"dataset.path: there is nothing at {escape(path)}"] = None
        weights = experiment.backbone.weights
        if weights not in WORDS and not weights.startswith("run:") and _missing(weights):
            name = Path(weights).name
            near = nearest(name, WORDS) if "." not in name else None
            hint = f'did you mean "{near}"?' if near else "or imagenet, none, run:ID"
            found[f"backbone.weights: there is no file {escape(weights)} ({hint})"] = None
    return list(found)


def _missing(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False
