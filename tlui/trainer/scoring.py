"""The metrics of a split, by scikit-learn from its stored predictions.

Importing scikit-learn takes a good part of what importing TensorFlow takes. So a fork does it
beside that import, and works out the metrics when predictions are stored.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

from tlui.trainer.aside import fork
from tlui.trainer.lean import lean_import
from tlui.trainer.metrics import confusion_counts, from_predictions, per_class

Score = tuple[dict[str, float], dict[str, Any]]


def score(stored: Path, classes: list[str]) -> Score:
    """Metrics of a split by name (no prefix), and its part of result.json's `splits`.

    Args:
        stored: Its predictions/SPLIT.npz.
        classes: Their names, in order.

    Raises:
        OSError: They cannot be read.
    """
    with np.load(stored, allow_pickle=False) as arrays:
        labels, probabilities = arrays["label"], arrays["probabilities"]
    metrics = from_predictions(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    part = {
        "images": len(labels),
        "confusion": confusion_counts(labels, predicted, len(classes)).tolist(),
        "classes": per_class(labels, predicted, classes),
    }
    return metrics, part


class Scorer:
    """A process that scores; `score` in this one wherever it cannot be had or fails."""

    def __init__(self) -> None:
        self._pid = 0
        self._asking: IO[str] | None = None
        if "tensorflow" in sys.modules or "sklearn.metrics" in sys.modules:
            return  # too late, or no need
        try:
            ours, theirs = socket.socketpair()
            self._pid = fork(lambda: _serve(ours, theirs))
        except OSError:
            return  # no process to be had
        theirs.close()
        with ours:
            self._asking = ours.makefile("rw")

    def score(self, stored: Path, classes: list[str]) -> Score:
        """As the function of this name."""
        if self._asking is not None:
            try:
                request = {"stored": os.fsdecode(stored), "classes": classes}
                self._asking.write(json.dumps(request) + "\n")
                self._asking.flush()
                metrics, part = json.loads(self._asking.readline())
                return metrics, part
            except (OSError, ValueError):
                self.close()
        return score(stored, classes)

    def close(self) -> None:
        """End it."""
        if self._asking is not None:
            try:
                self._asking.close()
            except OSError:
                pass  # it is gone already
            self._asking = None
            os.waitpid(self._pid, 0)


def _serve(ours: socket.socket, theirs: socket.socket) -> None:
    """Answer each line with one until nobody asks any more."""
    with lean_import(["pandas"]):
        import sklearn.metrics  # noqa: F401

    ours.close()
    with theirs.makefile("rw") as asked:
        for line in asked:
            request = json.loads(line)
            asked.write(json.dumps(score(Path(request["stored"]), request["classes"])) + "\n")
            asked.flush()
