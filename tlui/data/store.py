"""Decoded, resized images: from the cache where they fit, decoded on demand where they do not.

One cache entry holds every image of a pool (splits made by fractions share it) at one size and
resize method, as one uint8 array on disk. Pools that are arrays of the right size already (HDF5
in one piece) are read where they lie. The numbers are the same either
way. Images that cannot be decoded are found before training: skipped with the reason, or all
named at once.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image

from tlui.data.block import Block
from tlui.data.cache import Lease, NoRoomError, find, obtain
from tlui.data.decode import Resize, decode_to
from tlui.data.items import ELSEWHERE, Index, Pixels, Pool, Progress, Reason, Taken, capped, digest
from tlui.data.parallel import Streamer, cpus, decode_all
from tlui.data.splits import listed
from tlui.data.table import Split, Table
from tlui.errors import DataError
from tlui.recipe.sources import SplitName

__all__ = ["Images", "cpus", "fill", "image_key", "lacks", "load", "open_images"]

PIXELS = "images.u8"
JPEG = ("jpeglib_version", "libjpeg_turbo_version")
"""Of the library that Pillow was built with; distributions take their own."""
NAMED = 1000
"""Bad images that one message names."""


def load(split: Split, i: int, size: int, method: Resize) -> Pixels:
    """Item `i` of a split as uint8 (size, size, 3).

    Raises:
        BadImage: It cannot be read or decoded.
    """
    return decode_to(split.read(i), size, method)


@dataclass
class Images:
    """The images of one split at one size; thread-safe."""

    split: SplitName
    size: int
    labels: Index
    """int64 (n,), index into `Table.classes`."""
    names: Sequence[str]
    indices: Index
    """int64 (n,), index of each image in the split as listed, before bad ones were skipped."""
    skipped: list[tuple[str, str]]
    """(name, reason) of each image of this split that cannot be used."""
    streamed: bool
    """Whether every batch is decoded anew."""
    key: str
    """Hex digest of everything that shapes the pixels and their order; for caches built on it."""
    dataset: str = ""
    """What it is called in lists of what is cached."""
    note: str = ""
    """Why they are streamed, for the log."""
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(name, reason) of images that could be decoded at the start but not since, and how often
    they were given as black."""
    blocks: Index | None = None
    """int64 (n,), which block each image is read with; None where each is read by itself."""
    _block: Block | None = None
    _rows: Index | None = None
    _decode: Callable[[Index], Pixels] | None = None
    _lease: Lease | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Index | Sequence[int]) -> Pixels:
        """Images by their position in this split, in the order asked for.

        Args:
            indices: int (k,), each in [0, len(self)).

        Returns:
            uint8 (k, size, size, 3).

        Raises:
            DataError: What was decoded cannot be read any more.
        """
        wanted = np.asarray(indices, np.int64)
        if self._block is not None and self._rows is not None:
            return self._block.take(self._rows[wanted])
        assert self._decode is not None
        return self._decode(wanted)

    def close(self) -> None:
        """Let the cache entry be evicted; it stays readable until this is dropped."""
        if self._lease is not None:
            self._lease.close()


def open_images(
    table: Table,
    split: SplitName,
    size: int,
    method: Resize,
    bad: Literal["skip", "fail"] = "fail",
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    limit: int | None = None,
    workers: int | None = None,
) -> Images:
    """The decoded images of a split, from the cache, which is filled first where it is empty.

    Args:
        table: From `open_dataset`.
        split: One of `table.splits`.
        size: Side in pixels; `augment.crop_from` where that is set.
        method: How a photo becomes square.
        bad: What happens to images that cannot be decoded.
        progress: Called with (done, total) images of the pool while they are decoded or another
            process decodes them; may raise to stop.
        cache_dir: The cache; default `cache_folder()`.
        limit: Bytes that the whole cache may take; 0 streams, whatever is there. Default: the
            user's config.
        workers: Decoding threads; default one for each CPU of this process.

    Raises:
        DataError: `bad="fail"` and there are bad images (all named), or a class has no image left.
    """
    chosen = table.splits[split]
    filler = _Filler(table, size, method, progress, cache_dir, limit, workers or cpus())
    held = filler.hold(chosen.pool)
    skipped = held.skipped(chosen)
    kept_at: Index = np.arange(len(chosen))
    if skipped:
        if bad == "fail":
            _refuse(table, filler, {id(chosen.pool): held})
        kept_at = np.flatnonzero(~np.isin(chosen.items, list(held.bad)))
        _need_all_classes(table, chosen, kept_at, skipped)
    rows = chosen.items[kept_at]
    images = Images(
        split=split,
        size=size,
        labels=chosen.labels[kept_at],
        names=Taken(chosen.pool.names, rows),
        indices=kept_at,
        skipped=skipped,
        streamed=held.block is None,
        key=digest([held.key.encode(), rows.astype("<i8").tobytes()]),
        dataset=table.name,
        note=held.note,
        blocks=rows // chosen.pool.together if chosen.pool.together > 1 else None,
        _block=held.block,
        _rows=rows,
        _lease=held.lease,
    )
    if held.block is None:
        images._decode = Streamer(chosen.pool, rows, size, method, filler.threads, images.lost, bad)
    return images


def lacks(table: Table, size: int, method: Resize) -> bool:
    """Whether any image of a table would have to be decoded: most are in the cache, or arrays."""
    filler = _Filler(table, size, method, None, None, None, 1)
    return any(filler.lacks(pool) for pool in _pools(table))


def fill(table: Table, size: int, method: Resize, progress: Progress | None = None) -> None:
    """Decode what `lacks` finds missing into the cache; what does not fit there is left.

    Args:
        progress: As for `open_images`.
    """
    filler = _Filler(table, size, method, progress, None, None, cpus())
    for pool in _pools(table):
        if filler.lacks(pool):
            with contextlib.suppress(NoRoomError):
                filler.obtain(pool, PIXELS).close()


def _pools(table: Table) -> list[Pool]:
    return list({id(split.pool): split.pool for split in table.splits.values()}.values())


def image_key(pool: Pool, size: int, method: Resize) -> str:
    """The cache key of a pool's images: everything that shapes them."""
    core = vars(PIL.Image)["core"]
    jpeg = [getattr(core, name, None) for name in JPEG]
    parts = ["images 1", PIL.__version__, str(jpeg), pool.fingerprint, str(size), method]
    return digest([part.encode() for part in parts])[:40]


@dataclass(frozen=True)
class _Held:
    """The decoded images of one pool, or what is known of them."""

    key: str
    block: Block | None
    """Every item of the pool; None where they are streamed."""
    bad: dict[int, str]
    """Item -> why it cannot be used."""
    lease: Lease | None = None
    note: str = ""

    def skipped(self, split: Split) -> list[tuple[str, str]]:
        """(name, reason) of the bad images of a split."""
        if not self.bad:
            return []
        return [
            (split.pool.names[int(item)], self.bad[int(item)])
            for item in split.items
            if int(item) in self.bad
        ]


@dataclass(frozen=True)
class _Filler:
    """Finds or makes the decoded images of a pool."""

    table: Table
    size: int
    method: Resize
    progress: Progress | None
    cache_dir: Path | None
    limit: int | None
    threads: int

    def lacks(self, pool: Pool) -> bool:
        if self._mapped(pool) is not None:
            return False
        lease = find("images", image_key(pool, self.size, self.method), self.cache_dir)
        if lease is not None:
            lease.close()
        return lease is None

    def _mapped(self, pool: Pool) -> Block | None:
        return pool.block() if pool.side == (self.size, self.size) else None

    def hold(self, pool: Pool) -> _Held:
        if (block := self._mapped(pool)) is not None:
            return _Held(digest([b"mapped", pool.fingerprint.encode()]), block, {})
        key = image_key(pool, self.size, self.method)
        note = "images are decoded anew for every batch"
        if self.limit == 0:
            note += ", as asked"
        else:
            try:
                lease = self.obtain(pool, PIXELS)
                bad = self._bad(pool, lease, PIXELS)
            except NoRoomError as error:
                note += f": {error}"
            else:
                shape = (len(pool), self.size, self.size, 3)
                block = Block(lease.path / PIXELS, shape)
                return _Held(key, block, bad, lease)
        if pool.block() is not None:
            return _Held(key, None, {}, note=note)  # nothing to take apart: none of them is bad
        # Arrays are only read, at their own size: nothing else of them can be bad.
        looking = self if pool.side is None else replace(self, size=pool.side[0])
        try:
            bad = looking._bad(pool, looking.obtain(pool, None), None)
        except NoRoomError:
            reasons = looking._decode(pool, np.arange(len(pool)), None)
            bad = {item: reason.text for item, reason in reasons.items()}
        return _Held(key, None, bad, note=note)

    def obtain(self, pool: Pool, file: str | None) -> Lease:
        """The entry with the pixels; or, without a file, with the bad images alone.

        Raises:
            NoRoomError: It does not fit, or nothing can be written.
        """
        key = image_key(pool, self.size, self.method)
        size = len(pool) * self.size * self.size * 3 if file is not None else 0

        def build(folder: Path) -> dict[str, Any]:
            path = folder / file if file is not None else None
            return {
                "dataset": self.table.name,
                "root": self.table.root,
                "images": len(pool),
                "size": self.size,
                "resize": self.method,
                "what": "" if file is not None else "which images are unreadable",
                **_said(self._decode(pool, np.arange(len(pool)), path)),
            }

        def waiting() -> None:
            if self.progress is not None:
                self.progress(ELSEWHERE, len(pool))

        return obtain(
            "images",
            key if file is not None else f"{key}-checked",
            build,
            size,
            root=self.cache_dir,
            limit=self.limit if size else None,
            waiting=waiting,
        )

    def _bad(self, pool: Pool, lease: Lease, file: str | None) -> dict[int, str]:
        """Item -> why it is bad, as an entry has it; what may have passed since is read again.

        What is good now is a part of the entry from now on. Nobody reads its pixels before, and
        whoever else reads it again writes the same.

        Raises:
            NoRoomError: It cannot be written.
        """
        bad = {int(item): reason for item, reason in lease.meta["bad"].items()}
        passing = lease.meta.get("passing", list(bad))
        if not passing:
            return bad
        path = lease.path / file if file is not None else None
        try:
            left = self._decode(pool, np.array(passing, np.int64), path)
        except OSError as error:
            raise NoRoomError(f"{path}: {error.strerror or error}") from error
        lasting = {item: Reason(bad[item], False) for item in bad.keys() - set(passing)}
        if (said := _said(lasting | left)) != {key: lease.meta.get(key) for key in said}:
            lease.amend(**said)
        return {int(item): reason for item, reason in said["bad"].items()}

    def _decode(self, pool: Pool, items: Index, path: Path | None) -> dict[int, Reason]:
        return decode_all(pool, items, self.size, self.method, self.threads, self.progress, path)


def _said(bad: dict[int, Reason]) -> dict[str, Any]:
    """What an entry says of its bad items."""
    return {
        "bad": {str(item): bad[item].text for item in sorted(bad)},
        "passing": [item for item in sorted(bad) if bad[item].passing],
    }


def _refuse(table: Table, filler: _Filler, held: dict[int, _Held]) -> None:
    """Name the bad images of every split at once.

    Args:
        held: Pools that are known already, by their id.

    Raises:
        DataError: Always.
    """
    lines: list[str] = []
    for split in table.splits.values():
        if id(split.pool) not in held:
            held[id(split.pool)] = filler.hold(split.pool)
        skipped = held[id(split.pool)].skipped(split)
        lines += [f"{name}: {reason}" for name, reason in skipped]
    count = f"{len(lines):,} image{'' if len(lines) == 1 else 's'}"
    raise DataError(
        f"dataset {table.name}: {count} cannot be used:\n{capped(lines, NAMED)}\n"
        'Repair or remove them, or set dataset.bad_images = "skip".'
    )


def _need_all_classes(
    table: Table, split: Split, kept: Index, skipped: list[tuple[str, str]]
) -> None:
    left = np.bincount(split.labels[kept], minlength=len(table.classes))
    had = np.bincount(split.labels, minlength=len(table.classes))
    empty = [name for name, n, m in zip(table.classes, left, had, strict=True) if m and not n]
    if empty:
        lines = [f"{name}: {reason}" for name, reason in skipped]
        raise DataError(
            f"dataset {table.name}: no usable image is left in {split.name} for "
            f"{listed(empty)}:\n{capped(lines)}"
        )
