"""Decoded, resized images: from the cache where they fit, decoded on demand where they do not.

One cache entry holds every image of a pool (splits made by fractions share it) at one size and
resize method, as one uint8 array on disk that is memory-mapped. Pools that are arrays of the
right size already (HDF5 in one piece) are mapped where they lie. The numbers are the same either
way. Images that cannot be decoded are found before training: skipped with the reason, or all
named at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL

from tlui.data.cache import Lease, NoRoomError, obtain
from tlui.data.decode import Resize, decode_to, fit
from tlui.data.items import BadImage, Index, Pixels, Pool, Progress, Taken, capped, digest
from tlui.data.splits import listed
from tlui.data.table import Split, Table
from tlui.errors import DataError
from tlui.recipe.sources import SplitName

CHUNK = 32
"""Items of one task of the thread pool."""
PIXELS = "images.u8"


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
    note: str = ""
    """Why they are streamed, for the log."""
    lost: list[tuple[str, str]] = field(default_factory=list)
    """(name, reason) of images that could be decoded at the start but not since: given as black."""
    _array: Pixels | None = None
    _rows: Index | None = None
    _decode: Callable[[Index], Pixels] | None = None
    _lease: Lease | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def array(self) -> Pixels | None:
        """All images (n, size, size, 3) without a copy, where they lie in order; else None."""
        if self._array is None or self._rows is None:
            return None
        count = len(self._rows)
        start = int(self._rows[0]) if count else 0
        if not np.array_equal(self._rows, np.arange(start, start + count)):
            return None
        return self._array[start : start + count]

    def batch(self, indices: Index | Sequence[int]) -> Pixels:
        """Images by their position in this split, in the order asked for.

        Args:
            indices: int (k,), each in [0, len(self)).

        Returns:
            uint8 (k, size, size, 3), a copy.
        """
        wanted = np.asarray(indices, np.int64)
        if self._array is not None and self._rows is not None:
            return np.take(self._array, self._rows[wanted], axis=0)
        assert self._decode is not None
        return self._decode(wanted)

    def close(self) -> None:
        """Let the cache entry be evicted; what is mapped stays readable until this is dropped."""
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
        cache_dir: The cache; default `cache_root()`.
        limit: Bytes that the whole cache may take; 0 streams, whatever is there. Default: the
            user's config.
        workers: Decoding threads; default one for each CPU of this process.

    Raises:
        DataError: `bad="fail"` and there are bad images (all named), or a class has no image left.
    """
    chosen = table.splits[split]
    pool = chosen.pool
    threads = workers or cpus()
    kept_at: Index = np.arange(len(chosen))
    skipped: list[tuple[str, str]] = []
    lease: Lease | None = None
    array: Pixels | None = None
    note = ""
    if pool.side == (size, size) and (mapped := pool.array()) is not None:
        array = mapped
        key = digest([b"mapped", pool.fingerprint.encode()])
    else:
        key = image_key(pool, size, method)
        lease, note = _entry(table, pool, size, method, key, progress, cache_dir, limit, threads)
        reasons = _bad(lease, pool, size, method, progress, threads)
        if lease is not None and lease.meta["stored"]:
            shape = (len(pool), size, size, 3)
            array = np.memmap(lease.path / PIXELS, np.uint8, "r", 0, shape).view(np.ndarray)
        skipped = [
            (pool.names[int(item)], reasons[int(item)])
            for item in chosen.items
            if int(item) in reasons
        ]
        if reasons:
            kept_at = np.flatnonzero(~np.isin(chosen.items, list(reasons)))
    _judge(table, chosen, kept_at, skipped, bad)
    rows = chosen.items[kept_at]
    images = Images(
        split=split,
        size=size,
        labels=chosen.labels[kept_at],
        names=Taken(pool.names, rows),
        indices=kept_at,
        skipped=skipped,
        streamed=array is None,
        key=digest([key.encode(), rows.astype("<i8").tobytes()]),
        note=note,
        _array=array,
        _rows=rows,
        _lease=lease,
    )
    if array is None:
        images._decode = _Streamer(pool, rows, size, method, threads, images.lost, bad)
    return images


def image_key(pool: Pool, size: int, method: Resize) -> str:
    """The cache key of a pool's images: everything that shapes them."""
    parts = ["images 1", PIL.__version__, pool.fingerprint, str(size), method]
    return digest([part.encode() for part in parts])[:40]


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def each_item(
    count: int, work: Callable[[int, int], Any], threads: int, progress: Progress | None
) -> Iterator[tuple[int, int, Any]]:
    """`work(start, stop)` for consecutive chunks of items in a thread pool.

    Yields:
        (start, stop, result) as they end, in any order; at most a few chunks are held at once.
    """
    done = 0
    chunks = iter(range(0, count, CHUNK))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as executor:
        running: dict[Future[Any], tuple[int, int]] = {}
        try:
            while True:
                for start in _first(chunks, 2 * threads - len(running)):
                    stop = min(start + CHUNK, count)
                    running[executor.submit(work, start, stop)] = (start, stop)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    start, stop = running.pop(future)
                    yield start, stop, future.result()
                    done += stop - start
                    if progress is not None:
                        progress(done, count)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _first(items: Iterable[int], count: int) -> Iterator[int]:
    for _, item in zip(range(count), items, strict=False):
        yield item


def _entry(
    table: Table,
    pool: Pool,
    size: int,
    method: Resize,
    key: str,
    progress: Progress | None,
    cache_dir: Path | None,
    limit: int | None,
    threads: int,
) -> tuple[Lease | None, str]:
    """The cache entry with the pixels; or, where they do not fit, with the bad images alone."""
    meta = {
        "dataset": table.name,
        "root": table.root,
        "images": len(pool),
        "size": size,
        "resize": method,
    }
    bytes_needed = len(pool) * size * size * 3

    def waiting() -> None:
        if progress is not None:
            progress(0, len(pool))

    def store(folder: Path) -> dict[str, Any]:
        reasons = _decode_all(pool, size, method, threads, progress, folder / PIXELS)
        return {**meta, "stored": True, "bad": reasons}

    def check(folder: Path) -> dict[str, Any]:
        reasons = _decode_all(pool, size, method, threads, progress, None)
        return {**meta, "stored": False, "bad": reasons}

    note = "images are decoded anew for every batch"
    if limit == 0:
        note += ", as asked"
    else:
        try:
            lease = obtain(
                "images", key, store, bytes_needed, root=cache_dir, limit=limit, waiting=waiting
            )
            return lease, ""
        except NoRoomError as error:
            note += f": {error}"
    if pool.side is not None:
        return None, note  # arrays: none of them can be bad
    try:
        checked = f"{key}-checked"
        return obtain("images", checked, check, 0, root=cache_dir, waiting=waiting), note
    except NoRoomError:
        return None, note


def _decode_all(
    pool: Pool,
    size: int,
    method: Resize,
    threads: int,
    progress: Progress | None,
    path: Path | None,
) -> dict[str, str]:
    """Decode every item, into a file where `path` is given; returns item -> why it is bad."""
    bad: dict[str, str] = {}
    row = size * size * 3
    # Written with pwrite, not through a map: a full disk is then an error, not a SIGBUS.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600) if path is not None else None
    try:
        if file is not None and len(pool):
            os.posix_fallocate(file, 0, len(pool) * row)

        def work(start: int, stop: int) -> dict[str, str]:
            pixels, reasons = _decoded(pool, np.arange(start, stop), size, method)
            if file is not None:
                os.pwrite(file, pixels.data, start * row)
            return {str(start + i): reason for i, reason in reasons.items()}

        for _, _, reasons in each_item(len(pool), work, threads, progress):
            bad.update(reasons)
        if file is not None:
            os.fsync(file)
    finally:
        if file is not None:
            os.close(file)
    return bad


def _decoded(pool: Pool, items: Index, size: int, method: Resize) -> tuple[Pixels, dict[int, str]]:
    """Items as uint8 (k, size, size, 3), black where bad; and position -> why it is bad."""
    out = np.zeros((len(items), size, size, 3), np.uint8)
    bad: dict[int, str] = {}
    block = pool.read_many(items)
    for i, item in enumerate(items):
        try:
            if block is not None:
                out[i] = fit(block[i], size, method)
            else:
                out[i] = decode_to(pool.read(int(item)), size, method)
        except BadImage as error:
            bad[i] = error.reason
    return out, bad


def _bad(
    lease: Lease | None,
    pool: Pool,
    size: int,
    method: Resize,
    progress: Progress | None,
    threads: int,
) -> dict[int, str]:
    if lease is not None:
        found: dict[str, str] = lease.meta["bad"]
    elif pool.side is not None:
        found = {}
    else:
        found = _decode_all(pool, size, method, threads, progress, None)
    return {int(item): reason for item, reason in found.items()}


def _judge(
    table: Table,
    split: Split,
    kept: Index,
    skipped: list[tuple[str, str]],
    bad: Literal["skip", "fail"],
) -> None:
    lines = [f"{name}: {reason}" for name, reason in skipped]
    if skipped and bad == "fail":
        raise DataError(
            f"dataset {table.name}: {len(skipped):,} of {len(split):,} images of {split.name} "
            f"cannot be used:\n{capped(lines, 1000)}\n"
            'Repair or remove them, or set dataset.bad_images = "skip".'
        )
    left = np.bincount(split.labels[kept], minlength=len(table.classes))
    had = np.bincount(split.labels, minlength=len(table.classes))
    empty = [name for name, n, m in zip(table.classes, left, had, strict=True) if m and not n]
    if empty:
        raise DataError(
            f"dataset {table.name}: no usable image is left in {split.name} for "
            f"{listed(empty)}:\n{capped(lines)}"
        )


class _Streamer:
    """Decodes batches in a thread pool of its own, with the cache's numbers."""

    def __init__(
        self,
        pool: Pool,
        rows: Index,
        size: int,
        method: Resize,
        threads: int,
        lost: list[tuple[str, str]],
        bad: Literal["skip", "fail"],
    ) -> None:
        self._pool = pool
        self._rows = rows
        self._size = size
        self._method: Resize = method
        self._threads = threads
        self._lost = lost
        self._bad = bad
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def __call__(self, wanted: Index) -> Pixels:
        items = self._rows[wanted]
        out = np.empty((len(items), self._size, self._size, 3), np.uint8)
        parts = [p for p in np.array_split(np.arange(len(items)), self._threads) if len(p)]
        if self._pool.side is not None:
            parts = [np.arange(len(items))] if len(items) else []  # one ordered read is faster
        list(self._threads_of().map(lambda part: self._fill(out, part, items), parts))
        return out

    def _threads_of(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
            return self._executor

    def _fill(self, out: Pixels, part: Index, items: Index) -> None:
        out[part], reasons = _decoded(self._pool, items[part], self._size, self._method)
        for i, reason in reasons.items():
            name = self._pool.names[int(items[part[i]])]
            if self._bad == "fail":
                raise DataError(f"{name} could be decoded before training but no longer: {reason}")
            with self._lock:
                if (name, reason) not in self._lost:
                    self._lost.append((name, reason))
