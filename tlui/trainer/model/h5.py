"""Weights out of other people's files: HDF5 of old and new Keras, and .keras archives.

Only arrays are read: no pickle, no configuration is turned into objects, nothing from the file is
executed. Links that lead out of the file are refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tlui.errors import TluiError

LAMBDA = ("Lambda", "TFOpLambda", "SlicingOpLambda")
"""Layers that carry code; a file with one is refused."""
MOST_BYTES = 8 << 30
"""Largest weights file taken out of an archive."""


@dataclass(frozen=True)
class OldLayer:
    """A layer of a legacy HDF5 file: its name and arrays, in the order Keras wrote them."""

    name: str
    weights: list[np.ndarray]


def open_weights(path: Path) -> h5py.File:
    """The HDF5 file with the weights, straight or out of a .keras archive.

    Raises:
        TluiError: Absent, damaged, of another kind, or holding code.
    """
    if not path.is_file():
        raise TluiError(f"{path}: no such weights file; check backbone.weights", code=2)
    try:
        if zipfile.is_zipfile(path):
            return _from_archive(path)
        return h5py.File(path, "r")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TluiError(
            f"{path}: not a weights file Keras wrote (.h5, .weights.h5 or .keras): {error}"
        ) from error


def _from_archive(path: Path) -> h5py.File:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        code = next(_code_layers(config), None)
        if code is not None:
            raise TluiError(
                f"{path}: holds a Lambda layer ({code}), which is code from the file's author; "
                "tlui runs none. Save its weights alone (model.save_weights) and give that file"
            )
        info = archive.getinfo("model.weights.h5")
        if info.file_size > MOST_BYTES:
            raise TluiError(f"{path}: its weights claim {info.file_size:,} bytes; refused")
        return h5py.File(io.BytesIO(archive.read(info)), "r")


def _code_layers(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if config.get("class_name") in (*LAMBDA, "__lambda__"):
            inner = config.get("config")
            yield str(inner.get("name", "unnamed") if isinstance(inner, dict) else "unnamed")
        for value in config.values():
            yield from _code_layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _code_layers(value)


def item(group: h5py.Group, path: str) -> Any:
    """A member of the file, or None.

    Raises:
        TluiError: It leads out of the file.
    """
    here: Any = group
    for part in path.strip("/").split("/"):
        if not isinstance(here, h5py.Group):
            return None
        link = here.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise TluiError(f"{group.file.filename}: {path} leads to another file; refused")
        here = here[part]
    if isinstance(here, h5py.Dataset) and (here.external or here.is_virtual):
        raise TluiError(f"{group.file.filename}: {path} leads to another file; refused")
    return here


def old_layers(file: h5py.File) -> list[OldLayer] | None:
    """The layers with weights of a legacy file, in order; None where it is not one.

    Nested models (a whole saved classifier whose backbone is one layer) come out flat.
    """
    root = item(file, "model_weights") if "layer_names" not in file.attrs else file
    if root is None or "layer_names" not in root.attrs:
        return None
    found: list[OldLayer] = []
    for name in _texts(root.attrs, "layer_names"):
        group = item(root, name)
        if group is None:
            continue
        weights: dict[str, list[np.ndarray]] = {}
        for weight_name in _texts(group.attrs, "weight_names"):
            array = item(group, weight_name)
            if not isinstance(array, h5py.Dataset):
                continue
            inside = weight_name.removeprefix(f"{name}/")
            owner = inside.rsplit("/", 1)[0] if "/" in inside else name
            weights.setdefault(owner, []).append(array[()])
        found += [OldLayer(owner, arrays) for owner, arrays in weights.items()]
    return found


def _texts(attributes: Any, name: str) -> list[str]:
    """A list of names; Keras splits long ones over `name0`, `name1` …"""
    raw: list[Any] = []
    if name in attributes:
        raw = list(attributes[name])
    else:
        chunk = 0
        while f"{name}{chunk}" in attributes:
            raw += list(attributes[f"{name}{chunk}"])
            chunk += 1
    return [n.decode() if isinstance(n, bytes) else str(n) for n in raw]


def new_roots(file: h5py.File) -> list[str]:
    """Where models stand in a Keras 3 file: the groups with `layers` inside, outermost first."""
    roots: list[str] = []

    def visit(group: h5py.Group, path: str) -> None:
        if item(group, "layers") is not None:
            roots.append(path)
        for name in group:
            inner = item(group, name)
            if isinstance(inner, h5py.Group):
                visit(inner, f"{path}/{name}".strip("/"))

    visit(file, "")
    return sorted(roots, key=lambda path: path.count("/"))
