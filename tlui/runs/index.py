"""The index: every run as a row of SQLite, so that lists of 100,000 runs open at once.

Problem: run directories are the truth, but reading 100,000 of them takes half a minute.
Promise: the index owns nothing. It is rebuilt from the run directories whenever it is absent,
damaged or of another schema; where no local file can be written it lives in memory. Only front
ends use it, several at once if they like.

`refresh` looks at what may have changed, not at everything: the folder of runs is listed when its
mtime moved; live and queued runs are looked at every time; ended runs seldom change (a resume),
so of those the newest are looked at every time and the others in turn, for as long as `budget`
allows. A run handed out by `rows` is looked at too, so what a person sees is never old.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tlui.runs import index_pages, index_tables, query, scan
from tlui.runs.directory import Home
from tlui.runs.gather import gather
from tlui.runs.marks import marks_stamp, read_marks
from tlui.runs.place import index_path
from tlui.runs.query import Fields, Where
from tlui.runs.row import Row

Progress = Callable[[int, int], None]
Result = TypeVar("Result")

BATCH = 1000
NEWEST = 200
"""Ended runs that every refresh looks at."""


class Index:
    """A home's runs as a table. Methods may be called from several threads.

    Use as a context manager, or call `close`.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.generation = 0
        """Rises whenever a refresh of this object found something changed."""
        self._lock = threading.RLock()
        self._turn: int | None = None
        self._path = index_path(home.path)
        self._db = self._open()

    @property
    def path(self) -> Path | None:
        """The index file; None while it lives in memory."""
        return self._path

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def refresh(self, budget: float = 0.15, progress: Progress | None = None) -> int:
        """Look for what changed and take it in.

        Args:
            budget: Seconds to spend on ended runs; new and live ones are always taken in.
            progress: Called with (done, total) while many new runs are read, the newest first; it
                may ask for the rows there are by then, or raise to give up.

        Returns:
            How many runs came, went or changed.
        """
        changed = self._safely(lambda: self._refresh(budget, progress), write=True)
        if changed:
            self.generation += 1
        return changed

    def rebuild(self, progress: Progress | None = None) -> int:
        """Forget everything and read every run directory again; how many there are."""
        with self._lock:
            self._start_over()
        return self.refresh(progress=progress)

    def rows(
        self,
        filter: str | Where = "",
        sort: str | Iterable[str] = "-created",
        offset: int = 0,
        limit: int | None = None,
        fresh: bool = True,
    ) -> list[Row]:
        """A page of runs.

        Args:
            filter: In the language of `tlui.runs.query`.
            sort: Sort keys, `-` for descending.
            limit: How many at most; all by default.
            fresh: Look at the runs of the page again (up to a few hundred) and draw their curves.

        Raises:
            FilterError: The filter or a sort key cannot be used.
        """

        def read() -> list[Row]:
            where, fields = self._where(filter)
            order = query.parse_sort(sort, fields)
            ids = index_pages.select(self._db, where, order, offset, limit)
            if fresh and len(ids) <= 2 * NEWEST:
                self._look_again(ids)
            return index_pages.load(self._db, ids)

        return self._safely(read)

    def in_order(self, ids: Iterable[str], sort: str) -> list[str]:
        """These runs, sorted. Raises FilterError as `rows` does."""
        wanted = set(ids)
        return [run_id for run_id in self.ids(sort=sort) if run_id in wanted]

    def ids(self, filter: str | Where = "", sort: str | Iterable[str] = "-created") -> list[str]:
        """The ids of all matching runs in order: what a virtual table scrolls over."""

        def read() -> list[str]:
            where, fields = self._where(filter)
            return index_pages.select_ids(self._db, where, query.parse_sort(sort, fields))

        return self._safely(read)

    def get(self, ids: Iterable[str], fresh: bool = True) -> list[Row]:
        """The rows of some ids, in that order; ids that are gone are left out."""
        wanted = list(ids)

        def read() -> list[Row]:
            nums = index_tables.find_nums(self._db, wanted)
            if fresh and len(nums) <= 2 * NEWEST:
                self._look_again(nums)
            return index_pages.load(self._db, nums)

        return self._safely(read)

    def count(self, filter: str | Where = "") -> int:
        """How many runs match."""
        return self._safely(lambda: index_pages.count(self._db, self._where(filter)[0]))

    def best(self, filter: str | Where = "") -> dict[str, dict[str, float]]:
        """`val` and `test`: dataset -> the best among matching runs, where two or more have one."""
        return self._safely(lambda: index_pages.best(self._db, self._where(filter)[0]))

    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        return self._safely(lambda: index_pages.states(self._db))

    def fields(self) -> Fields:
        """What there is to filter and sort by now."""
        return self._safely(lambda: index_pages.fields(self._db))

    def by_prefix(self, prefix: str, most: int = 20) -> list[Row]:
        """Runs whose id begins with `prefix`, newest first."""
        return self._safely(
            lambda: index_pages.load(self._db, index_pages.with_prefix(self._db, prefix, most))
        )

    def by_name(self, name: str, most: int = 20) -> list[Row]:
        """Runs of exactly that name, newest first."""
        return self._safely(
            lambda: index_pages.load(self._db, index_pages.with_name(self._db, name, most))
        )

    def names(self) -> list[str]:
        """The names of all runs, each once."""
        return self._safely(lambda: index_pages.names(self._db))

    def _where(self, filter: str | Where) -> tuple[Where, Fields]:
        fields = index_pages.fields(self._db)
        return (filter if isinstance(filter, Where) else query.parse_filter(filter, fields)), fields

    # -- taking in what changed

    def _refresh(self, budget: float, progress: Progress | None) -> int:
        changed = self._list(progress)
        deadline = time.monotonic() + budget
        changed += self._look(index_tables.restless(self._db), None)
        changed += self._look(index_tables.newest(self._db, NEWEST), None)
        changed += self._look_in_turn(deadline)
        return changed + self._take_marks()

    def _list(self, progress: Progress | None) -> int:
        """Take in new directories, drop those that are gone."""
        stamp = scan.folder_stamp(self.home.runs)
        if stamp and stamp == index_tables.get_meta(self._db, "folder"):
            return 0
        present = scan.names(self.home.runs)
        known = index_tables.all_ids(self._db)
        gone = [run_id for run_id in known if run_id not in present]
        new = scan.newest_first(self.home.runs, present.difference(known))
        for part in _portions(gone):
            with self._writing():
                index_tables.remove(self._db, part)
        taken = done = 0
        with contextlib.closing(gather(self.home, new)) as portions:
            for looked, found in portions:
                with self._writing():
                    taken += index_tables.store(self._db, found)
                done += looked
                if progress is not None and len(new) > BATCH:
                    progress(done, len(new))
        if gone or new or stamp:
            with self._writing():
                index_tables.set_meta(self._db, "folder", stamp)
                if taken:
                    index_tables.set_meta(self._db, "marks", "")  # they may have been marked before
        return len(gone) + taken

    def _look(self, known: list[index_tables.Known], deadline: float | None) -> int:
        """Look at runs again, until the deadline; how many changed."""
        found: list[index_tables.Found] = []
        gone: list[str] = []
        for run in known:
            if deadline is not None and time.monotonic() > deadline:
                break
            self._turn = run.num
            directory = self.home.run(run.id)
            stamp = scan.stamp(directory)
            if not stamp:
                gone.append(run.id)
            elif not run.proven or stamp != run.stamp:
                curve = index_tables.curve(self._db, run.num)
                seen = scan.look(directory, curve, since=run if stamp == run.stamp else None)
                if seen is not None:
                    found.append(seen)
        if not found and not gone:
            return 0
        with self._writing():
            index_tables.remove(self._db, gone)
            if gone:
                index_tables.set_meta(self._db, "folder", "")  # to be listed again
            return len(gone) + index_tables.store(self._db, found)

    def _look_in_turn(self, deadline: float) -> int:
        """Look at ended runs where the last refresh left off, once round at most."""
        first = self._turn if self._turn is not None else index_tables.somewhere(self._db)
        changed = 0
        for begin, end in ((first, None), (None, first)):
            at = begin
            while time.monotonic() < deadline:
                known = index_tables.settled(self._db, at, end, 500)
                if not known:
                    break
                changed += self._look(known, deadline)
                at = known[-1].num
        return changed

    def _look_again(self, nums: list[int]) -> None:
        """Bring a page of runs up to date, curves included."""
        known = index_tables.known(self._db, nums)
        self._look([run for run in known if run.proven], None)
        missing = index_tables.without_curve(self._db, nums)
        if not missing:
            return
        drawn = [(num, scan.draw(self.home.run(run_id))) for num, run_id in missing]
        with self._writing():
            index_tables.store_curves(self._db, drawn)

    def _take_marks(self) -> int:
        stamp = marks_stamp(self.home)
        if stamp == index_tables.get_meta(self._db, "marks"):
            return 0
        marks = read_marks(self.home)
        with self._writing():
            changed = index_tables.store_marks(self._db, marks)
            index_tables.set_meta(self._db, "marks", stamp)
        return changed

    # -- the database

    def _open(self) -> sqlite3.Connection:
        for _ in range(2):
            if self._path is None:
                break
            try:
                return index_tables.connect(str(self._path))
            except sqlite3.OperationalError as error:
                if not _damaged(error):
                    self._path = None  # unwritable, locked or no space: memory will do
                    break
                self._delete()
            except sqlite3.DatabaseError:
                self._delete()
            except OSError as error:
                if error.errno != errno.ELOOP:
                    break
                self._delete()  # a link in its place is not followed
        self._path = None
        return index_tables.connect(":memory:")

    def _delete(self) -> None:
        assert self._path is not None
        for ending in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + ending).unlink()

    def _start_over(self) -> None:
        self._db.close()
        if self._path is not None:
            self._delete()
        self._db = self._open()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def _safely(self, work: Callable[[], Result], write: bool = False) -> Result:
        """Do some work; a damaged file is rebuilt, an unwritable one given up for memory."""
        with self._lock:
            for attempt in (0, 1, 2):
                try:
                    return work()
                except (sqlite3.DatabaseError, TypeError, ValueError) as error:
                    # what is read of a damaged file may be of any type, and no text
                    if attempt == 2:
                        raise
                    if "locked" in str(error) and attempt == 0:
                        continue
                    if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                        self._path = None
                    self._start_over()
                    if not write:
                        self._refresh(0.0, None)
            raise AssertionError("unreachable")


def open_index(home: Home, progress: Progress | None = None) -> Index:
    """An index brought up to date."""
    index = Index(home)
    index.refresh(progress=progress)
    return index


def _damaged(error: sqlite3.OperationalError) -> bool:
    text = str(error)
    return any(sign in text for sign in ("malformed", "no such", "not a database", "schema"))


def _portions(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
