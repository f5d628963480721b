"""What a trained network is worth: predictions of every split, stored, and metrics of them.

Images come in natural order without augmentation. Metrics are computed from what is stored
(predictions/SPLIT.npz: file, label, probabilities), so anyone can compute others. Inference is
timed over whole batches after a warm-up and without reading images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlui.runs.files import make_private
from tlui.trainer.arrays import write_arrays
from tlui.trainer.callers import Callers
from tlui.trainer.objective import Objective


class EvaluationStoppedError(Exception):
    """Whoever watches asked for an end in the middle of the evaluation."""


@dataclass(frozen=True)
class Predictions:
    """What the network says of one split."""

    names: Sequence[str]
    labels: np.ndarray
    """int64 (n,)."""
    probabilities: np.ndarray
    """float32 (n, classes)."""
    seconds: float
    """Inference alone, warmed up."""

    def write(self, path: Path) -> None:
        """Store as npz without pickles.

        Raises:
            OSError: The disk is full or gone.
        """
        make_private(path.parent)
        names = [n.encode("utf-8", "backslashreplace").decode() for n in self.names]
        arrays = {
            "file": np.array(names, np.str_),
            "label": self.labels,
            "probabilities": self.probabilities,
        }
        write_arrays(path, arrays)


def predict(
    batches: Any,
    names: Sequence[str],
    forward: Callers,
    objective: Objective,
    progress: Callable[[int, int], None],
) -> Predictions:
    """Predict a split, batch by batch.

    Args:
        batches: Of (index, x, y, label), in natural order.
        names: Of the images, in that order.
        forward: From x to logits; new.
        progress: Called with (done, total) images after every batch; may raise to end it.
    """
    logits, labels = [], []
    done = 0
    with closing(forward.over(batches)) as answers:
        for (_, _, _, label), found in answers:
            logits.append(found)
            labels.append(label.numpy())
            done += len(found)
            progress(done, len(names))
    every = np.concatenate(logits)
    return Predictions(
        names,
        np.concatenate(labels).astype(np.int64),
        objective.probabilities(every),
        forward.seconds,
    )
