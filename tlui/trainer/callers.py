"""The forward pass of a network that stays as it is, by several threads at once.

On a CPU TensorFlow shares out every single convolution among its threads, and much of their time
goes into handing over. Threads that each take a piece of a batch through all layers need less of
it. A piece has 8 images at least: below that kernels round otherwise, from there on an image's
numbers are its own (compared bit by bit for every family of backbones, and here once more on the
first batch of each network).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from tlui.data.parallel import cpus

LEAST = 8
"""Images of a piece."""
PIXELS = 8 * 224 * 224
"""About how many pixels a piece has: what its layers write stays in a core's cache."""
MOST_CALLERS = 16

Batch = tuple[Any, ...]
"""(index, x, y, label)."""


def threads_inside() -> int:
    """Threads for TensorFlow's own sharing out, where callers have most of the work."""
    return max(1, cpus() // MOST_CALLERS)


class Callers:
    """Takes batches through a network, in order, several pieces at a time.

    Args:
        run: From x (n, …) to float32 (n, …); the same for an image whatever comes with it.
        size: Side of the images, in pixels.
        whole: Batches go one at a time and as they are: on a GPU, or where TensorFlow itself shares
            out the work.
    """

    def __init__(self, run: Callable[[Any], np.ndarray], size: int, whole: bool = False) -> None:
        self._run = run
        self._count = 1 if whole else min(cpus(), MOST_CALLERS)
        self._piece = max(LEAST, round(PIXELS / size**2))
        self._warm = False
        self._splits: bool | None = False if whole or self._count == 1 else None
        self._busy = _Busy()
        self.waited = 0.0
        """Seconds that batches were waited for."""

    @property
    def seconds(self) -> float:
        """For how long inference has been going on, once it was traced and warmed up."""
        return self._busy.seconds

    def over(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, np.ndarray], None, None]:
        """Every batch with what the network makes of its x; reads a few batches ahead."""
        ahead: deque[tuple[Batch, list[Future[np.ndarray]]]] = deque()
        pool = ThreadPoolExecutor(self._count, thread_name_prefix="forward")
        try:
            for batch in self._read(batches):
                ahead.append((batch, self._calls(batch[1], pool)))
                while sum(len(calls) for _, calls in ahead) > 2 * self._count and len(ahead) > 2:
                    yield _joined(*ahead.popleft())
            while ahead:
                yield _joined(*ahead.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _pieces(self, x: Any) -> list[Any]:
        count = 1 if self._splits is False else max(1, len(x) // self._piece)
        edges = [len(x) * i // count for i in range(count + 1)]
        return [x] if count == 1 else [x[a:b] for a, b in pairwise(edges)]

    def _calls(self, x: Any, pool: ThreadPoolExecutor) -> list[Future[np.ndarray]]:
        """A batch's pieces on their way; the first batch traces, warms up and shows whether pieces
        give the same as the whole."""
        pieces = self._pieces(x)
        unknown = self._splits is None and len(pieces) > 1
        whole = self._run(x) if unknown or not self._warm else None
        self._warm = True
        calls = [pool.submit(self._timed, piece) for piece in pieces]
        if unknown and whole is not None:
            parts = np.concatenate([call.result() for call in calls])
            self._splits = parts.tobytes() == whole.tobytes()
            if not self._splits:
                return [pool.submit(self._timed, x)]
        return calls

    def _timed(self, x: Any) -> np.ndarray:
        with self._busy:
            return self._run(x)


def _joined(batch: Batch, calls: list[Future[np.ndarray]]) -> tuple[Batch, np.ndarray]:
    parts = [call.result() for call in calls]
    return batch, parts[0] if len(parts) == 1 else np.concatenate(parts)


class _Busy:
    """Adds up the time in which at least one is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._began = 0.0
        self.seconds = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._began = time.perf_counter()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.seconds += time.perf_counter() - self._began
