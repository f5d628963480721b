"""Everything in a dataset decoded once and looked at: what would spoil a training, by name.

Unreadable images with the reason, byte-identical images within a split and across splits
(leakage: what is tested on was trained on), class counts, sizes, modes and formats.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlui.data.decode import Photo, examine
from tlui.data.items import BadImage, Index, Pool, Progress
from tlui.data.parallel import cpus, each_item
from tlui.data.table import Table
from tlui.recipe.sources import SplitName


@dataclass(frozen=True)
class Item:
    """One image by where it is."""

    split: SplitName
    name: str
    label: str


@dataclass(frozen=True)
class Bad:
    """One image that cannot be used, and why."""

    split: SplitName
    name: str
    reason: str


@dataclass
class Report:
    """What `check_dataset` found."""

    name: str
    source: str
    root: str
    classes: list[str]
    fingerprint: str
    counts: dict[SplitName, list[int]]
    """Images of each class in each split, bad ones included."""
    bad: list[Bad] = field(default_factory=list)
    leaks: list[list[Item]] = field(default_factory=list)
    """Groups of byte-identical images in more than one split."""
    duplicates: list[list[Item]] = field(default_factory=list)
    """Groups of byte-identical images within one split."""
    widths: list[int] = field(default_factory=list)
    """Least, median and largest width in pixels; empty where no image is good."""
    heights: list[int] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    """Files passed over: reason -> how many."""
    problems: list[str] = field(default_factory=list)
    """Why training would refuse the dataset, apart from bad images."""
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Images in all splits, bad ones included."""
        return sum(sum(counts) for counts in self.counts.values())

    @property
    def conflicts(self) -> list[list[Item]]:
        """Groups of identical images that carry different labels."""
        groups = [*self.leaks, *self.duplicates]
        return [group for group in groups if len({item.label for item in group}) > 1]

    def imbalance(self, split: SplitName) -> float:
        """Images of the largest class over those of the smallest; infinite where one is empty."""
        counts = self.counts[split]
        if not counts or max(counts) == 0:
            return 1.0
        return max(counts) / min(counts) if min(counts) else float("inf")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON has it."""

        def groups(found: Sequence[Sequence[Item]]) -> list[list[dict[str, str]]]:
            return [[vars(item) for item in group] for group in found]

        return {
            "version": 1,
            "name": self.name,
            "source": self.source,
            "root": self.root,
            "fingerprint": self.fingerprint,
            "images": self.images,
            "classes": self.classes,
            "counts": self.counts,
            "imbalance": {split: self.imbalance(split) for split in self.counts},
            "bad": [vars(bad) for bad in self.bad],
            "leaks": groups(self.leaks),
            "duplicates": groups(self.duplicates),
            "conflicts": len(self.conflicts),
            "widths": self.widths,
            "heights": self.heights,
            "formats": self.formats,
            "modes": self.modes,
            "skipped": self.skipped,
            "problems": self.problems,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _Look:
    """One item as read: a hash of its bytes, and what it is or why it is bad."""

    hash: bytes
    photo: Photo | None
    reason: str = ""


def check_dataset(
    table: Table, workers: int | None = None, progress: Progress | None = None
) -> Report:
    """Decode and hash every image of a dataset, in parallel.

    Args:
        table: From `open_dataset(dataset, check=False)`, so that class problems are reported too.
        workers: Threads; default one for each CPU of this process.
        progress: Called with (done, total) images.
    """
    report = Report(
        name=table.name,
        source=table.source,
        root=table.root,
        classes=table.classes,
        fingerprint=table.fingerprint,
        counts={split: [int(n) for n in counts] for split, counts in table.counts().items()},
        skipped=dict(Counter(skipped.reason for skipped in table.skipped).most_common()),
        problems=list(table.problems),
        notes=list(table.notes),
    )
    total = sum(len(split) for split in table.splits.values())
    same: dict[bytes, list[Item]] = {}
    widths: list[int] = []
    heights: list[int] = []
    formats: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    before = 0
    for split in table.splits.values():
        looks: list[_Look] = []

        def told(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        looks = _look_at(split.pool, split.items, workers or cpus(), told)
        for i, look in enumerate(looks):
            if look.photo is None:
                report.bad.append(Bad(split.name, split.names[i], look.reason))
            else:
                widths.append(look.photo.width)
                heights.append(look.photo.height)
                formats[look.photo.format] += 1
                modes[look.photo.mode] += 1
            if look.hash:
                item = Item(split.name, split.names[i], table.classes[int(split.labels[i])])
                same.setdefault(look.hash, []).append(item)
        before += len(split)
    for group in same.values():
        if len(group) > 1:
            across = len({item.split for item in group}) > 1
            (report.leaks if across else report.duplicates).append(group)
    report.widths, report.heights = _spread(widths), _spread(heights)
    report.formats, report.modes = dict(formats.most_common()), dict(modes.most_common())
    return report


def _look_at(pool: Pool, items: Index, threads: int, progress: Progress) -> list[_Look]:
    looks: list[_Look | None] = [None] * len(items)

    def work(start: int, stop: int) -> list[_Look]:
        block = pool.read_many(items[start:stop])
        if block is not None:
            height, width = block.shape[1:3]
            photo = Photo(width, height, "pixels", "RGB")
            return [_Look(_hash(pixels.tobytes()), photo) for pixels in block]
        return [_look(pool, int(item)) for item in items[start:stop]]

    for start, stop, found in each_item(len(items), work, threads, progress):
        looks[start:stop] = found
    return [look for look in looks if look is not None]


def _look(pool: Pool, item: int) -> _Look:
    try:
        data = pool.read(item)
    except BadImage as error:
        return _Look(b"", None, error.reason)
    if isinstance(data, np.ndarray):
        return _Look(_hash(data.tobytes()), Photo(data.shape[1], data.shape[0], "pixels", "RGB"))
    # Files of 0 bytes are all alike, and each is reported as bad: no duplicates.
    mark = _hash(data) if data else b""
    try:
        return _Look(mark, examine(data))
    except BadImage as error:
        return _Look(mark, None, error.reason)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _spread(values: list[int]) -> list[int]:
    return [min(values), int(np.median(values)), max(values)] if values else []
