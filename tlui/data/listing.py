"""What a dataset holds, listed and split but not decoded: for checking presets before they run.

Tells data that is not on this machine, which may be where the runs go, from data that is here and
cannot be trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tlui.data.table import open_dataset
from tlui.errors import DataError
from tlui.recipe.preset import Preset
from tlui.recipe.problems import escape
from tlui.recipe.resolve import UNKNOWN_PATH
from tlui.recipe.sources import Dataset, SplitName
from tlui.recipe.toml import as_document
from tlui.recipe.validate import check_experiment


@dataclass(frozen=True)
class Listing:
    """What is known of a dataset."""

    classes: list[str] | None
    """In order; None where nobody can tell without the data."""
    images: dict[SplitName, int] = field(default_factory=dict)
    """Empty where the data is not at hand."""
    unknown: str = ""
    """Why nobody can tell, in a line."""
    wrong: str = ""
    """Why the data, which is here, cannot be trained on."""


def data_problems(preset: Preset, known: dict[str, Listing]) -> list[str]:
    """A line, `FILE: …`, for all that is wrong with data at hand, or with a preset for its data.

    Args:
        known: Datasets listed before, by `listed`; gets those listed now.
    """
    found: dict[str, None] = {}
    where = escape(str(preset.path))
    for point in preset.points:
        listing = listed(point.experiment.dataset, known)
        if listing.wrong:
            found[f"{where}: {listing.wrong}"] = None
        elif listing.classes is not None:
            document = as_document(point.experiment)
            document["dataset"]["classes"] = listing.classes
            for loc, text in check_experiment(document)[1]:
                found[f"{where}: {point.place(loc)}: {text}"] = None
    return list(found)


def listed(dataset: Dataset, known: dict[str, Listing]) -> Listing:
    """What a dataset holds; each is listed once."""
    key = dataset.model_dump_json()
    if key not in known:
        known[key] = list_dataset(dataset)
    return known[key]


def list_dataset(dataset: Dataset) -> Listing:
    """List a dataset where it is at hand. Never raises."""
    path = getattr(dataset, "path", None)
    if dataset.source not in ("digits", "tfds") and path in (None, UNKNOWN_PATH):
        return Listing(dataset.classes, unknown="how many classes there are is not known")
    try:
        table = open_dataset(dataset)
    except DataError as error:
        if path is not None and _there(path):
            return Listing(None, wrong=str(error))
        return Listing(dataset.classes, unknown=str(error).splitlines()[0].removesuffix(":"))
    except Exception:
        why = "the dataset cannot be read; tlui dataset check says why"
        return Listing(dataset.classes, unknown=why)
    return Listing(table.classes, {name: len(split) for name, split in table.splits.items()})


def _there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False
