"""Checkpoints: npz files that are whole or absent, and what a resume needs of a run.

A file holds every variable of the network under the keys of `named_variables` (dropout streams
among them), the optimizer's variables as `optimizer/NNN`, the running counts of an epoch half done
as `counts/…`, and the training state as JSON. Zip's checksums are verified by reading everything
back; pickles are refused. `last.npz` is written aside, synced and moved into place, the one before
it kept as `last-previous.npz`; `best.npz` holds the best epoch's network alone. A kill at any
moment leaves one that loads; a full disk leaves the last good one.
"""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlui.runs.files import sync_folder
from tlui.trainer.arrays import write_arrays

STATE = "state.json"
LEAST_SECONDS = 1.0
"""Epochs shorter than this share a checkpoint …"""
MOST_SHARE = 0.05
"""… and so do those that writing one would slow by more than this share."""


class DamagedCheckpointError(Exception):
    """A checkpoint that cannot be read back whole."""


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
            arrays = {key: file[key] for key in file.files}
        state = json.loads(arrays.pop(STATE).tobytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedCheckpointError(f"{path}: {error}") from error
    if not isinstance(state, dict):
        raise DamagedCheckpointError(f"{path}: holds no training state")
    return Checkpoint(arrays, state)


class Checkpoints:
    """The checkpoint files of one run, written at most as often as is cheap.

    The best epoch's network is held in memory until the next write, so that a run of many short
    epochs does not write one file an epoch. `best.npz` is written before `last.npz`: a kill
    between them makes a resume train the best epoch once more, never lose it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.npz"
        self.previous = folder / "last-previous.npz"
        self.best = folder / "best.npz"
        self._best: Checkpoint | None = None
        self._written = time.monotonic()
        self._took = 0.0

    def load(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that reads back whole, and what is to be said of damaged ones."""
        notes: list[str] = []
        for path in (self.last, self.previous):
            try:
                return read_whole_checkpoint(path), notes
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
        if self._best is not None:
            write_checkpoint(self.best, self._best)
            self._best = None

    def sweep(self) -> None:
        """Remove what a kill left half written; only while no other process trains this run."""
        for path in (*self.folder.glob(".*.npz.*"), *self.folder.glob("last-next.npz")):
            path.unlink(missing_ok=True)

    def is_due(self) -> bool:
        """Whether enough time has passed since the last write, by what that one cost."""
        return time.monotonic() - self._written >= max(LEAST_SECONDS, self._took / MOST_SHARE)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write the best epoch's network where it is new, then the present state.

        Raises:
            OSError: The disk is full or gone; what was there still loads.
        """
        began = time.monotonic()
        try:
            self.flush_best()
            self._write_last(checkpoint)
        finally:
            self._written = time.monotonic()
            self._took = self._written - began

    def _write_last(self, checkpoint: Checkpoint) -> None:
        aside = self.folder / "last-next.npz"
        try:
            write_checkpoint(aside, checkpoint)
            if self.last.exists():
                self.last.replace(self.previous)
            aside.replace(self.last)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)
