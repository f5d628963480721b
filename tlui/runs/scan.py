"""What the index looks at on disk: which runs there are, and whether one changed.

A run's stamp is the mtime of its directory (moved by every file that is replaced in it) and the
mtime, inode and size of status.json (in case it was written in place).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from tlui.runs.curve import Curve
from tlui.runs.directory import RunDirectory
from tlui.runs.index_tables import Found, Known, flat
from tlui.runs.row import Summary, summarise
from tlui.runs.status import RUN_ID

SETTLED_SECONDS = 2.0
"""A folder changed less than this ago may change again within the same tick of its mtime."""


def folder_stamp(folder: Path) -> str:
    """Changes when an entry comes or goes; "" while the folder is too fresh to tell."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if time.time() - found.st_mtime < SETTLED_SECONDS:
        return ""
    return f"{found.st_mtime_ns}:{found.st_ino}"


def names(folder: Path) -> set[str]:
    """The ids of the runs there; foreign files and links are passed over.

    Raises:
        OSError: The folder is there and cannot be listed: its runs are not gone for that.
    """
    try:
        with os.scandir(folder) as entries:
            match = RUN_ID.fullmatch
            return {e.name for e in entries if match(e.name) and e.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return set()


def newest_first(folder: Path, ids: Iterable[str]) -> list[str]:
    """Runs by the mtime of run.json, which is written once: what a person looks for comes first."""

    def made(run_id: str) -> int:
        try:
            return os.stat(f"{folder}/{run_id}/run.json").st_mtime_ns  # noqa: PTH116
        except OSError:
            return 0

    return sorted(ids, key=made, reverse=True)


def stamp(run: RunDirectory) -> str:
    """Changes when the run did; "" where it is gone. Raises OSError where the disk is."""
    path = str(run.path)  # os.stat of it a hundred thousand times: Path.stat takes twice as long
    try:
        folder = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        status = os.stat(path + "/status.json")  # noqa: PTH116
    except OSError:
        return f"{folder.st_mtime_ns}"
    return f"{folder.st_mtime_ns}:{status.st_mtime_ns}:{status.st_ino}:{status.st_size}"


def look(run: RunDirectory, curve: str | None = None, since: Known | None = None) -> Found | None:
    """Read a run.

    Args:
        run: Its directory.
        curve: What was folded of its events before, as JSON.
        since: What is known, where its stamp is still the same: then None comes back if neither
            what is observed nor its events changed.

    Returns:
        None where the directory holds no run, or (with `since`) nothing new.
    """
    now = stamp(run)  # before the files, so that a change while reading is seen next time
    folded = Curve.parse(curve)
    offset = folded.offset
    found: Summary | None = summarise(run, folded)
    if found is None:
        return None
    if since is not None and found.row.state == since.state and folded.offset == offset:
        return None
    return flat(found, folded.dump() if folded.offset else None, now)


def draw(run: RunDirectory) -> str:
    """A run's curve, read from its events however long they are, as JSON."""
    from tlui.runs.files import read_json

    config = (read_json(run.meta) or {}).get("config")
    monitor = config.get("train.monitor") if isinstance(config, dict) else None
    curve = Curve()
    curve.update(run, str(monitor or "val_accuracy"))
    return curve.dump()
