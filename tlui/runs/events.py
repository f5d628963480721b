"""events.jsonl: everything a training says, one JSON object a line, append-only.

The trainer is the only writer: one unbuffered write a record, so a killed process leaves at most
one torn line, at the end, which the writer cuts when it reopens. A reader keeps a byte offset and
leaves an unfinished last line for the next time. Every record has `type` and `t` (Unix time):

`open`   {version, attempt, epoch, step}: a writer began; on a resume `epoch` (finished epochs) and
         `step` (global step) say where it continues, and records past that point are void.
`phase`  {phase, freeze, epochs, first_epoch, trainable_parameters, total_parameters, batchnorm}
`step`   {phase, epoch, step, steps, global_step, loss, accuracy, lr, images_per_second}
`epoch`  {phase, epoch, epochs, global_step, seconds, lr, images_per_second, best,
         train_loss, train_accuracy, …, val_f1}; `epoch` counts from 1 through all phases.
`state`  {state}
`system` {cpu_percent, ram_mb, gpu_percent, gpu_mb, gpu_celsius}
`log`    {level, message}; `alert` {kind, message}
`progress` {what, done, total}: reading data, evaluating.

Step records name `epoch` as the running epoch, from 1. Numbers not finite are null.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tlui.runs.files import FILE_MODE, open_regular, to_json

Event = dict[str, Any]

READ_BYTES = 1 << 20
TAIL_BYTES = 4096
HEAD_BYTES = 64
"""What tells one log from another: the type and the time of its first record."""


class EventWriter:
    """Appends records; a disk that is full or gone loses records, never the training.

    `lost` counts the records that could not be written since the last one that could, `deleted`
    how often somebody has deleted the file, which is then begun anew.
    """

    def __init__(self, path: Path) -> None:
        self.lost = self.deleted = 0
        self._path = path
        self._handle = self._open()
        self._torn = not cut_torn_tail(self._handle)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        return os.open(self._path, flags, FILE_MODE)

    def write(self, type: str, **fields: Any) -> bool:
        """Append one record; False when it could not be written (it is counted in `lost`)."""
        line = (to_json({"type": type, "t": round(time.time(), 3), **fields}) + "\n").encode()
        if self._torn:
            self._torn = not cut_torn_tail(self._handle)
        try:
            if os.fstat(self._handle).st_nlink == 0:
                before, self._handle = self._handle, self._open()
                os.close(before)
                self.deleted += 1
            if self._torn or os.write(self._handle, line) != len(line):
                raise OSError("short write")
        except OSError:
            self._torn = True
            self.lost += 1
            return False
        self.lost = 0
        return True

    def close(self) -> None:
        os.close(self._handle)


def cut_torn_tail(handle: int) -> bool:
    """Truncate an open file after its last newline; False when that failed."""
    try:
        end = os.fstat(handle).st_size
        keep = end
        while keep > 0:
            start = max(0, keep - 4096)
            newline = os.pread(handle, keep - start, start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            os.ftruncate(handle, keep)
    except OSError:
        return False
    return True


def head(log: BinaryIO, offset: int) -> bytes:
    """The beginning of an open log, as far as `offset`, by which it is known again."""
    return os.pread(log.fileno(), min(offset, HEAD_BYTES), 0)


def begun_anew(log: BinaryIO, offset: int, head: bytes) -> bool:
    """Whether an open log is another than the one that was read up to `offset`, and deleted."""
    return os.fstat(log.fileno()).st_size < offset or os.pread(log.fileno(), len(head), 0) != head


class EventReader:
    """Reads what was appended since the last call; remembers how far it is, and in which file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._head = b""

    def read(self, most: int = READ_BYTES) -> list[Event]:
        """The complete records among the next `most` bytes; [] when there are none (yet).

        A line that is not a JSON object is passed over. Another file, begun after the first was
        deleted, is read from its beginning.
        """
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if begun_anew(file, self.offset, self._head):
                    self.offset, self._head = 0, b""
                if size == self.offset:
                    return []
                file.seek(self.offset)
                data = file.read(most)
                while b"\n" not in data and self.offset + len(data) < size:
                    more = file.read(most)
                    if not more:
                        break
                    data += more
                end = data.rfind(b"\n") + 1
                self._head = self._head or head(file, self.offset + end)
        except OSError:
            return []
        self.offset += end
        return list(_records(data[:end]))

    def read_all(self) -> Iterator[Event]:
        """Every complete record from the offset to the present end."""
        while records := self.read():
            yield from records


def last_state(path: Path) -> Event | None:
    """The `state` record at the end of a log, which nobody has opened since; None without one."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            records = list(_records(file.read()))
    except OSError:
        return None
    latest = (record for record in reversed(records) if record["type"] in ("state", "open"))
    found = next(latest, None)
    return found if found is not None and found["type"] == "state" else None


def _records(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("type"), str):
            yield record
