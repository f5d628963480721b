"""Decoding many items at once: to a file, only to look, or batch by batch while training."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlui.data.decode import Resize, decode_to, fit
from tlui.data.items import BadImage, Index, Pixels, Pool, Progress, Reason
from tlui.errors import DataError

CHUNK = 32
"""Items of one task of the thread pool."""


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


def decode_all(
    pool: Pool,
    items: Index,
    size: int,
    method: Resize,
    threads: int,
    progress: Progress | None,
    path: Path | None,
) -> dict[int, Reason]:
    """Decode items, each into its place in a file where `path` is given, which is made with room
    for the whole pool if it is not there; returns item -> why it is bad. Bad ones are not written:
    their places are black, or what they were."""
    bad: dict[int, Reason] = {}
    row = size * size * 3
    # Written with pwrite, not through a map: a full disk is then an error, not a SIGBUS.
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if path is not None else None
    try:
        if file is not None and os.fstat(file).st_size < len(pool) * row:
            os.posix_fallocate(file, 0, len(pool) * row)

        def work(start: int, stop: int) -> dict[int, Reason]:
            part = items[start:stop]
            pixels, reasons = decoded(pool, part, size, method)
            if file is not None:
                for i, item in enumerate(part.tolist()):
                    if i not in reasons:
                        os.pwrite(file, pixels[i].data, item * row)
            return {int(part[i]): reason for i, reason in reasons.items()}

        for _, _, reasons in each_item(len(items), work, threads, progress):
            bad.update(reasons)
        if file is not None:
            os.fsync(file)
    finally:
        if file is not None:
            os.close(file)
    return bad


def decoded(
    pool: Pool, items: Index, size: int, method: Resize
) -> tuple[Pixels, dict[int, Reason]]:
    """Items as uint8 (k, size, size, 3), black where bad; and position -> why it is bad."""
    out = np.zeros((len(items), size, size, 3), np.uint8)
    bad: dict[int, Reason] = {}
    block = pool.read_many(items)
    for i, item in enumerate(items):
        try:
            if block is not None:
                out[i] = fit(block[i], size, method)
            else:
                out[i] = decode_to(pool.read(int(item)), size, method)
        except BadImage as error:
            bad[i] = Reason(error.reason, error.passing)
    return out, bad


class Streamer:
    """Decodes batches in a thread pool of its own, with the cache's numbers."""

    def __init__(
        self,
        pool: Pool,
        rows: Index,
        size: int,
        method: Resize,
        threads: int,
        lost: Counter[tuple[str, str]],
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
        out[part], reasons = decoded(self._pool, items[part], self._size, self._method)
        for i, (reason, _) in reasons.items():
            name = self._pool.names[int(items[part[i]])]
            if self._bad == "fail":
                raise DataError(f"{name} could be decoded before training but no longer: {reason}")
            with self._lock:
                self._lost[name, reason] += 1
