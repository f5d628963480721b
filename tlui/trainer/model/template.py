"""A saved network as a template: other weights of the same network are written without Keras.

Keras walks every attribute of every layer to save one, which costs more than all else a run of a
sweep does. Where a process saves one network again and again, the file it writes is the same but
for the numbers in it. Which number belongs where is found once by saving the network with a mark
in each variable; a file whose marks do not come back one for one is no template.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

WEIGHTS = "model.weights.h5"
METADATA = "metadata.json"


@dataclass(frozen=True)
class Template:
    """The parts of a .keras file and where each variable's numbers lie in it."""

    parts: dict[str, bytes]
    places: dict[str, Any]
    """Variables by the path of their dataset in `model.weights.h5`."""

    def write(self, path: Path) -> None:
        """Write a .keras file with the present values.

        Raises:
            OSError: The disk is full or gone.
        """
        weights = io.BytesIO(self.parts[WEIGHTS])
        with h5py.File(weights, "r+") as file:
            for place, variable in self.places.items():
                file[place][...] = keras.ops.convert_to_numpy(variable)
        metadata = json.loads(self.parts[METADATA])
        metadata["date_saved"] = time.strftime("%Y-%m-%d@%H:%M:%S")
        new = {WEIGHTS: weights.getvalue(), METADATA: json.dumps(metadata).encode()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in {**self.parts, **new}.items():
                archive.writestr(name, part)


def template(model: keras.Model, aside: Path) -> Template | None:
    """A template of a model; None where its file cannot be taken for one.

    The model's variables hold other values meanwhile and their own again afterwards.

    Args:
        model: As `save` takes it.
        aside: A path that ends in `.keras`, to save to and remove.

    Raises:
        OSError: The disk is full or gone.
    """
    variables = model.variables
    values = [keras.ops.convert_to_numpy(v) for v in variables]
    try:
        for mark, variable in enumerate(variables, start=1):
            variable.assign(np.full(variable.shape, mark, variable.dtype))
        model.save(aside)
        with zipfile.ZipFile(aside) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        aside.unlink(missing_ok=True)
    if not {WEIGHTS, METADATA} <= parts.keys():
        return None
    places: dict[str, Any] = {}

    def visit(place: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            marks = np.unique(found[()])
            mark = int(marks[0]) - 1 if len(marks) == 1 else -1
            fits = 0 <= mark < len(variables) and found.shape == tuple(variables[mark].shape)
            places[place] = variables[mark] if fits else None

    with h5py.File(io.BytesIO(parts[WEIGHTS]), "r") as file:
        file.visititems(visit)
    once = len({id(v) for v in places.values()}) == len(places)
    whole = all(v is not None for v in places.values())
    return Template(parts, places) if once and whole else None
