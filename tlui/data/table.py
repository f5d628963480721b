"""A dataset as training sees it: class names in a fixed order, and labelled items per split.

`open_dataset` lists and splits and refuses what cannot be trained on; it never decodes an image,
so a form may call it while a person types. Images are decoded by `tlui.data.store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlui.data.items import BadImage, Found, Index, Pixels, Pool, Progress, Skipped, Taken, digest
from tlui.data.sources import SOURCES
from tlui.data.sources.folder import NO_CLASS, find_loose
from tlui.data.splits import check_classes, choose_classes, share_out
from tlui.errors import DataError
from tlui.recipe.sources import SPLITS, Dataset, FolderSource, SplitName

__all__ = ["BadImage", "Progress", "Skipped", "Split", "Table", "open_dataset"]


@dataclass(frozen=True)
class Split:
    """The items of one split, in an order that is the same on every machine."""

    name: SplitName
    pool: Pool
    """Where the items are; splits made by fractions share one."""
    items: Index
    """int64 (n,), this split's items in the pool."""
    labels: Index
    """int64 (n,), index into `Table.classes`."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> Sequence[str]:
        """What predictions and reports show: path under the root, or `file:index`."""
        return Taken(self.pool.names, self.items)

    def read(self, i: int) -> bytes | Pixels:
        """Encoded bytes, or uint8 pixels (h, w, 3) or (h, w), of one item.

        Raises:
            BadImage: It cannot be read.
        """
        return self.pool.read(int(self.items[i]))


@dataclass(frozen=True)
class Table:
    """A whole dataset."""

    name: str
    """Shortcut, a name of the person's own, or the last part of the path."""
    source: str
    classes: list[str]
    splits: dict[SplitName, Split]
    """`train` always; `val` and `test` where the source or a fraction gives them."""
    root: str
    fingerprint: str
    """Hex digest of items (names, sizes, times), classes and splits."""
    skipped: list[Skipped] = field(default_factory=list)
    """Files that are no images and were passed over."""
    problems: list[str] = field(default_factory=list)
    """Why it cannot be trained on; empty unless opened with `check=False`."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: folders passed over, how splits were made."""

    def counts(self) -> dict[SplitName, Index]:
        """Images of each class, int64 (classes,), for each split."""
        return {
            name: np.bincount(split.labels, minlength=len(self.classes))
            for name, split in self.splits.items()
        }


def open_dataset(dataset: Dataset, *, check: bool = True) -> Table:
    """List a dataset and split it; nothing is decoded.

    Args:
        dataset: The `[dataset]` table of an experiment.
        check: Refuse what cannot be trained on; where off, `Table.problems` says it, and photos
            that lie in no class folders are there under the one class `(no class)`.

    Returns:
        The table; the same on every machine that has the same files.

    Raises:
        DataError: It is not there, or its classes cannot be trained on; each one named.
    """
    where = place(dataset)
    found: Found | None = None
    problems: list[str] = []
    try:
        found = SOURCES[dataset.source](dataset)
        found = choose_classes(found, dataset.classes, where)
        check_classes(found, where)
    except DataError as error:
        if not check and found is None and isinstance(dataset, FolderSource):
            found = find_loose(dataset)
        if check or found is None:
            raise
        problems.append(str(error))
    notes = list(found.notes)
    splits: dict[SplitName, Split] = {}
    for name, group in found.groups.items():
        splits[name] = Split(name, group.pool, np.arange(len(group.labels)), group.labels)
    shares: dict[SplitName, float] = {}
    if "test" not in splits and dataset.test:
        shares["test"] = dataset.test
    if "val" not in splits and dataset.validation:
        shares["val"] = dataset.validation
    if shares and found.classes != [NO_CLASS] and len(found.groups["train"].labels):
        group = found.groups["train"]
        parts: dict[SplitName, Index] = {}
        try:
            parts = share_out(group, found.classes, shares, dataset.split_seed, where)
        except DataError as error:
            if check:
                raise
            if not problems:
                problems.append(str(error))
        for name, items in parts.items():
            splits[name] = Split(name, group.pool, items, group.labels[items])
        text = " and ".join(f"{share:g} as {name}" for name, share in shares.items())
        notes.append(f"of each class in train, {text} (split_seed {dataset.split_seed})")
    splits = {name: splits[name] for name in SPLITS if name in splits}
    return Table(
        name=dataset_name(dataset),
        source=dataset.source,
        classes=found.classes,
        splits=splits,
        root=found.root,
        fingerprint=_fingerprint(found.classes, splits),
        skipped=found.skipped,
        problems=problems,
        notes=notes,
    )


def dataset_name(dataset: Dataset) -> str:
    """The name a person knows a dataset by."""
    if dataset.name:
        return dataset.name
    if dataset.source == "tfds":
        return dataset.dataset
    path = getattr(dataset, "path", None)
    return Path(path).expanduser().absolute().name or str(path) if path else dataset.source


def place(dataset: Dataset) -> str:
    """The start of an error message about a dataset."""
    path = getattr(dataset, "path", None)
    return f"dataset {path}" if path else f"dataset {dataset_name(dataset)}"


def _fingerprint(classes: Sequence[str], splits: dict[SplitName, Split]) -> str:
    parts = [name.encode("utf-8", "surrogateescape") for name in classes]
    for split in splits.values():
        parts += [
            split.name.encode(),
            split.pool.fingerprint.encode(),
            split.items.astype("<i8").tobytes(),
            split.labels.astype("<i8").tobytes(),
        ]
    return digest(parts)
