"""The order of the queue: one small file a queued run, in `<home>/queue`.

A queued run is a run directory whose status says so; its file here says when its turn comes and
how it wants to be run. The file's name carries the position and whether it is held
(`POSITION-RUN` or `POSITION-RUN.held`), its contents never change, and every change of the order
is one rename: a crash leaves the old order or the new one, two writers at once can't lose or
double a run, and equal positions fall back on the run's id.

A run directory appears before its file here. `adding` marks that it is about to happen; where
the marker outlives its process the store is searched once for queued runs that have no file.
Stdlib only: supervisors import it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.files import FILE_MODE, make_own, read_json, sync_folder, write_json
from tlui.runs.process import Identity, identify, liveness

STEP = 1 << 20
"""Distance between neighbours, so that a run can be put between two others."""
FIRST = 1 << 50
BUSY = ".busy"
"""There since something was queued; who finds the queue done takes it away and says so."""
ADDING_SECONDS = 600.0
"""Nobody takes so long to add runs: whoever is still at it on another host is gone."""
ENTRY = re.compile(r"(\d{18})-([0-9a-f]{8})(\.held)?")
Move = Literal["top", "up", "down", "bottom"]


@dataclass(frozen=True)
class Wishes:
    """How a run wants to be run: what the command line said."""

    device: str = "auto"
    """`auto`, `cpu`, `gpu`, or `gpu:N` with an index or UUID."""
    per_device: int = 1
    """How many of tlui's runs may be on its device, itself included."""
    min_free_memory: int = 0
    """MB of GPU memory that must be free; naming it allows GPUs other processes use."""
    on: str = "local"
    """The backend that runs it."""


def placed(wishes: Wishes, places: Iterable[str]) -> dict[str, Wishes]:
    """What is wished at each of these backends: a cluster gives devices in a way of its own.

    Raises:
        TluiError: Devices of this machine are wished for, and nothing is to run here.
    """
    found = {on: replace(wishes if on == "local" else Wishes(), on=on) for on in places}
    if found and "local" not in found and replace(wishes, on="local") != Wishes():
        raise TluiError(
            "--device, --per-device and --min-free-memory choose among this machine's devices; "
            f"what a job of {next(iter(found))} gets is said in the preset",
            2,
        )
    return found


@dataclass(frozen=True)
class Entry:
    """A place in the queue."""

    position: int
    run: str
    held: bool
    path: Path

    def wishes(self) -> Wishes:
        given = read_json(self.path) or {}
        known: dict[str, Any] = {
            key: given[key]
            for key, usual in asdict(Wishes()).items()
            if type(given.get(key)) is type(usual)
        }
        return Wishes(**known)


def folder(home: Home) -> Path:
    return home.path / "queue"


def entries(home: Home) -> list[Entry]:
    """The queue in its order, held runs included; foreign files are passed over."""
    return _parse(home, _repaired(home))


def find(home: Home, run_id: str) -> Entry | None:
    """The place of a run, or None where it is not in the queue; fast in a queue of thousands."""
    found = _parse(home, [name for name in _repaired(home) if run_id in name])
    return next((entry for entry in found if entry.run == run_id), None)


def append(home: Home, run_ids: Iterable[str], wishes: Wishes, *, held: bool = False) -> None:
    """Put runs at the end, in the order given. A run already there keeps its place.

    Raises:
        TluiError: The queue cannot be written, or a link stands in its place.
    """
    where = folder(home)
    try:
        make_own(where)
        present = entries(home)
        there = {entry.run for entry in present}
        last = max((entry.position for entry in present), default=FIRST - STEP)
        for run_id in run_ids:
            if run_id not in there:
                last += STEP
                name = f"{last:018d}-{run_id}{'.held' if held else ''}"
                write_json(where / name, {"version": 1, **asdict(wishes)}, sync=False)
        (where / BUSY).touch(mode=FILE_MODE)
        sync_folder(where)
    except OSError as error:
        raise TluiError(f"{where}: cannot be written ({error.strerror})") from error


def take_busy(home: Home) -> bool:
    """Whether the queue was busy until now; True for one caller only."""
    try:
        (folder(home) / BUSY).unlink()
    except OSError:
        return False
    return True


def remove(home: Home, run_id: str) -> None:
    """Take a run out of the order; its status is the caller's business."""
    while entry := find(home, run_id):
        entry.path.unlink(missing_ok=True)


def hold(home: Home, run_id: str, held: bool = True) -> bool:
    """Hold a run back, or let it go; False when it is not in the queue."""
    while entry := find(home, run_id):
        if entry.held == held or _rename(entry, entry.position, held):
            return True
    return False


def move(home: Home, run_id: str, how: Move) -> bool:
    """Change a run's place; False when it is not in the queue."""
    while True:
        line = entries(home)
        at = next((i for i, e in enumerate(line) if e.run == run_id), None)
        if at is None:
            return False
        rest = line[:at] + line[at + 1 :]
        to = {"top": 0, "up": max(at - 1, 0), "down": at + 1, "bottom": len(rest)}[how]
        to = min(to, len(rest))
        if to == at:
            return True
        before = rest[to - 1].position if to else None
        after = rest[to].position if to < len(rest) else None
        if before is None:
            assert after is not None
            position = after - STEP
        elif after is None:
            position = before + STEP
        else:
            position = (before + after) // 2
            if position == before:
                _spread(rest)
                continue
        if _rename(line[at], position, line[at].held):
            return True


@contextmanager
def adding(home: Home) -> Iterator[None]:
    """Say that run directories are about to appear which belong in the queue.

    Raises:
        TluiError: The queue cannot be written.
    """
    marker = folder(home) / f".adding-{os.urandom(4).hex()}"
    try:
        make_own(folder(home))
        write_json(marker, identify().to_dict())
    except OSError as error:
        raise TluiError(f"{marker.parent}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def _repaired(home: Home) -> list[str]:
    """What is in the folder, what was lost on the way there included."""
    names = _names(home)
    if any(name.startswith(".adding-") for name in names) and _repair(home, names):
        names = _names(home)
    return names


def _names(home: Home) -> list[str]:
    try:
        return os.listdir(folder(home))  # noqa: PTH208 - no Path for each of thousands
    except FileNotFoundError:
        return []


def _parse(home: Home, names: list[str]) -> list[Entry]:
    where = folder(home)
    found = []
    for name in names:
        if match := ENTRY.fullmatch(name):
            found.append(Entry(int(match[1]), match[2], match[3] is not None, where / name))
    return sorted(found, key=lambda entry: (entry.position, entry.run))


def _rename(entry: Entry, position: int, held: bool) -> bool:
    target = f"{position:018d}-{entry.run}{'.held' if held else ''}"
    try:
        entry.path.rename(entry.path.with_name(target))
    except FileNotFoundError:
        return False  # somebody moved, started or dropped it in this very moment
    return True


def _spread(line: list[Entry]) -> None:
    """Give neighbours room again, last first so that the order never changes on the way."""
    for place, entry in reversed(list(enumerate(line))):
        _rename(entry, line[0].position + (place + 1) * STEP * 2, entry.held)


def _older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:
        return False


def _repair(home: Home, names: list[str]) -> bool:
    """Queue what a process that died while adding had made but not queued."""
    dead = []
    for name in names:
        if name.startswith(".adding-"):
            path = folder(home) / name
            who = Identity.from_dict(read_json(path))
            if who is None or liveness(who) == "dead" or _older(path, ADDING_SECONDS):
                dead.append(path)
    if not dead:
        return False
    known = {entry.run for entry in _parse(home, names)}
    lost = []
    for run in home:
        if run.id not in known and run.observe().state == "queued":
            lost.append((run.read_meta().get("created", 0), run.id))
    for path in dead:
        path.unlink(missing_ok=True)
    if lost:
        from tlui.scheduler.backends import placed_on

        for _, run_id in sorted(lost):
            append(home, [run_id], Wishes(on=placed_on(home.run(run_id))))
    return True
