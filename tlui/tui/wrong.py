"""Images a model was sure of, and wrong: found in its predictions, drawn where they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlui.runs import format
from tlui.runs.text import printable
from tlui.tui.lines import Line, cells, pad, width_of
from tlui.tui.live import LiveRun
from tlui.tui.pictures import half_blocks
from tlui.tui.theme import Theme

PICTURE = 16
"""Cells across a photo that was classified wrongly."""


@dataclass(frozen=True)
class Wrong:
    """An image the model was sure of, and wrong."""

    file: str
    said: str
    is_: str
    probability: float
    picture: Any = None
    """uint8 (side, side, 3), where the photo is still there."""


def wrong_lines(wrong: Sequence[Wrong], split: str, width: int, look: Theme) -> list[Line]:
    """Images the model was sure of, and wrong, surest first; the photos where they can be drawn."""
    said = min(max(len(w.said) for w in wrong), 14)
    is_ = min(max(len(w.is_) for w in wrong), 14)
    lines: list[Line] = [[(f" most confidently wrong ({split})", "title")]]
    pictures = [(f"{n} is {w.is_}", w.picture) for n, w in enumerate(wrong, 1)]
    pictures = [(name, picture) for name, picture in pictures if picture is not None]
    if pictures and look.colour and not look.ascii:
        drawn = half_blocks(pictures, width - 1, PICTURE)
        lines += [[(" ", ""), *line] for line in drawn]
    for n, one in enumerate(wrong, 1):
        head: Line = [
            (f"{n:3d} ", "dim"),
            (f"{format.metric(one.probability)} ", "value"),
            ("said ", "dim"),
            (pad(one.said, said), "warn"),
            (" is ", "dim"),
            (pad(one.is_, is_), "good"),
        ]
        room = width - cells(head) - 2
        if width_of(one.file) <= room:
            lines.append([*head, ("  " + one.file, "")])
        else:
            lines += [head, [(" " * 4 + _tail(one.file, width - 4), "")]]
    return lines


def _tail(text: str, width: int) -> str:
    """The end of a path in `width` cells: the file's own name is what tells it from others."""
    while width_of(text) > width > 1:
        text = "…" + text[2:] if text.startswith("…") else "…" + text[1:]
    return text


def find_wrong(live: LiveRun, split: str = "test", most: int = 12) -> list[Wrong]:
    """The most confidently wrong images of a split, from its stored predictions; may block."""
    import numpy as np

    try:
        with np.load(live.run.predictions / f"{split}.npz", allow_pickle=False) as stored:
            label = np.asarray(stored["label"])
            probabilities = np.asarray(stored["probabilities"])
            files = np.asarray(stored["file"])
    except (OSError, ValueError, KeyError):
        return []
    if probabilities.ndim != 2 or len(probabilities) != len(label):
        return []
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    said = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    order = [int(i) for i in np.argsort(-sure, kind="stable") if said[i] != label[i]][:most]
    names = live.class_names()
    photos = _photos(live, split, [str(files[i]) for i in order])

    def name(index: int) -> str:
        return printable(names[index]) if 0 <= index < len(names) else str(index)

    return [
        Wrong(
            printable(files[i]),
            name(int(said[i])),
            name(int(label[i])),
            float(sure[i]),
            photos.get(str(files[i])),
        )
        for i in order
    ]


def _photos(live: LiveRun, split: str, files: Sequence[str]) -> dict[str, Any]:
    """The photos of those names at thumbnail size, read from the run's own dataset; may block.

    Empty where the dataset has gone or is another one now: names alone are shown then.
    """
    from tlui.data.items import BadImage
    from tlui.data.store import load
    from tlui.data.table import open_dataset
    from tlui.recipe.preset import load_preset

    try:
        dataset = load_preset(live.run.preset, need_data=False).points[0].experiment.dataset
        table = open_dataset(dataset, check=False)
        part = table.splits[split]  # type: ignore[index]
    except Exception:
        return {}  # whatever became of somebody's data, the tables stand without photos
    wanted, found = set(files), {}
    for index, name in enumerate(part.names):
        if name in wanted:
            try:
                found[name] = load(part, index, PICTURE, dataset.resize)
            except BadImage:
                continue
    return found
