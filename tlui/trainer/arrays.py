"""Named arrays in one npz file, written whole; any name will do, pickles are refused."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tlui.runs.files import write_whole


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what `numpy.load` reads back under the same names; zip adds a checksum to each.

    Not numpy.savez, whose own parameter names (`file`) no array may have.

    Raises:
        OSError: The disk is full or gone; the file that was there is untouched.
        ValueError: An array holds Python objects.
    """

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    write_whole(path, write)
