"""What a person means by PRESET, FOLDER or NAME: the `[dataset]` tables to open."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tlui.data.sources.tfds import prepared_in
from tlui.errors import TluiError
from tlui.recipe.catalogue import DATASETS, unknown
from tlui.recipe.config import config_path, load_config
from tlui.recipe.place import expanded
from tlui.recipe.preset import load_preset
from tlui.recipe.sources import Dataset, DigitsSource

USAGE = 2
_TFDS_SPLITS = {
    "validation": "validation_split",
    "valid": "validation_split",
    "test": "test_split",
}
_NO_DATASET = "neither a preset (.toml), a CSV nor a folder"


def datasets_of(target: str, sets: list[str] | None = None) -> list[Dataset]:
    """The different datasets of a preset file; of a folder or CSV; or of a name.

    Args:
        target: A preset (`*.toml`); a folder of photos, of TFDS or HDF5 files, or of shards named
            as `build_image_data.py` names them; a CSV; a shortcut of the catalogue; a name from
            `[datasets]` in the user's config; or `digits`.
        sets: `--set` overrides; presets only.

    Raises:
        PresetError: The preset is wrong.
        TluiError: Nothing of that name.
    """
    if not target.strip():
        raise TluiError("name a preset, a folder, a CSV or a dataset (tlui dataset list)", USAGE)
    path = expanded(target)
    if path.is_file() and path.suffix == ".toml":
        found: list[Dataset] = []
        for point in load_preset(path, sets or ()).points:
            if point.experiment.dataset not in found:
                found.append(point.experiment.dataset)
        return found
    if sets:
        raise TluiError(f"--set needs a preset. Received: {target}", USAGE)
    place = os.path.abspath(path)  # noqa: PTH100 - a name for "..", too
    if path.is_dir():
        return [_validated({**_guessed(path), "path": place}, target)]
    if path.is_file() and path.suffix.lower() == ".csv":
        return [_validated({"source": "csv", "path": place}, target)]
    if os.path.lexists(path):
        what = "a link to nothing" if not path.exists() else _NO_DATASET
        raise TluiError(f"{target} is {what}", USAGE)
    if "/" in target or path.suffix in (".toml", ".csv"):
        raise TluiError(f"{target}: no such file or folder", USAGE)
    return [_by_name(target)]


def _by_name(name: str) -> Dataset:
    if name == "digits":
        return DigitsSource(source="digits")
    config = load_config()
    place = config.datasets.get(name)
    shortcut = DATASETS.get(name)
    if place is None and shortcut is None:
        known = [*DATASETS, *config.datasets, "digits"]
        raise TluiError(f"no file or folder {name!r}, and {unknown('dataset', name, known)}", USAGE)
    if place is None:
        raise TluiError(
            f"dataset {name}: where it lies is not known. Say so in {config_path()}:\n"
            f'[datasets]\n{name} = "/path/to/it"',
            USAGE,
        )
    path = expanded(place)
    keys = shortcut.dataset if shortcut is not None else _guessed(path)
    return _validated({**keys, "name": name, "path": str(path)}, name)


def _guessed(folder: Path) -> dict[str, Any]:
    """The source of a folder by the files in it."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if given := _guessed_tfds(folder):
        return given
    if any(name.endswith("train_x.h5") for name in names):
        return {"source": "hdf5"}
    shards = [name for name in names if re.fullmatch(r"[a-z]+-\d+-of-\d+", name)]
    if any(name.startswith("train-") for name in shards):
        given = {"source": "tfrecord"}
        for split in ("validation", "test"):
            if any(name.startswith(f"{split}-") for name in shards):
                given[f"{split}_files"] = f"{split}-*"
        if "labels.txt" in names:
            given["labels_file"] = "labels.txt"
        return given
    return {"source": "folder"}


def _guessed_tfds(folder: Path) -> dict[str, Any]:
    """The one prepared TFDS dataset of a folder; nothing where there is none."""
    found = prepared_in(folder.absolute())
    if not found:
        return {}
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise TluiError(f"{folder} holds several datasets of TFDS; name the folder of one: {names}")
    name, info = found[0]
    given = {"source": "tfds", "dataset": name}
    for split in info.get("splits") or ():
        if key := _TFDS_SPLITS.get(split.get("name")):
            given[key] = split["name"]
    return given


def _validated(document: dict[str, Any], what: str) -> Dataset:
    try:
        dataset: Dataset = TypeAdapter(Dataset).validate_python(document)
    except ValidationError as error:
        lines = [f"{what}: {'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
        raise TluiError("\n".join(lines), USAGE) from None
    return dataset
