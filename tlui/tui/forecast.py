"""What a draft will do, before it does it: checked runs, data, what learns, how fast, does it fit.

The work behind the right side of the New form. Everything that may block is a function threads
call; everything that follows a keystroke is cheap.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlui.errors import PresetError, TluiError
from tlui.recipe.preset import Preset, parse_preset
from tlui.runs.environment import importable, python
from tlui.tui.chart.data import Timeline
from tlui.tui.chart.plot import Curve
from tlui.tui.draft import Draft

POINTS_AN_EPOCH = 16
MOST_EPOCHS = 400
COUNT_SECONDS = 120.0


@dataclass(frozen=True)
class Checked:
    """What validation says of a draft."""

    serial: int
    preset: Preset | None = None
    problems: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """The experiments that were chosen of a lab; none where all are."""

    @property
    def shown(self) -> Any:
        """The resolved experiment that is spoken of: the first of those chosen, not one that it
        only needs; None where there is none."""
        points = self.preset.points if self.preset else []
        chosen = (p for p in points if (o := p.experiment.origin) and o.experiment in self.only)
        point = next(chosen, None) or next(iter(points), None)
        return point.experiment if point else None


@dataclass(frozen=True)
class Seen:
    """What a dataset holds."""

    key: str
    classes: tuple[str, ...] = ()
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Split -> images of each class."""
    error: str = ""
    pictures: dict[str, Any] = field(default_factory=dict)
    """Class -> uint8 (side, side, 3)."""


def check(serial: int, toml: str, only: tuple[str, ...]) -> Checked:
    """Validate as `tlui preset check` does."""
    try:
        return Checked(serial, parse_preset(toml, "form", only=only, need_data=False), only=only)
    except PresetError as error:
        return Checked(serial, problems=tuple(error.problems))
    except TluiError as error:
        return Checked(serial, problems=(str(error),))


def by_field(problems: tuple[str, ...], paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """Problems by the path of their field, and those that belong to none.

    `form: phase[0].lr.k: must be …` belongs to `phase.0.lr.k`, or to the nearest field that
    begins alike.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    for line in problems:
        text = line.removeprefix("form: ")
        place, colon, message = text.partition(": ")
        path = place.replace("[", ".").replace("]", "")
        if path.startswith("experiment."):
            parts = path.split(".")
            path = ".".join(parts[2:])
        path = path.removeprefix("sweep.").replace('"', "")
        match = next((p for p in paths if p == path), None)
        match = match or next((p for p in paths if path and p.startswith(path + ".")), None)
        if match is None and path.count("."):
            parent = path.rpartition(".")[0]
            match = next((p for p in paths if p.startswith(parent + ".")), None)
        if colon and match is not None:
            found.setdefault(match, message if match == path else f"{path}: {message}")
        else:
            rest.append(text)
    return found, rest


def look_at_data(dataset: Any, key: str, pictures: int) -> Seen:
    """Classes, counts and a thumbnail of each class; may block."""
    from tlui.data.table import open_dataset
    from tlui.recipe.place import config_path
    from tlui.recipe.resolve import UNKNOWN_PATH

    if getattr(dataset, "path", None) == UNKNOWN_PATH:
        return Seen(
            key,
            error=f"where {dataset.name} lies is not known: give its path in the form, or for good "
            f'under [datasets] in {config_path()}: {dataset.name} = "FOLDER"',
        )
    try:
        table = open_dataset(dataset)
    except TluiError as error:
        return Seen(key, error=str(error))
    except Exception as error:
        # whatever a stranger's data does to a library, the form says so and lives on
        return Seen(key, error=f"{type(error).__name__}: {error}")
    counts = {str(name): tuple(int(n) for n in found) for name, found in table.counts().items()}
    shown: dict[str, Any] = {}
    if pictures:
        from tlui.data.thumbnails import thumbnails

        try:
            found = thumbnails(table, 1, 16, "crop", "train", pictures)
            shown = {name: images[0] for name, images in found.items() if images}
        except Exception as error:
            return Seen(key, tuple(table.classes), counts, f"{type(error).__name__}: {error}")
    return Seen(key, tuple(table.classes), counts, "", shown)


def rate_curves(draft: Draft) -> tuple[list[Curve], str]:
    """The learning rate over all phases, one curve for each rate of a sweep; and what is wrong.

    The same pure functions that train.
    """
    from pydantic import TypeAdapter, ValidationError

    from tlui.recipe.lr import LearningRate

    adapter: TypeAdapter[Any] = TypeAdapter(LearningRate)
    merged = draft.merged()
    phases = [p for p in merged.get("phase") or () if isinstance(p, dict)]
    variants = _variants(draft, phases)
    found: list[Curve] = []
    for index, (label, chosen) in enumerate(variants[:8]):
        line = Timeline()
        start = 0
        for phase in chosen:
            try:
                policy = adapter.validate_python(phase.get("lr"))
                epochs = int(phase.get("epochs", 10))
            except (ValidationError, TypeError, ValueError):
                return found, "the learning rate is not complete yet"
            shown = min(max(epochs, 0), MOST_EPOCHS)
            xs = np.linspace(0, shown, shown * POINTS_AN_EPOCH + 1)[:-1]
            ys = np.array([policy.value(float(x), epochs) for x in xs])
            line.extend(start + xs, start + xs, start + xs, {"lr": ys})
            start += shown
        if "lr" in line.series:
            found.append(Curve(label, line.series["lr"], index if len(variants) > 1 else 0))
    return found, ""


def _variants(draft: Draft, phases: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The phases under each value of the first swept field of a rate."""
    from tlui.tui.form_fields import words

    for i, phase in enumerate(phases):
        lr = phase.get("lr")
        for key in lr if isinstance(lr, dict) else ():
            axis = draft.axis(f"phase.{i}.lr.{key}")
            if axis:
                out = []
                for value in axis:
                    changed = [dict(p) for p in phases]
                    changed[i] = {**phase, "lr": {**lr, key: value}}  # type: ignore[dict-item]
                    out.append((words(value), changed))
                return out
    return [("", phases)]


def network_key(experiment: Any, classes: int) -> str:
    """What decides the parameter counts of an experiment."""
    freezing = [(phase.freeze, phase.batchnorm) for phase in experiment.phase]
    parts = [experiment.backbone.model_dump(), experiment.head.model_dump(mode="json")]
    start = experiment.start_from is not None
    return json.dumps([parts, experiment.dataset.image_size, classes, start, freezing])


def count_parameters(experiment: Any, classes: int) -> list[tuple[int, int]]:
    """`(learning, total)` of every phase, counted by the trainer in its own process; may block.

    Empty where it cannot be counted.
    """
    from tlui.recipe.toml import experiment_to_toml

    asked = {"experiments": [{"toml": experiment_to_toml(experiment)}], "classes": [classes]}
    try:
        answer = subprocess.run(
            python("tlui.trainer.parameters"),
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=COUNT_SECONDS,
            env=importable({**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}),
        )
        phases = json.loads(answer.stdout)["experiments"][0]["phases"]
        return [(int(p["trainable_parameters"]), int(p["total_parameters"])) for p in phases]
    except (OSError, ValueError, KeyError, TypeError, IndexError, subprocess.SubprocessError):
        return []


def rough_memory_mb(experiment: Any, total: int) -> float:
    """Memory to expect in MB, within about a factor of two.

    Weights, gradients and Adam's two moments at 4 bytes; activations grow with batch and image
    area, and are kept for the backward pass where the backbone learns.
    """
    learns = any(phase.freeze != "backbone" for phase in experiment.phase)
    size = experiment.dataset.image_size
    area = (size / 224) ** 2
    width = max(total / 2_257_984, 0.05) ** 0.5
    an_image = (14.0 if learns else 3.5) * area * width
    weights = total * 4 * (4 if learns else 1.2) / 2**20
    return float(450.0 + weights + an_image * experiment.train.batch_size)
