"""Images of one size that lie one after the other in a file."""

from __future__ import annotations

import os
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlui.errors import DataError


class Block:
    """Reads them as they are asked for; thread-safe.

    Not a memory map: the kernel counts what was ever touched of one as this process's memory, and
    a file that was cut short would kill the process instead of being an error.

    Args:
        path: The file; it stays open until this is dropped, whatever becomes of its name.
        shape: (n, height, width, 3), uint8.
        offset: Bytes in front of the first image.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], offset: int = 0) -> None:
        self.path = path
        self.shape = shape
        self._offset = offset
        self._image = int(np.prod(shape[1:]))
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """uint8 (k, height, width, 3): the images at `rows` (k,); neighbours are one read.

        Raises:
            DataError: The file cannot be read, or is shorter than it was.
        """
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        begins = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        spans = [(a, b) for a, b in pairwise(begins) if b > a]
        reads = [(a, b, self._offset + int(rows[a]) * self._image) for a, b in spans]
        if len(reads) > 1:  # the disk may begin with all of them, in the order it likes
            for a, b, at in reads:
                os.posix_fadvise(self._handle, at, (b - a) * self._image, os.POSIX_FADV_WILLNEED)
        for a, b, at in reads:
            self._read(out[a:b], at)
        return out

    def _read(self, out: npt.NDArray[np.uint8], at: int) -> None:
        room = memoryview(out.data).cast("B")
        while len(room):
            try:
                count = os.preadv(self._handle, [room], at)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None
            if not count:
                raise DataError(f"{self.path}: it is shorter than when it was opened")
            room, at = room[count:], at + count
