"""A prepared TensorFlow Datasets folder, read without TensorFlow or TensorFlow Datasets.

What `tfds build` or `download_and_prepare` leaves: `DATA_DIR/NAME[/CONFIG]/VERSION` with
dataset_info.json, features.json, NAME-SPLIT.tfrecord-… shards and LABEL.labels.txt. Splits may be
sliced and added as TFDS has it: `train[:80%]`, `train[5000:]`, `train+validation`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlui.data.items import Found, Group, Index, Subset, capped
from tlui.data.sources.records import Records, Shard
from tlui.data.sources.tfrecord import read_labels, scan_all
from tlui.data.splits import listed
from tlui.errors import DataError
from tlui.recipe.place import expanded
from tlui.recipe.sources import SplitName, TFDSSource
from tlui.runs.files import read_json

TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_PART = re.compile(r"([\w.-]+)(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?")


@dataclass(frozen=True)
class _Prepared:
    folder: Path
    name: str
    splits: dict[str, list[tuple[Path, int]]]
    """Split -> (shard, number of records) in order."""
    image: str
    label: str


def find_tfds(dataset: TFDSSource) -> Found:
    """Items and class names of a prepared dataset.

    Raises:
        DataError: It is not prepared, has no image and label, no such split, overlapping splits,
            or missing or damaged shards.
    """
    prepared = _read(_folder(dataset), dataset.dataset)
    specs: dict[SplitName, tuple[str, str]] = {"train": ("train_split", dataset.train_split)}
    if dataset.validation_split is not None:
        specs["val"] = ("validation_split", dataset.validation_split)
    if dataset.test_split is not None:
        specs["test"] = ("test_split", dataset.test_split)
    parts = {split: _parts(prepared, *spec) for split, spec in specs.items()}
    names = [n for n in prepared.splits if any(n == p[0] for ps in parts.values() for p in ps)]
    shards = _shards(prepared, names)
    pool = Records(shards, prepared.image)
    labels = np.concatenate([shard.labels for shard in shards])
    starts: dict[str, tuple[int, int]] = {}
    start = 0
    for name in names:
        count = sum(length for _, length in prepared.splits[name])
        starts[name] = (start, count)
        start += count
    taken: dict[int, SplitName] = {}
    groups: dict[SplitName, Group] = {}
    for split, held in parts.items():
        items = np.concatenate([_slice(*starts[name], low, high) for name, low, high in held])
        clash = {taken[int(i)] for i in items if int(i) in taken}
        if clash or len(np.unique(items)) < len(items):
            raise DataError(
                f"dataset.{specs[split][0]} = {specs[split][1]!r} shares images with "
                f"{' and '.join(sorted(clash)) or 'itself'}; slice the others too, such as "
                '"train[:80%]" and "train[80%:]"'
            )
        taken.update((int(i), split) for i in items)
        groups[split] = Group(Subset(pool, items), labels[items])
    classes = _classes(prepared, labels)
    unused = [name for name in prepared.splits if name not in names]
    notes = [f"splits not used: {', '.join(unused)}"] if unused else []
    return Found(classes, groups, str(prepared.folder), notes=notes, ordered=True)


def _folder(dataset: TFDSSource) -> Path:
    """The version folder: given itself, or found below the data_dir or a folder in it."""
    given = dataset.path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = expanded(given).absolute()
    if (root / "dataset_info.json").is_file():
        return root
    name, _, version = dataset.dataset.partition(":")
    build = (
        "Prepare it where TensorFlow Datasets is installed: python -c 'import tensorflow_datasets "
        f'as tfds; tfds.load("{name}", data_dir="{root}")\'; then copy that folder here.'
    )
    base = _base(root, name)
    if base is None:
        raise DataError(
            f"dataset {dataset.dataset!r} is not prepared in {str(root)!r}. "
            f"{_instead(root, name) or build}"
        )
    versions = _versions(base)
    if not versions:
        configs = [folder for folder in _folders(base) if _versions(folder)]
        if len(configs) > 1:
            raise DataError(
                f"dataset {name!r} has more than one config; name one, such as "
                f'dataset = "{name}/{configs[0].name}". It has: {listed([c.name for c in configs])}'
            )
        if not configs:
            raise DataError(f"dataset {name!r} in {str(root)!r} has no finished version. {build}")
        base, versions = configs[0], _versions(configs[0])
    if version:
        pattern = re.escape(version).replace(r"\*", r"\d+")
        fitting = [v for v in versions if re.fullmatch(pattern, v.name)]
        if not fitting:
            raise DataError(
                f"dataset {name!r}: version {version} is not prepared in {str(base)!r}. "
                f"It has: {listed([v.name for v in versions])}. {build}"
            )
        versions = fitting
    return versions[-1]


def _base(root: Path, name: str) -> Path | None:
    """`DATA_DIR/NAME[/CONFIG]`, where `root` is the data_dir or lies between the two."""
    for data_dir in (root, *root.parents[:2]):
        base = data_dir / name
        if base.is_dir() and (base == root or root in base.parents):
            return base
        if base in root.parents and _versions(root):
            return root
    return None


def _instead(root: Path, name: str) -> str:
    """What may have been meant where a data_dir does not hold a dataset of that name."""
    if not root.is_dir():
        return "" if not root.exists() else "Its data_dir is a folder, not a file."
    for folder in _folders(root):
        if prepared_in(folder / name):
            return f"It is in {str(folder)!r}: give that as path."
    held = sorted({found for found, _ in prepared_in(root)})
    return f"It holds: {listed(held)}." if held else ""


def prepared_in(root: Path) -> list[tuple[str, dict[str, Any]]]:
    """Datasets that a folder holds or is: name with config, and what dataset_info.json says.

    Args:
        root: A data_dir, or the folder of a dataset, a config or a version in it.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    below = [folder for child in _folders(root) for folder in [child, *_folders(child)]]
    newest = [versions[-1] for base in [root, *below] if (versions := _versions(base))]
    for version in [root, *newest]:
        info = read_json(version / "dataset_info.json")
        if info is not None and isinstance(info.get("name"), str):
            name, config = info["name"], version.parent.name
            found.append((f"{name}/{config}" if version.parent.parent.name == name else name, info))
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry) for entry in entries if entry.is_dir())
    except OSError:
        return []


def _versions(base: Path) -> list[Path]:
    """Prepared versions, oldest first."""
    found = [
        path
        for path in _folders(base)
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / "dataset_info.json").is_file()
    ]
    return sorted(found, key=lambda path: [int(part) for part in path.name.split(".")])


def _read(folder: Path, asked: str) -> _Prepared:
    info = read_json(folder / "dataset_info.json")
    features = read_json(folder / "features.json")
    if info is None or features is None:
        which = "dataset_info.json" if info is None else "features.json"
        raise DataError(
            f"dataset {asked!r}: {str(folder / which)!r} is missing, unreadable or not JSON"
        )
    wanted = asked.partition(":")[0].partition("/")[0]
    name = str(info.get("name") or wanted)
    if wanted != name and wanted not in folder.parts:
        raise DataError(f"{str(folder)!r} holds {name!r}. Received: dataset = {asked!r}")
    form = str(info.get("fileFormat") or "tfrecord")
    if form != "tfrecord":
        raise DataError(
            f"dataset {asked!r} is prepared as {form}; prepare it with --file_format=tfrecord"
        )
    splits: dict[str, list[tuple[Path, int]]] = {}
    for split in info.get("splits") or []:
        lengths = [int(length) for length in split.get("shardLengths") or []]
        template = split.get("filepathTemplate") or TEMPLATE
        splits[str(split["name"])] = [
            (folder / _file_name(template, name, str(split["name"]), form, i, len(lengths)), length)
            for i, length in enumerate(lengths)
        ]
    image, label = _keys(features, "Image"), _keys(features, "ClassLabel")
    if not splits or not image or not label:
        what = "splits" if not splits else "image" if not image else "class label"
        raise DataError(f"dataset {asked!r} in {str(folder)!r} has no {what}")
    return _Prepared(
        folder,
        name,
        splits,
        "image" if "image" in image else image[0],
        "label" if "label" in label else label[0],
    )


def _file_name(template: str, name: str, split: str, form: str, index: int, count: int) -> str:
    values = {
        "DATASET": name,
        "SPLIT": split,
        "FILEFORMAT": form,
        "SHARD_INDEX": f"{index:05d}",
        "NUM_SHARDS": f"{count:05d}",
        "SHARD_X_OF_Y": f"{index:05d}-of-{count:05d}",
    }
    file = re.sub(r"\{(\w+)\}", lambda hit: values.get(hit[1], hit[0]), template)
    return Path(file).name  # never out of the folder


def _keys(features: dict[str, Any], kind: str, prefix: str = "") -> list[str]:
    """Names of the features of a kind (`Image`, `ClassLabel`), as Examples have them."""
    inner = features.get("featuresDict") or {}
    held = inner.get("features") if isinstance(inner, dict) else None
    if held is None and isinstance(features.get("content"), dict):  # before TFDS 4.4
        held = features["content"].get("features") or features["content"]
    found: list[str] = []
    for name, feature in (held or {}).items():
        if not isinstance(feature, dict):
            continue
        class_name = str(feature.get("pythonClassName") or feature.get("type") or "")
        if class_name.rsplit(".", 1)[-1] == kind:
            found.append(prefix + name)
        else:
            found += _keys(feature, kind, f"{prefix}{name}/")
    return found


def _shards(prepared: _Prepared, names: list[str]) -> list[Shard]:
    expected = [shard for name in names for shard in prepared.splits[name]]
    missing = [path.name for path, _ in expected if not path.is_file()]
    where = f"dataset {prepared.folder}"
    if missing:
        raise DataError(f"{where}: shards are missing:\n{capped(missing)}")
    files: dict[SplitName, list[Path]] = {"train": [path for path, _ in expected]}
    found = scan_all(files, prepared.label, (), where)["train"]
    wrong = [
        f"{shard.path.name}: {len(shard):,} records, dataset_info.json says {length:,}"
        for shard, (_, length) in zip(found, expected, strict=True)
        if len(shard) != length
    ]
    if wrong:
        raise DataError(f"{where}: shards do not fit:\n{capped(wrong)}")
    return found


def _parts(prepared: _Prepared, key: str, spec: str) -> list[tuple[str, str | None, str | None]]:
    """`train[:80%]+test` as (split, low, high)."""
    parts: list[tuple[str, str | None, str | None]] = []
    for text in spec.split("+"):
        hit = _PART.fullmatch(text.strip())
        if hit is None:
            raise DataError(
                f'dataset.{key}: "{spec}" is no split; write train, train[:80%] or train+test'
            )
        if hit[1] not in prepared.splits:
            raise DataError(
                f'dataset.{key}: no split "{hit[1]}" in {prepared.name}. '
                f"It has: {listed(list(prepared.splits))}"
            )
        parts.append((hit[1], hit[2], hit[3]))
    return parts


def _slice(start: int, count: int, low: str | None, high: str | None) -> Index:
    def at(text: str | None, default: int) -> int:
        if text is None:
            return default
        value = round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)
        return min(max(value + count if value < 0 else value, 0), count)

    return np.arange(start + at(low, 0), start + max(at(high, count), at(low, 0)), dtype=np.int64)


def _classes(prepared: _Prepared, labels: Index) -> list[str]:
    highest = int(labels.max()) if len(labels) else -1
    path = prepared.folder / f"{prepared.label.replace('/', '-')}.labels.txt"
    if not path.is_file():
        return [str(n) for n in range(max(highest + 1, 2))]
    classes = read_labels(path)
    if highest >= len(classes) or (len(labels) and int(labels.min()) < 0):
        raise DataError(
            f"{path}: names {len(classes)} classes but records have label "
            f"{highest if highest >= len(classes) else int(labels.min())}"
        )
    return classes
