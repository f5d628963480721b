"""PatchCamelyon's layout: `…train_x.h5` and `…train_y.h5`, valid (or val) and test likewise.

`x` is (N, h, w, 3) uint8, `y` (N, 1, 1, 1) or any shape with N integers. Files are never loaded
whole: the real train split is 7.2 GB. Where `x` is stored in one piece, without chunks or
compression, images are read where they lie. Otherwise neighbours are read together and kept while
the epoch's order, which is shuffled in such blocks, may ask for them.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from tlui.data.block import Block
from tlui.data.items import (
    WINDOW,
    BadImage,
    Found,
    Group,
    Index,
    Numbered,
    Pixels,
    Pool,
    capped,
    digest,
)
from tlui.errors import DataError
from tlui.recipe.sources import HDF5Source, SplitName

SUFFIXES = (".h5", ".hdf5")
WORDS: dict[str, SplitName] = {"train": "train", "valid": "val", "val": "val", "test": "test"}
BLOCK_BYTES = 2 * 2**20
"""About what is read at once where chunks have to be taken apart."""


class HDF5Images(Pool):
    """The dataset `x` of one file. Thread-safe (HDF5 has one global lock).

    Args:
        chunk: Images of a chunk of it; 0 where it is stored in one piece.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...], chunk: int = 0) -> None:
        self._path = path
        self._key = key
        self._shape = shape
        self._together = 1
        if chunk:
            chunks = BLOCK_BYTES // (chunk * int(np.prod(shape[1:])))
            self._together = max(1, chunks) * chunk
        self._held: OrderedDict[int, Pixels] = OrderedDict()
        self._holding = threading.Lock()
        self._lock = threading.Lock()
        self._file: Any = None
        self._pid = 0
        self.names = Numbered(path.name, shape[0])
        stat = path.stat()
        self.fingerprint = digest(
            [b"hdf5", os.fsencode(path.name), f"{stat.st_size} {stat.st_mtime_ns}".encode()]
        )

    @property
    def side(self) -> tuple[int, int]:
        return self._shape[1], self._shape[2]

    def read(self, item: int) -> Pixels:
        out = np.empty((*self._shape[1:3], 3), np.uint8)
        out[:] = self._read(item, item + 1)[0]
        return out

    @property
    def together(self) -> int:
        return self._together

    def read_many(self, items: Index) -> Pixels | None:
        """Items in the order asked for; neighbours in the file are read as one block."""
        try:
            return self._gathered(items)
        except BadImage:
            return None

    def _gathered(self, items: Index) -> Pixels:
        out = np.empty((len(items), *self._shape[1:3], 3), np.uint8)
        if self._together > 1:
            blocks = items // self._together
            for block in np.unique(blocks).tolist():
                here = blocks == block
                out[here] = self._hold(block)[items[here] - block * self._together]
            return out
        by_place = np.argsort(items, kind="stable")
        wanted = items[by_place]
        breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
        for run in np.split(np.arange(len(wanted)), breaks):
            if len(run):
                start = int(wanted[run[0]])
                out[by_place[run]] = self._read(start, start + len(run))
        return out

    def _hold(self, block: int) -> Pixels:
        """All images of a block, of which as many are kept as two windows of the order have."""
        with self._holding:
            found = self._held.pop(block, None)
            if found is None:
                start = block * self._together
                found = self._read(start, start + self._together)
            self._held[block] = found
            if len(self._held) > 2 * WINDOW:
                self._held.popitem(last=False)
            return found

    def _read(self, start: int, stop: int) -> Pixels:
        try:
            found: Pixels = self._open()[start:stop]
        except (OSError, KeyError) as error:
            # HDF5 does not tell damage from a disk that is away or a filter that is not installed.
            raise BadImage(f"cannot be read: {error}", passing=True) from None
        return found

    def block(self) -> Block | None:
        try:
            data = self._open()
        except (OSError, KeyError) as error:
            raise DataError(f"{self._path} cannot be read: {error}") from None
        at = data.id.get_offset() if data.chunks is None else None
        if at is None or self._shape[3] != 3:
            return None
        return Block(self._path, self._shape, at)

    def _open(self) -> Any:
        import h5py

        with self._lock:
            if self._file is None or self._pid != os.getpid():
                self._file = h5py.File(self._path, "r", locking=False)
                self._pid = os.getpid()
            return self._file[self._key]


def find_hdf5(dataset: HDF5Source) -> Found:
    """The files of each split, checked against each other.

    Raises:
        DataError: No such files, one of a pair is missing, or shapes, lengths or labels do not
            fit; all of them named.
    """
    root = Path(dataset.path).expanduser()
    files = _pairs(root)
    problems: list[str] = []
    groups: dict[SplitName, tuple[HDF5Images, Index]] = {}
    for split, (x, y) in files.items():
        try:
            groups[split] = _pair(x, y, problems)
        except _Mismatch:
            continue
    if problems:
        raise DataError(f"dataset {root}: HDF5 files do not fit:\n{capped(problems)}")
    highest = max((int(labels.max()) for _, labels in groups.values() if len(labels)), default=-1)
    count = max(highest + 1, 2)
    classes = ["normal", "tumor"] if count == 2 else [str(n) for n in range(count)]
    wanted = dataset.classes
    if wanted is not None and len(wanted) == count and not set(wanted) & set(classes):
        classes = list(wanted)  # files hold numbers only: a full list of other words names them
    return Found(
        classes,
        {split: Group(pool, labels) for split, (pool, labels) in groups.items()},
        str(root),
        ordered=True,
    )


class _Mismatch(Exception):
    pass


def _pairs(root: Path) -> dict[SplitName, tuple[Path, Path]]:
    if not root.is_dir():
        raise DataError(f"dataset.path: {root} is not a folder of HDF5 files")
    found: dict[tuple[SplitName, str], list[Path]] = {}
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        for word, split in WORDS.items():
            for half in ("x", "y"):
                if path.stem.lower().endswith(f"{word}_{half}"):
                    found.setdefault((split, half), []).append(path)
    problems = [
        f"{split} {half}: more than one file: {', '.join(p.name for p in paths)}"
        for (split, half), paths in found.items()
        if len(paths) > 1
    ]
    splits = {split for split, _ in found}
    for split in sorted(splits):
        for half, other in (("x", "y"), ("y", "x")):
            if (split, half) not in found:
                there = found[(split, other)][0].name
                problems.append(f"{split}: {there} is there but its {half} file is missing")
    if problems:
        raise DataError(f"dataset {root}: HDF5 files do not fit:\n{capped(problems)}")
    if "train" not in splits:
        packed = "; unpack the .gz files first" if any(root.glob("*.h5.gz")) else ""
        raise DataError(
            f"dataset.path: {root} has no *train_x.h5 and *train_y.h5 "
            f"(with *valid_… and *test_… likewise){packed}"
        )
    order: tuple[SplitName, ...] = ("train", "val", "test")
    return {s: (found[(s, "x")][0], found[(s, "y")][0]) for s in order if s in splits}


def _pair(x: Path, y: Path, problems: list[str]) -> tuple[HDF5Images, Index]:
    key, shape, dtype, chunk = _look(x, "x", problems)
    if len(shape) != 4 or shape[3] not in (1, 3) or dtype != np.uint8 or 0 in shape[1:]:
        problems.append(f"{x.name}: x is {dtype} {shape}; expected uint8 (N, height, width, 3)")
        raise _Mismatch
    label_key, label_shape, label_type, _ = _look(y, "y", problems)
    size = int(np.prod(label_shape)) if label_shape else 0
    if not np.issubdtype(label_type, np.integer) and label_type != np.bool_:
        problems.append(f"{y.name}: y is {label_type}; expected integers")
        raise _Mismatch
    if size != shape[0]:
        problems.append(f"{x.name} holds {shape[0]:,} images but {y.name} {size:,} labels")
        raise _Mismatch
    import h5py

    try:
        with h5py.File(y, "r", locking=False) as file:
            labels = np.asarray(file[label_key][()]).reshape(-1).astype(np.int64)
    except (OSError, KeyError) as error:
        problems.append(_unreadable(y, error))
        raise _Mismatch from None
    if len(labels) and labels.min() < 0:
        problems.append(f"{y.name}: negative label {labels.min()}")
        raise _Mismatch
    return HDF5Images(x, key, shape, chunk), labels


def _look(path: Path, wanted: str, problems: list[str]) -> tuple[str, tuple[int, ...], Any, int]:
    """Name, shape and type of the dataset `wanted`, or of the only one there; and how many rows
    a chunk of it has, 0 without chunks."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            keys = [key for key in file if isinstance(file[key], h5py.Dataset)]
            key = wanted if wanted in keys else keys[0] if len(keys) == 1 else None
            if key is None:
                has = ", ".join(keys) or "none"
                problems.append(f'{path.name}: no dataset "{wanted}"; it has: {has}')
                raise _Mismatch
            found = file[key]
            return key, tuple(found.shape), found.dtype, found.chunks[0] if found.chunks else 0
    except (OSError, KeyError) as error:
        problems.append(_unreadable(path, error))
        raise _Mismatch from None


def _unreadable(path: Path, error: OSError | KeyError) -> str:
    number = getattr(error, "errno", None)
    if number is not None:  # the system's refusal; HDF5 has none for what is in a file
        return f"{path.name}: cannot be read: {os.strerror(number)}"
    return f"{path.name}: not readable as HDF5, damaged or truncated ({error})"
