"""The thread that looks at the store: the table's page, the devices, and what changed.

Knows nothing of Textual: it is given `post` and calls it with messages, only when what it has
seen differs from what it said last. The person's query arrives through `ask` and is answered at
once; otherwise it looks about once a second. While a large store is read for the first time it
answers with what is known by then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from textual.message import Message

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.tui.messages import DevicesSeen, Page, RowsArrived, WorkFailed

if TYPE_CHECKING:
    from tlui.runs.index import Index

POLL_SECONDS = 1.0
DEVICE_SECONDS = 2.0
READING_SECONDS, READING_TIMES = 0.25, 3
"""Between two answers while a large store is read: at least so long, and so often what one took."""
HIDDEN = "-hidden:true"


@dataclass(frozen=True)
class Query:
    """What the run table wants to see."""

    serial: int = 0
    filter: str = ""
    sort: str = "-created"
    show_hidden: bool = False
    offset: int = 0
    limit: int = 60
    keep: str = ""
    """The run under the cursor: the page is moved to where that now is."""


class _Stopped(Exception):
    """The app is being left in the middle of reading a large store."""


class StoreWatch:
    """Start it once; `stop` ends its thread."""

    def __init__(self, home: Home, post: Callable[[Message], object]) -> None:
        self.home = home
        self._post = post
        self._query = Query()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._last: Page | None = None
        self._next = 0.0
        self._devices_at = 0.0
        self._devices = ""
        self._thread = threading.Thread(target=self._run, name="store-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=5)

    def ask(self, query: Query) -> None:
        """Answer this query from now on, and at once."""
        self._query = query
        self._wake.set()

    @property
    def asked(self) -> Query:
        """The query that is answered now."""
        return self._query

    def keep(self, run_id: str) -> None:
        """The cursor is on this run now."""
        self._query = replace(self._query, keep=run_id)

    def nudge(self) -> None:
        """Look now: something was done to the store."""
        self._wake.set()

    def _run(self) -> None:
        from tlui.runs.index import Index

        try:
            with contextlib.suppress(_Stopped), Index(self.home) as index:
                trouble = ""
                while not self._ended.is_set():
                    self._wake.clear()
                    try:
                        self._look(index)
                        trouble = ""
                    except OSError as error:  # a disk that is away for a while, said once
                        if trouble != (trouble := f"{error.filename}: {error.strerror}"):
                            self._post(WorkFailed("index", trouble))
                    self._wake.wait(POLL_SECONDS)
        except TluiError as error:
            self._post(WorkFailed("index", str(error)))

    def _look(self, index: Index) -> None:
        query = self._query
        if self._last is None or self._last.serial == query.serial:
            index.refresh(budget=0.05, progress=partial(self._reading, index))
        page = self._show(index)
        live = any(page.counts.get(s) for s in ("running", "evaluating", "starting", "stale"))
        now = time.monotonic()
        if now - self._devices_at >= DEVICE_SECONDS:
            self._devices_at = now
            text = device_words(live)
            if text != self._devices:
                self._devices = text
                self._post(DevicesSeen(text))

    def _reading(self, index: Index, done: int, total: int) -> None:
        """Say what is known by now, a few times a second, or at once where somebody asks."""
        if self._ended.is_set():
            raise _Stopped
        if done >= total or not (self._wake.is_set() or time.monotonic() >= self._next):
            return
        self._wake.clear()
        start = time.monotonic()
        self._show(index, (done, total))
        now = time.monotonic()
        self._next = now + max(READING_SECONDS, READING_TIMES * (now - start))

    def _show(self, index: Index, reading: tuple[int, int] | None = None) -> Page:
        page = answer(index, self._query, reading)
        if page != self._last:
            self._last = page
            self._post(RowsArrived(page))
        return page


def answer(index: Index, query: Query, reading: tuple[int, int] | None = None) -> Page:
    """The page a query asks for; a filter that cannot be used gives no rows and its error."""
    counts = index.states()
    total = index.count("" if query.show_hidden else HIDDEN)
    # behind it, so that the column of a mistake is that of what was typed
    where = query.filter if query.show_hidden else f"{query.filter} {HIDDEN}"
    try:
        shown = index.count(where)
        offset = min(query.offset, max(shown - 1, 0))
        order = ["-pinned", query.sort]
        rows = index.rows(where, order, offset, query.limit)
        if query.keep and len(rows) < shown and all(row.id != query.keep for row in rows):
            ids = index.ids(where, order)
            if query.keep in ids:
                offset = max(ids.index(query.keep) - query.limit // 2, 0)
                rows = index.rows(where, order, offset, query.limit)
        best = index.best(where)
    except TluiError as error:
        return Page(query.serial, 0, (), 0, total, counts, {}, str(error), reading)
    return Page(query.serial, offset, tuple(rows), shown, total, counts, best, reading=reading)


def device_words(live: bool) -> str:
    """Devices in five words: `A100 82% 31G`, or `cpu 82% 3.1G` where there is no GPU.

    While nothing runs the numbers are left out, so that an idle screen stays still.
    """
    from tlui.runs.format import memory
    from tlui.scheduler.devices import list_devices

    gpus = [device for device in list_devices() if device.kind == "gpu"]
    if not gpus:
        if not live:
            return "cpu"
        import psutil

        used = psutil.virtual_memory().used / 2**20
        return f"cpu {psutil.cpu_percent():.0f}% {memory(used)}"
    names = {gpu.name for gpu in gpus}
    word = gpus[0].name.removeprefix("NVIDIA ").split("-")[0] if len(names) == 1 else "gpu"
    count = f"{len(gpus)}×" if len(gpus) > 1 else ""
    if not live:
        return count + word
    used_mb = sum(gpu.memory_total_mb - gpu.memory_free_mb for gpu in gpus)
    busy = sum(gpu.utilisation for gpu in gpus) / len(gpus)
    return f"{count}{word} {busy:.0f}% {memory(used_mb)}"
