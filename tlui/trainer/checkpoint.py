"""Checkpoints: npz files that are whole or absent, and what a resume needs of a run.

A file holds every variable of the network under the keys of `named_variables` (dropout streams
among them), the optimizer's variables as `optimizer/NNN`, the running counts of an epoch half done
as `counts/…`, and the training state as JSON. Zip's checksums are verified by reading everything
back; pickles are refused. `last.npz` is written aside, synced and moved into place, the one before
it kept as `last-previous.npz`; `best.npz` holds the best epoch's network alone. A kill at any
moment leaves one that loads; a full disk leaves the last good one.

Every epoch gets its checkpoint, written by a thread while the next one trains. Where most of the
network rests (a frozen backbone), and a whole checkpoint is not cheap beside the epoch, only what
moves is written: `moved.npz` holds that, the best epoch's under `best/…` where `best.npz` is yet
to get it, and the identity of the `last.npz` that has the rest.
"""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
import zlib
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlui.runs.files import sync_folder
from tlui.trainer.arrays import write_arrays

STATE = "state.json"
LEAST_SECONDS = 1.0
"""Epochs shorter than this share a whole checkpoint where most of the network rests …"""
MOST_SHARE = 0.05
"""… and so do those of which writing one would take more than this share."""
MOST_MOVES = 0.5
"""Where more than this share of the network moves, every checkpoint is whole."""


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read back whole."""


def key_of_today(key: str) -> str:
    """The key of what an earlier tlui wrote under a name that Keras had counted."""
    return re.sub(r"/variable(_\d+)?$", "/unnamed", key)


@dataclass(frozen=True)
class Checkpoint:
    """The contents of one file."""

    arrays: dict[str, np.ndarray]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays under `prefix/`, keys without it."""
        start = f"{prefix}/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}

    def network(self) -> dict[str, np.ndarray]:
        """The network's variables, by the keys of `named_variables`."""
        return {k: v for k, v in self.arrays.items() if k.startswith(("backbone/", "head/"))}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file whole.

    Raises:
        OSError: The disk is full or gone; the file that was there is untouched.
    """
    text = json.dumps(checkpoint.state).encode()
    write_arrays(path, {**checkpoint.arrays, STATE: np.frombuffer(text, np.uint8)})


def read_whole_checkpoint(path: Path) -> Checkpoint:
    """Read a file and verify every byte of it.

    Raises:
        FileNotFoundError: It is absent.
        DamagedCheckpointError: It cannot be read back.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key_of_today(key): file[key] for key in file.files}
        state = json.loads(arrays.pop(STATE).tobytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedCheckpointError(f"{path}: {error}") from error
    if not isinstance(state, dict):
        raise DamagedCheckpointError(f"{path}: holds no training state")
    return Checkpoint(arrays, state)


def moved_since(path: Path) -> Checkpoint | None:
    """What a run has by now instead of its `best.npz` or `last.npz`, by the `moved.npz` beside it.

    None where that says nothing newer: after the end of training, say.
    """
    checkpoints = Checkpoints(path.parent)
    if path not in (checkpoints.best, checkpoints.last) or not checkpoints.moved.is_file():
        return None
    try:
        base = read_whole_checkpoint(checkpoints.last)
    except (FileNotFoundError, DamagedCheckpointError):
        return None
    found = checkpoints._moved_on(base, [])
    if path == checkpoints.best:
        return checkpoints._best
    return found if found is not base else None


class Checkpoints:
    """The checkpoint files of one run.

    The best epoch's network is held in memory until a whole checkpoint is written, and is in
    `moved.npz` until then. `best.npz` is written before `last.npz`: a kill between them makes a
    resume train the best epoch once more, never lose it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.npz"
        self.previous = folder / "last-previous.npz"
        self.best = folder / "best.npz"
        self.moved = folder / "moved.npz"
        self._best: Checkpoint | None = None
        self._base: str | None = None
        """The identity of the `last.npz` this process wrote while `_still` rested."""
        self._still: Set[str] = frozenset()
        self._written = time.monotonic()
        self._took = 0.0
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def load(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that reads back whole, and what is to be said of damaged ones."""
        notes: list[str] = []
        for path in (self.last, self.previous):
            try:
                return self._moved_on(read_whole_checkpoint(path), notes), notes
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                notes.append(f"{error}; trying the one before it")
        return None, notes

    def load_best(self) -> Checkpoint | None:
        """The best epoch's network: from memory where it is still to be written, else its file."""
        if self._best is not None:
            return self._best
        try:
            return read_whole_checkpoint(self.best)
        except (FileNotFoundError, DamagedCheckpointError):
            return None

    def remember_best(self, checkpoint: Checkpoint) -> None:
        """Hold a best epoch's network for the next write."""
        self._best = checkpoint

    def flush_best(self) -> None:
        """Write a best epoch's network that is still in memory.

        Raises:
            OSError: The disk is full or gone.
        """
        self.settle()
        self._flush_best()

    def sweep(self) -> None:
        """Remove what a kill left half written; only while no other process trains this run."""
        for path in (*self.folder.glob(".*.npz.*"), *self.folder.glob("last-next.npz")):
            path.unlink(missing_ok=True)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write the best epoch's network where it is new, then the present state, both whole.

        Raises:
            OSError: The disk is full or gone; what was there still loads.
        """
        self.settle()
        self._write(checkpoint)

    def write_behind(self, checkpoint: Checkpoint, still: Set[str]) -> None:
        """Write the present state while training goes on; `settle` tells how that went.

        Args:
            still: Keys of what does not change from one call to the next, as long as all of
                them are given these same keys.

        Raises:
            OSError: As `settle`, of the checkpoint before this one; or of this one, where it was
                written here because no thread was to be had.
        """
        self.settle()
        if still != self._still:
            self._still, self._base = still, None
        light = self._base is not None and not self._is_due() and self._moves_little(checkpoint)
        work = self._write_moved if light else self._write
        try:
            self._writer = self._writer or ThreadPoolExecutor(1, "checkpoints")
            self._writing = self._writer.submit(work, checkpoint)
        except RuntimeError:  # no thread to be had
            self._writer = None
            work(checkpoint)

    def settle(self) -> None:
        """Wait until the checkpoint under way is on the disk.

        Raises:
            OSError: It is not; what was there before still loads.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _is_due(self) -> bool:
        """Whether enough time has passed since the last whole write, by what that one cost."""
        return time.monotonic() - self._written >= max(LEAST_SECONDS, self._took / MOST_SHARE)

    def _moves_little(self, checkpoint: Checkpoint) -> bool:
        sizes = {key: array.nbytes for key, array in checkpoint.network().items()}
        moved = sum(size for key, size in sizes.items() if key not in self._still)
        return moved <= MOST_MOVES * sum(sizes.values())

    def _write(self, checkpoint: Checkpoint) -> None:
        began = time.monotonic()
        try:
            self._flush_best()
            self._write_last(checkpoint)
        finally:
            self._written = time.monotonic()
            self._took = self._written - began

    def _flush_best(self) -> None:
        if self._best is not None:
            write_checkpoint(self.best, self._best)
            self._best = None

    def _write_last(self, checkpoint: Checkpoint) -> None:
        aside = self.folder / "last-next.npz"
        identity = os.urandom(8).hex()
        try:
            write_checkpoint(
                aside, Checkpoint(checkpoint.arrays, {**checkpoint.state, "id": identity})
            )
            if self.last.exists():
                self.last.replace(self.previous)
            aside.replace(self.last)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)
        self._base = identity

    def _write_moved(self, checkpoint: Checkpoint) -> None:
        arrays = {k: v for k, v in checkpoint.arrays.items() if k not in self._still}
        if self._best is not None:
            best = self._best.arrays.items()
            arrays |= {f"best/{k}": v for k, v in best if k not in self._still}
        write_checkpoint(self.moved, Checkpoint(arrays, {**checkpoint.state, "base": self._base}))

    def _moved_on(self, base: Checkpoint, notes: list[str]) -> Checkpoint:
        """A whole checkpoint with what moved since, where `moved.npz` belongs to it."""
        try:
            moved = read_whole_checkpoint(self.moved)
        except FileNotFoundError:
            return base
        except DamagedCheckpointError as error:
            notes.append(f"{error}; going on from the whole checkpoint before it")
            return base
        if moved.state.get("base") != base.state.get("id", ""):
            return base
        still = {k: v for k, v in base.network().items() if k not in moved.arrays}
        if best := moved.part("best"):
            self._best = Checkpoint({**still, **best}, moved.state)
        own = {k: v for k, v in moved.arrays.items() if not k.startswith("best/")}
        return Checkpoint({**still, **own}, moved.state)
