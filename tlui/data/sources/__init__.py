"""One reader for each source that a preset may name.

A reader lists and labels; it never decodes. A new source is one file here, one entry in
`SOURCES` and one model in `tlui.recipe.sources`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlui.data.items import Found
from tlui.data.sources.digits import find_digits
from tlui.data.sources.folder import find_folder
from tlui.data.sources.hdf5 import find_hdf5
from tlui.data.sources.table_file import find_csv
from tlui.data.sources.tfds import find_tfds
from tlui.data.sources.tfrecord import find_tfrecord

SOURCES: dict[str, Callable[[Any], Found]] = {
    "folder": find_folder,
    "tfrecord": find_tfrecord,
    "hdf5": find_hdf5,
    "csv": find_csv,
    "tfds": find_tfds,
    "digits": find_digits,
}
