"""From what a source found to train, val and test: class order, class checks, stratified shares.

The shares are a pure function of the items' order and `split_seed`: within each class, items are
ordered by 64-bit words of a Philox stream keyed by (seed, class name), and the first ones go to
test, the next to val. Raw words, since NumPy promises those to stay the same for ever, and a key
that holds the class's name, so that taking a class away leaves the others' splits as they were.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlui.data.items import Found, Group, Index, Subset, capped
from tlui.errors import DataError
from tlui.recipe.sources import SPLITS, SplitName
from tlui.runs.text import printable

SHARED: tuple[SplitName, ...] = ("test", "val")
"""The splits that fractions make, in the order they take their items."""


def choose_classes(found: Found, wanted: Sequence[str] | None, where: str) -> Found:
    """`found` with only the classes `wanted`, in that order; all of them where None.

    Raises:
        DataError: A wanted class is not in the dataset.
    """
    if wanted is None:
        return found
    same = {unicodedata.normalize("NFC", name): i for i, name in enumerate(found.classes)}
    at = [same.get(unicodedata.normalize("NFC", name)) for name in wanted]
    unknown = [name for name, i in zip(wanted, at, strict=True) if i is None]
    if unknown:
        lines = []
        for name in unknown:
            near = difflib.get_close_matches(name, found.classes, 1, 0.5)
            lines.append(f'"{name}"' + (f' (did you mean "{near[0]}"?)' if near else ""))
        raise DataError(
            f"{where}: dataset.classes names what is not there:\n{capped(lines)}\n"
            f"It has: {listed(found.classes)}"
        )
    renumber = np.full(len(found.classes), -1, np.int64)
    for new, old in enumerate(at):
        renumber[old] = new
    groups: dict[SplitName, Group] = {}
    for split, group in found.groups.items():
        labels = renumber[group.labels]
        kept = np.flatnonzero(labels >= 0)
        pool = group.pool if len(kept) == len(labels) else Subset(group.pool, kept)
        declared = frozenset(int(renumber[c]) for c in group.declared if renumber[c] >= 0)
        groups[split] = Group(pool, labels[kept], declared)
    return Found(list(wanted), groups, found.root, found.skipped, found.notes, found.ordered)


def check_classes(found: Found, where: str) -> None:
    """Refuse what cannot be trained on or compared, naming every class and the way out.

    Raises:
        DataError: Fewer than two classes, an empty class, one that a split lacks, or one that
            only val or test has.
    """
    if sum(len(group.labels) for group in found.groups.values()) == 0:
        raise DataError(f"{where}: no images found")
    if len(found.classes) < 2:
        raise DataError(
            f"{where}: a classifier needs two classes or more. Found: {listed(found.classes)}"
        )
    counts = {
        split: np.bincount(group.labels, minlength=len(found.classes))
        for split, group in found.groups.items()
    }
    problems: list[str] = []
    good: list[str] = []
    for index, name in enumerate(found.classes):
        has = [split for split in SPLITS if split in counts and counts[split][index]]
        lacks = [split for split in SPLITS if split in counts and not counts[split][index]]
        if not lacks:
            good.append(name)
        elif not has:
            problems.append(f'"{name}" is empty: it has no images')
        elif "train" in lacks:
            empty = (
                " (its folder there is empty)" if index in found.groups["train"].declared else ""
            )
            problems.append(f'"{name}" is only in {" and ".join(has)}, not in train{empty}')
        else:
            problems.append(f'"{name}" has images in {" and ".join(has)} but none in {lacks[0]}')
    if not problems:
        return
    way_out = "Add the missing images"
    if 2 <= len(good) <= 12:
        names = listed(good)
        way_out += f", or train on the other classes with dataset.classes = [{names}]"
    elif len(good) > 12:
        way_out += f", or name the other {len(good)} classes in dataset.classes"
    raise DataError(
        f"{where}: {len(problems)} of {len(found.classes)} classes cannot be used:\n"
        f"{capped(problems)}\n{way_out}."
    )


def share_out(
    group: Group,
    classes: Sequence[str],
    shares: dict[SplitName, float],
    seed: int,
    where: str,
) -> dict[SplitName, Index]:
    """Hold out stratified fractions of a group.

    Args:
        group: The items, in the source's order.
        shares: Fraction in (0, 1) for `val` and `test`; absent where the split is not wanted.
        seed: `dataset.split_seed`.

    Returns:
        For `train` and each share, the items (sorted indices into the group). Each class gives
        `round(share * n)` images, half up, but at least one, to each share.

    Raises:
        DataError: A class has too few images to give each split one.
    """
    wanted: list[SplitName] = [name for name in SHARED if name in shares]
    taken: dict[SplitName, list[Index]] = {name: [] for name in ("train", *wanted)}
    few: list[str] = []
    for index, name in enumerate(classes):
        items = np.flatnonzero(group.labels == index)
        counts = [max(1, math.floor(shares[s] * len(items) + 0.5)) for s in wanted]
        if sum(counts) >= len(items):
            few.append(f'"{name}": {len(items)}')
            continue
        shuffled = items[order(seed, name, len(items))]
        start = 0
        for split, count in zip(wanted, counts, strict=True):
            taken[split].append(shuffled[start : start + count])
            start += count
        taken["train"].append(shuffled[start:])
    if few:
        parts = ", ".join(f"{s} {shares[s]:g}" for s in wanted)
        raise DataError(
            f"{where}: classes with too few images to share out ({parts}):\n{capped(few)}\n"
            "Add images, lower dataset.validation and dataset.test, or leave these classes out "
            "with dataset.classes."
        )
    return {s: np.sort(np.concatenate(parts)) for s, parts in taken.items()}


def order(seed: int, name: str, count: int) -> Index:
    """A permutation of `count` items of the class `name`: the same on every machine."""
    folded = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]
    philox = np.random.Philox(key=np.array([seed, int.from_bytes(folded, "little")], np.uint64))
    return np.argsort(philox.random_raw(count), kind="stable")


def listed(names: Sequence[Any], shown: int = 12) -> str:
    """Names for a message: quoted, at most `shown`."""
    if not names:
        return "none"
    text = ", ".join(f'"{printable(name)}"' for name in names[:shown])
    return text + (f" … and {len(names) - shown:,} more" if len(names) > shown else "")
