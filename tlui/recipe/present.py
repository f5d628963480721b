"""Whether the files that a preset names are there, before anything is made for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tlui.recipe.catalogue import nearest, weights_at_hand, weights_file, weights_folder
from tlui.recipe.lab import Point
from tlui.recipe.problems import escape
from tlui.recipe.resolve import UNKNOWN_PATH

WORDS = ("imagenet", "none")
"""What `backbone.weights` may say beside a file and `run:ID`."""


def missing_files(points: Iterable[Point]) -> list[str]:
    """One line, `dataset.path: …`, for every file or folder that is not there or closed to us,
    each once. Never raises: what cannot be looked at for other reasons the reader will name.
    """
    found: dict[str, None] = {}
    for point in points:
        path = getattr(point.experiment.dataset, "path", None)
        if path and path != UNKNOWN_PATH and (error := _missing(path)):
            what = f"{escape(path)}: {error.strerror}"
            if not isinstance(error, PermissionError):
                what = f"there is nothing at {escape(path)}"
            found[f"{point.place(('dataset', 'path'))}: {what}"] = None
        weights = point.experiment.backbone.weights
        if weights in WORDS or weights.startswith("run:") or not (error := _missing(weights)):
            continue
        place = point.place(("backbone", "weights"))
        if isinstance(error, PermissionError):
            found[f"{place}: {escape(weights)}: {error.strerror}"] = None
        else:
            name = Path(weights).name
            near = nearest(name, WORDS) if "." not in name else None
            hint = f'did you mean "{near}"?' if near else "or imagenet, none, run:ID"
            found[f"{place}: there is no file {escape(weights)} ({hint})"] = None
    return list(found)


def missing_weights(points: Iterable[Point]) -> list[str]:
    """One line for every backbone whose ImageNet weights Keras will have to download, each once."""
    found: dict[str, None] = {}
    for point in points:
        backbone, size = point.experiment.backbone, point.experiment.dataset.image_size
        if backbone.weights != "imagenet" or point.experiment.start_from is not None:
            continue
        if not weights_at_hand(backbone.name, backbone.alpha, size):
            file = weights_file(backbone.name, backbone.alpha, size)
            found[
                f"{point.place(('backbone', 'weights'))}: {file} is not in {weights_folder()} yet; "
                "the first run downloads it, or tlui weights pull beforehand"
            ] = None
    return list(found)


def _missing(path: str) -> OSError | None:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        return error
    except (OSError, ValueError):
        pass
    return None
