"""What a source hands over: pools of labelled items that are read one by one or in blocks.

A `Pool` is everything found in one place (a folder of photos, a set of shards, an HDF5 file), in
an order that is the same on every machine. Its fingerprint changes when any item may have
changed. Nothing here decodes an image or opens a file.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from tlui.data.block import Block
from tlui.errors import DataError
from tlui.recipe.sources import SplitName
from tlui.runs.text import printable

Pixels = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]
"""Called with (done, total), from one thread at a time; done is `ELSEWHERE` where it waits for
another process that does the same."""
ELSEWHERE = -1

WINDOW = 16
"""Blocks of neighbours (`Pool.together`) that the order of an epoch mixes at a time."""
SHOWN = 20
"""How many problems one message lists before `… and N more`."""


class BadImage(DataError):
    """One item that cannot be used, with a reason that a person understands.

    Args:
        reason: What is wrong with it, without its name: "0 bytes", "truncated after 300 bytes".
        passing: Whether the same bytes may be good another time: the system, not what is in
            them, stood in the way.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


class Reason(NamedTuple):
    """Why an item is bad, as `BadImage` says it."""

    text: str
    passing: bool


HIDDEN = "hidden or system file"
"""Why a file is passed over that nobody takes for an image of the dataset."""


@dataclass(frozen=True)
class Skipped:
    """Something that is not trained on, and why."""

    name: str
    reason: str


class Pool(ABC):
    """Items of one place, in an order that is the same on every machine."""

    names: Sequence[str]
    """What predictions and reports show for each item."""
    fingerprint: str
    """Hex digest that changes whenever an item may have changed."""

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, item: int) -> bytes | Pixels:
        """The encoded bytes of one item, or its pixels as uint8 (h, w), (h, w, 1) or (h, w, 3).

        Raises:
            BadImage: It cannot be read.
        """

    def read_many(self, items: Index) -> Pixels | None:
        """Pixels (len(items), h, w, 3) where the pool holds arrays of one size and all of these
        can be read, else None: `read` says which of them is bad, and why."""
        return None

    def block(self) -> Block | None:
        """Where all pixels lie in one piece in a file, that; else None."""
        return None

    @property
    def side(self) -> tuple[int, int] | None:
        """(h, w) of every item where the pool holds arrays of one size, else None."""
        return None

    @property
    def together(self) -> int:
        """How many neighbours are read at the cost of one; 1 where each has its own."""
        return 1


class Subset(Pool):
    """Some items of another pool, in the order given."""

    def __init__(self, pool: Pool, items: Index) -> None:
        self._pool = pool
        self._items = items
        self.names = Taken(pool.names, items)
        self.fingerprint = digest([pool.fingerprint.encode(), items.astype("<i8").tobytes()])

    def read(self, item: int) -> bytes | Pixels:
        return self._pool.read(int(self._items[item]))

    def read_many(self, items: Index) -> Pixels | None:
        return self._pool.read_many(self._items[items])

    @property
    def side(self) -> tuple[int, int] | None:
        return self._pool.side


class Taken(Sequence[str]):
    """`names[items]` without a list of them."""

    def __init__(self, names: Sequence[str], items: Index) -> None:
        self._names = names
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self._names[int(i)] for i in self._items[at]]
        return self._names[int(self._items[at])]


class Numbered(Sequence[str]):
    """`prefix:0`, `prefix:1` … for items that have no name of their own."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix = prefix
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [f"{self._prefix}:{i}" for i in range(self._count)[at]]
        return f"{self._prefix}:{range(self._count)[at]}"


@dataclass(frozen=True)
class Group:
    """The items of one split as the source has them."""

    pool: Pool
    labels: Index
    """int64 (n,), index into `Found.classes`."""
    declared: frozenset[int] = frozenset()
    """Classes that this split names even where it holds no image of them (empty folders)."""


@dataclass(frozen=True)
class Found:
    """What a source found: classes, and the splits that it has of its own."""

    classes: list[str]
    groups: dict[SplitName, Group]
    root: str
    skipped: list[Skipped] = field(default_factory=list)
    """Files that are no images and were not taken as items."""
    notes: list[str] = field(default_factory=list)
    ordered: bool = False
    """Whether the class order comes with the data (labels file, HDF5) rather than from sorting."""


def digest(parts: Iterable[Any]) -> str:
    """Hex SHA-256 of byte strings, each with its length in front so that none run together."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()


def capped(lines: Sequence[str], shown: int = SHOWN) -> str:
    """Lines indented for a message, with `… and N more` after the first `shown`."""
    kept = [f"  {printable(line)}" for line in lines[:shown]]
    if len(lines) > shown:
        kept.append(f"  … and {len(lines) - shown:,} more")
    return "\n".join(kept)
