"""What training minimises, and what is read off the logits.

The loss is cross-entropy on logits with label smoothing and class weights, as Keras has them: a
batch's loss is the sum over its images of weight times cross-entropy, divided by its images.
Validation and the results use plain cross-entropy, so that runs with different smoothing or class
weights can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlui.errors import TluiError
from tlui.recipe.schema import Head


@dataclass(frozen=True)
class Objective:
    """The loss of a head with `classes` classes; `sigmoid` has one logit, of class index 1."""

    classes: int
    sigmoid: bool = False
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def losses(self, logits: Any, y: Any) -> Any:
        """float32 (b,): each image's weighted, smoothed cross-entropy.

        Args:
            logits: float32 (b, classes), or (b, 1) for sigmoid.
            y: float32 (b, classes), rows that sum to 1 (one-hot, or mixed).
        """
        smooth = self.label_smoothing
        if self.sigmoid:
            target = y[:, 1:2] * (1.0 - smooth) + 0.5 * smooth
            found = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)[:, 0]
        else:
            target = y * (1.0 - smooth) + smooth / self.classes
            found = tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=logits)
        if self.class_weights is not None:
            found = found * tf.linalg.matvec(y, tf.constant(self.class_weights, tf.float32))
        return found

    def predicted(self, logits: Any) -> Any:
        """int32 (b,): the most probable class."""
        if self.sigmoid:
            return tf.cast(logits[:, 0] > 0, tf.int32)
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def chosen(self, logits: np.ndarray) -> np.ndarray:
        """int64 (n,): `predicted`, outside the graph."""
        return logits[:, 0] > 0 if self.sigmoid else logits.argmax(axis=1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float32 (n, classes) from logits, rows that sum to 1."""
        wide = logits.astype(np.float64)
        if self.sigmoid:
            wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
        wide = wide - wide.max(axis=1, keepdims=True)
        odds = np.exp(wide)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def plain_losses(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """float64 (n,): cross-entropy without smoothing or weights."""
        wide = logits.astype(np.float64)
        if self.sigmoid:
            wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
        top = wide.max(axis=1)
        norm = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
        return np.asarray(norm - wide[np.arange(len(labels)), labels])


def objective_for(head: Head, classes: list[str], labels: np.ndarray) -> Objective:
    """The objective of a head.

    Args:
        head: As the preset says.
        classes: Class names by index.
        labels: The training split's labels, which `balanced` counts: n / (classes * n_class).

    Raises:
        TluiError: `class_weights` names a class that the dataset lacks, or leaves one out.
    """
    weights: tuple[float, ...] | None = None
    if head.class_weights == "balanced":
        counts = np.bincount(labels, minlength=len(classes))
        weights = tuple(float(len(labels) / (len(classes) * max(int(n), 1))) for n in counts)
    elif isinstance(head.class_weights, dict):
        given = head.class_weights
        strange = [name for name in given if name not in classes]
        missing = [name for name in classes if name not in given]
        if strange or missing:
            parts = [f"{', '.join(strange)}: no such class"] if strange else []
            parts += [f"{', '.join(missing)}: no weight given"] if missing else []
            raise TluiError(
                f"head.class_weights: {'; '.join(parts)}. The classes are {', '.join(classes)}",
                code=2,
            )
        weights = tuple(float(given[name]) for name in classes)
    return Objective(len(classes), head.output == "sigmoid", head.label_smoothing, weights)
