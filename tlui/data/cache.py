"""The user's cache: entries that are whole or absent, built once, evicted when room is needed.

An entry is a folder `<root>/<kind>/<key>` with `meta.json` and data files. It is built aside,
fsynced and renamed, so a crash leaves nothing that looks like an entry. Each key has a lock file
(flock, which the kernel frees when a process dies): a builder holds it alone while others wait,
a user shares it for as long as it reads, and eviction takes only entries that nobody shares.
Everything that shapes an entry must be in its key; nothing here knows what an entry holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlui.errors import TluiError
from tlui.runs.files import make_own, read_json, sync_folder, write_json
from tlui.runs.format import size as shown
from tlui.runs.lock import refused
from tlui.runs.place import cache_folder, usable

VERSION = 1
KINDS = ("images", "features")
SPARE = 500 * 1000**2
"""Bytes left free on the disk, whatever the limit."""
POLL_SECONDS = 0.1
ATTEMPTS = 100
"""Tries to build an entry that is not whole while others hold it, before streaming instead."""


def cache_limit(root: Path | None = None) -> int:
    """Bytes that all entries together may take: `cache.limit_gb` of the user's config, or half
    of what the disk would have free without them."""
    from tlui.recipe.config import load_config

    limit = load_config().cache.limit_gb
    if limit is not None:
        return int(limit * 1000**3)
    root = cache_folder() if root is None else root
    held = sum(entry.bytes for entry in entries(root))
    return (shutil.disk_usage(root).free + held) // 2


@dataclass(frozen=True)
class Entry:
    """One entry, as listed."""

    kind: str
    key: str
    path: Path
    bytes: int
    used: float
    """When it was last opened, seconds since the epoch."""
    in_use: bool
    meta: dict[str, Any]


class Lease:
    """An entry that cannot be evicted until this is closed or the process ends."""

    def __init__(self, path: Path, meta: dict[str, Any], lock: int | None) -> None:
        self.path = path
        self.meta = meta
        self._lock = lock

    def close(self) -> None:
        """Let others evict the entry; files already mapped stay readable."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def amend(self, **facts: Any) -> None:
        """Say something else in `meta.json` from now on; nothing where it cannot be written."""
        self.meta.update(facts)
        with contextlib.suppress(OSError):
            write_json(self.path / "meta.json", self.meta)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()


class NoRoomError(Exception):
    """The entry does not fit under the limit or on the disk, or the cache cannot be written."""


class _BuildError(Exception):
    """What `build` raised for a person: it says nothing of the cache."""

    def __init__(self, error: TluiError) -> None:
        super().__init__(str(error))
        self.error = error


def obtain(
    kind: str,
    key: str,
    build: Callable[[Path], dict[str, Any]],
    size: int,
    *,
    root: Path | None = None,
    limit: int | None = None,
    waiting: Callable[[], None] | None = None,
) -> Lease:
    """The entry `key`, built if it is not there.

    Args:
        kind: One of `KINDS`.
        key: File-name-safe; holds everything that shapes the entry.
        build: Writes the data files into an empty folder and returns what `meta.json` will say.
        size: Bytes it will take.
        root: The cache; default `cache_folder()`.
        limit: Bytes for all entries together; default `cache_limit()`.
        waiting: Called about ten times a second while another process builds; may raise.

    Raises:
        NoRoomError: It does not fit or nothing can be written there.
        TluiError: Raised by `build`.
    """
    root = cache_folder() if root is None else root
    folder = root / kind
    path = folder / key
    try:
        usable(root)
        make_own(folder)
        for _ in range(ATTEMPTS):
            lock = _shared_lock(folder, key, waiting)
            if (lease := _leased(path, lock)) is not None:
                return lease
            os.close(lock)
            alone = _try_lock(folder, key, fcntl.LOCK_EX)
            if alone is None:  # another process was faster
                time.sleep(POLL_SECONDS)
                continue
            try:
                if _meta(path) is None:
                    _build(root, path, build, size, cache_limit(root) if limit is None else limit)
                # Not atomic: an eviction may slip in between, so look again.
                fcntl.flock(alone, fcntl.LOCK_SH)
            except BaseException:
                os.close(alone)
                raise
            if (lease := _leased(path, alone)) is not None:
                return lease
            os.close(alone)
        raise NoRoomError(f"{path} is damaged but in use")
    except _BuildError as stopped:
        raise stopped.error from stopped.error.__cause__
    except TluiError as error:
        raise NoRoomError(str(error)) from error
    except OSError as error:
        raise NoRoomError(f"{root}: {error.strerror or error}") from error


def find(kind: str, key: str, root: Path | None = None) -> Lease | None:
    """The entry `key` if it is whole and nobody is building or removing it."""
    root = cache_folder() if root is None else root
    folder = root / kind
    if _meta(folder / key) is None:
        return None
    try:
        usable(root)
        lock = _try_lock(folder, key, fcntl.LOCK_SH)
    except (OSError, TluiError):
        return None
    if lock is None:
        return None
    lease = _leased(folder / key, lock)
    if lease is None:
        os.close(lock)
    return lease


def entries(root: Path | None = None) -> list[Entry]:
    """All whole entries, least recently used first."""
    root = cache_folder() if root is None else root
    found: list[Entry] = []
    for kind in KINDS:
        for path in _listed(root / kind):
            if path.name.startswith(".") or (meta := _meta(path)) is None:
                continue
            try:
                used = (path / "meta.json").stat().st_mtime
                size = _bytes(path)
                lock = _try_lock(path.parent, path.name, fcntl.LOCK_EX)
            except (OSError, TluiError):
                continue
            if lock is not None:
                os.close(lock)
            found.append(Entry(kind, path.name, path, size, used, lock is None, meta))
    return sorted(found, key=lambda entry: entry.used)


def remove(entry: Entry) -> bool:
    """Delete an entry; False where a process uses it."""
    lock = _try_lock(entry.path.parent, entry.key, fcntl.LOCK_EX)
    if lock is None:
        return False
    try:
        # Out of sight first, so that a crash half way leaves no entry with files missing.
        aside = entry.path.with_name(f".{entry.key}.{os.getpid()}.gone")
        with contextlib.suppress(FileNotFoundError):
            entry.path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        _lock_path(entry.path.parent, entry.key).unlink(missing_ok=True)
    finally:
        os.close(lock)
    return True


def sweep(root: Path | None = None) -> int:
    """Delete what dead builders left; returns the bytes freed."""
    root = cache_folder() if root is None else root
    freed = 0
    for kind in KINDS:
        for path in _listed(root / kind):
            key = path.name[1:].split(".")[0]
            left = path.is_dir() or not (path.parent / key).exists()
            if not path.name.startswith(".") or not left:
                continue
            lock = _try_lock(path.parent, key, fcntl.LOCK_EX)
            if lock is None:
                continue  # its builder lives
            try:
                if path.is_dir():
                    freed += _bytes(path)
                    shutil.rmtree(path, ignore_errors=True)
                if not (path.parent / key).exists():
                    _lock_path(path.parent, key).unlink(missing_ok=True)
            finally:
                os.close(lock)
    return freed


def make_room(root: Path, size: int, limit: int) -> None:
    """Evict entries that nobody uses, oldest first, until `size` bytes fit.

    Raises:
        NoRoomError: They cannot; nothing is evicted where evicting everything would not be enough.
    """
    sweep(root)
    held = entries(root)
    total = sum(entry.bytes for entry in held)
    free = shutil.disk_usage(root).free - SPARE
    surplus = max(total + size - limit, size - free)
    idle = [entry for entry in held if not entry.in_use]
    if size > limit or surplus > sum(entry.bytes for entry in idle):
        full = size - free > total + size - limit
        why = (
            f"its disk has {shown(free + SPARE)} left, of which {shown(SPARE)} stay free: "
            "free some space, or put it elsewhere with $TLUI_CACHE"
            if full
            else f"its limit is {shown(limit)}: raise cache.limit_gb in your configuration"
        )
        raise NoRoomError(f"{shown(size)} do not fit in the cache {root}; {why}")
    for entry in idle:
        if surplus <= 0:
            break
        if remove(entry):
            surplus -= entry.bytes
    if surplus > 0:
        raise NoRoomError(f"{shown(size)} do not fit in the cache {root}: runs use what is there")


def _build(
    root: Path, path: Path, build: Callable[[Path], dict[str, Any]], size: int, limit: int
) -> None:
    for left in path.parent.glob(f".{path.name}.*"):  # a dead builder's: we hold the lock alone
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    if path.exists():
        shutil.rmtree(path, ignore_errors=True)  # of another version, or damaged by hand
    if size:
        make_room(root, size, limit)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.mkdir(mode=0o700)
    try:
        try:
            meta = build(aside)
        except TluiError as error:
            raise _BuildError(error) from error
        files = {file.name: file.stat().st_size for file in aside.iterdir()}
        write_json(aside / "meta.json", {"version": VERSION, **meta, "files": files})
        sync_folder(aside)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _meta(path: Path) -> dict[str, Any] | None:
    """What an entry says of itself, if it is of this version and all its files have their size."""
    meta = read_json(path / "meta.json")
    if meta is None or meta.get("version") != VERSION or not isinstance(meta.get("files"), dict):
        return None
    try:
        if any((path / name).stat().st_size != size for name, size in meta["files"].items()):
            return None
    except OSError:
        return None
    return meta


def _leased(path: Path, lock: int) -> Lease | None:
    meta = _meta(path)
    if meta is None:
        return None
    with contextlib.suppress(OSError):
        os.utime(path / "meta.json")
    return Lease(path, meta, lock)


def _lock_path(folder: Path, key: str) -> Path:
    return folder / f".{key}.lock"


def _shared_lock(folder: Path, key: str, waiting: Callable[[], None] | None) -> int:
    while (lock := _try_lock(folder, key, fcntl.LOCK_SH)) is None:
        if waiting is not None:
            waiting()
        time.sleep(POLL_SECONDS)
    return lock


def _try_lock(folder: Path, key: str, how: int) -> int | None:
    """An open, locked lock file; None where another process holds it.

    The file may be unlinked by whoever removes the entry, so a lock counts only while the name
    still leads to the file that was locked.
    """
    path = _lock_path(folder, key)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise TluiError(f"{path}: {refused(error, path, 'another $TLUI_CACHE')}") from error
        os.close(lock)


def _listed(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(folder.iterdir())


def _bytes(path: Path) -> int:
    total = 0
    for file in path.iterdir():
        with contextlib.suppress(OSError):
            state = file.stat()
            total += min(state.st_size, state.st_blocks * 512) if state.st_blocks else 0
    return total
