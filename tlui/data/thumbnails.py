"""A few small images of each class, for the form: decoded now, from nowhere but the source."""

from __future__ import annotations

import numpy as np

from tlui.data.decode import Resize
from tlui.data.items import BadImage, Pixels
from tlui.data.store import load
from tlui.data.table import Table
from tlui.recipe.sources import SplitName

TRIES = 5
"""Bad images passed over for each one that is shown."""


def thumbnails(
    table: Table,
    per_class: int = 1,
    size: int = 32,
    method: Resize = "crop",
    split: SplitName = "train",
    most_classes: int = 32,
) -> dict[str, list[Pixels]]:
    """The first good images of each class of a split.

    Args:
        table: The dataset.
        per_class: Images of each class.
        size: Side in pixels.
        method: How a photo becomes square.
        split: Which split they are from.
        most_classes: Only the first so many classes, so that a large dataset answers at once.

    Returns:
        Class name -> up to `per_class` arrays, uint8 (size, size, 3); fewer where images are bad.
    """
    chosen = table.splits[split]
    shown: dict[str, list[Pixels]] = {}
    for index, name in enumerate(table.classes[:most_classes]):
        items = np.flatnonzero(chosen.labels == index)[: per_class + TRIES]
        found: list[Pixels] = []
        for item in items:
            if len(found) == per_class:
                break
            try:
                found.append(load(chosen, int(item), size, method))
            except BadImage:
                continue
        shown[name] = found
    return shown
