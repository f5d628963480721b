"""TFRecord shards as the usual `build_image_data.py` writes them, without TensorFlow.

Every shard's checksums are verified before training, once for each version of the file; a
truncated or corrupt one is named with its byte offset.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tlui.data.items import Found, Group, Index, capped
from tlui.data.sources.files import read_list, shown
from tlui.data.sources.records import CorruptError, Records, Shard, scan
from tlui.errors import DataError
from tlui.recipe.sources import SplitName, TFRecordSource

TEXT_KEYS = ("image/class/text", "image/text")
"""Where the scripts in use write the name of the class, if they do."""
USUAL: dict[SplitName, str] = {"val": "validation-*", "test": "test-*"}
"""Shards of a split that is not named, as `build_image_data.py` writes them."""


def find_tfrecord(dataset: TFRecordSource) -> Found:
    """Shards, labels and class names.

    Raises:
        DataError: No such files, a damaged shard, one shard in two splits, or labels that the
            labels file does not name.
    """
    root = Path(dataset.path).expanduser()
    if not root.is_dir():
        raise DataError(f"dataset.path: folder {str(root)!r} does not exist")
    patterns: dict[SplitName, tuple[str, str | None]] = {
        "train": ("train_files", dataset.train_files),
        "val": ("validation_files", dataset.validation_files),
        "test": ("test_files", dataset.test_files),
    }
    files: dict[SplitName, list[Path]] = {}
    owner: dict[Path, str] = {}
    for split, (key, pattern) in patterns.items():
        if pattern is None:
            continue
        files[split] = _matching(root, key, pattern)
        for path in files[split]:
            if path in owner:
                raise DataError(
                    f"dataset.{key} and dataset.{owner[path]} both match {path.name}: "
                    "a shard belongs to one split"
                )
            owner[path] = key
    for split, usual in USUAL.items():
        left = [path for path in sorted(root.glob(usual)) if path not in owner and path.is_file()]
        if patterns[split][1] is None and left:
            files[split] = left
            owner |= dict.fromkeys(left, patterns[split][0])
    files = {split: files[split] for split in patterns if split in files}
    shards = scan_all(files, dataset.label_key, TEXT_KEYS, f"dataset {root}")
    texts = {split: np.concatenate([s.texts for s in held]) for split, held in shards.items()}
    values = {split: np.concatenate([s.labels for s in held]) for split, held in shards.items()}
    classes, labels = _classes(dataset, root, values, texts)
    groups = {
        split: Group(Records(held, dataset.image_key), labels[split])
        for split, held in shards.items()
    }
    return Found(classes, groups, str(root), notes=_unused(root, owner), ordered=True)


def scan_all(
    files: dict[SplitName, list[Path]], label_key: str, text_keys: Sequence[str], where: str
) -> dict[SplitName, list[Shard]]:
    """The index of every shard.

    Raises:
        DataError: Damaged shards, all of them named.
    """
    problems: list[str] = []

    def one(path: Path) -> Shard | None:
        try:
            return scan(path, label_key, text_keys)
        except CorruptError as error:
            problems.append(f"{path.name}: {error}")
        except OSError as error:
            problems.append(f"{path.name}: {error.strerror or error}")
        return None

    found: dict[SplitName, list[Shard]] = {}
    with ThreadPoolExecutor(4, thread_name_prefix="scan") as executor:
        for split, paths in files.items():
            found[split] = [shard for shard in executor.map(one, paths) if shard is not None]
    if problems:
        key = any("has no label in" in problem for problem in problems)
        way_out = "Write them again, or leave them out"
        if key:
            way_out = "Say which feature is the label with dataset.label_key"
        raise DataError(
            f"{where}: shards that cannot be read:\n{capped(sorted(problems))}\n{way_out}."
        )
    return found


def _matching(root: Path, key: str, pattern: str) -> list[Path]:
    try:
        found = [path for path in root.glob(pattern) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise DataError(
            f"dataset.{key}: {pattern!r} is no pattern below the path: {error}"
        ) from None
    if not found:
        names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
        raise DataError(
            f"dataset.{key}: nothing in {str(root)!r} matches {pattern!r}. It holds:\n"
            f"{capped(names, 8) or '  nothing'}"
        )
    return sorted(found, key=os.fsencode)


def _classes(
    dataset: TFRecordSource,
    root: Path,
    values: dict[SplitName, Index],
    texts: dict[SplitName, np.ndarray],
) -> tuple[list[str], dict[SplitName, Index]]:
    """Class names and each record's index into them."""
    every = np.concatenate(list(values.values()))
    named = np.concatenate(list(texts.values()))
    if dataset.labels_file is not None:
        path = root / Path(dataset.labels_file).expanduser()
        classes = read_labels(path)
        return classes, _from_offset(dataset, f"labels_file {path.name}", classes, every, values)
    distinct = sorted({int(v) for v in every})
    names = {v: {bytes(t) for t in np.unique(named[every == v])} for v in distinct}
    if len(distinct) == 1 and distinct[0] == 0 and b"" not in names[0]:  # labels are text
        return _by_text(texts)
    if all(len(found) == 1 and b"" not in found for found in names.values()):
        classes = [shown(next(iter(names[v]))) for v in distinct]
    else:
        classes = [str(v) for v in distinct]
        if dataset.classes is not None and not set(dataset.classes) & set(classes):
            # Records hold numbers only: a full list of other words names them.
            wanted = list(dataset.classes)
            return wanted, _from_offset(dataset, "classes", wanted, every, values)
    return classes, {s: np.searchsorted(distinct, held) for s, held in values.items()}


def _from_offset(
    dataset: TFRecordSource,
    key: str,
    classes: list[str],
    every: Index,
    values: dict[SplitName, Index],
) -> dict[SplitName, Index]:
    """Labels as indices into class names that start at `label_offset`."""
    low, high = dataset.label_offset, dataset.label_offset + len(classes) - 1
    outside = sorted({int(v) for v in every[(every < low) | (every > high)]})
    if outside:
        raise DataError(
            f"dataset.{key} names labels {low} to {high} (label_offset {low}), but records have "
            f"{', '.join(map(str, outside[:10]))}"
            + (", …" if len(outside) > 10 else "")
            + (". Perhaps label_offset = 0." if 0 in outside else ". Is it the right list?")
        )
    return {split: held - low for split, held in values.items()}


def _by_text(texts: dict[SplitName, np.ndarray]) -> tuple[list[str], dict[SplitName, Index]]:
    every = np.unique(np.concatenate(list(texts.values())))
    return [shown(bytes(t)) for t in every], {
        split: np.searchsorted(every, held).astype(np.int64) for split, held in texts.items()
    }


def read_labels(path: Path) -> list[str]:
    """Class names, one a line; `0:name` lines (TF-Slim's labels.txt) are ordered by number.

    Raises:
        DataError: The file cannot be read, is empty, or names a class twice.
    """
    text = read_list(path, "labels file").decode("utf-8-sig", "surrogateescape")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(\d+):(.+)", line) for line in lines]
    if lines and all(numbered):
        pairs = sorted((int(hit[1]), hit[2].strip()) for hit in numbered if hit)
        lines = [name for _, name in pairs]
    if not lines:
        raise DataError(f"labels file {str(path)!r} is empty")
    twice = sorted({name for name in lines if lines.count(name) > 1})
    if twice:
        raise DataError(f"labels file {str(path)!r} names classes twice: {', '.join(twice)}")
    return lines


def _unused(root: Path, used: dict[Path, str]) -> list[str]:
    rest = [
        path.name
        for path in sorted(root.iterdir())
        if path not in used and re.search(r"(^|[-_.])(val|valid|validation|test)[-_.]", path.name)
    ]
    return [f"not used: {_few(rest)}"] if rest else []


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
