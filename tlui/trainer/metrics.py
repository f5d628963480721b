"""Metrics: from confusion counts while training, from stored predictions at the end.

Both agree: precision, recall and F1 are those of class index 1 for two classes and macro averages
over all classes beyond two, with 0 where a class was never predicted. Arrays only, no TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are labels, columns predictions."""
    cells = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    flat = np.bincount(cells, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes))


def from_confusion(confusion: np.ndarray) -> dict[str, float]:
    """accuracy, precision, recall and f1 in [0, 1]; NaN where there is no image."""
    counts = np.asarray(confusion, np.float64)
    total = counts.sum()
    if total == 0:
        return dict.fromkeys(("accuracy", "precision", "recall", "f1"), math.nan)
    hits = np.diagonal(counts)
    precision = _ratio(hits, counts.sum(axis=0))
    recall = _ratio(hits, counts.sum(axis=1))
    f1 = _ratio(2 * precision * recall, precision + recall)
    pick = (lambda x: x[1]) if len(counts) == 2 else np.mean
    return {
        "accuracy": float(hits.sum() / total),
        "precision": float(pick(precision)),
        "recall": float(pick(recall)),
        "f1": float(pick(f1)),
    }


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(over, under, out=np.zeros_like(over), where=under > 0))


def from_predictions(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every final metric of a split, by scikit-learn.

    Args:
        labels: int64 (n,).
        probabilities: float32 (n, classes), rows that sum to 1.

    Returns:
        loss, accuracy, precision, recall, f1, roc_auc; weighted_precision, weighted_recall and
        weighted_f1 beyond two classes; top5_accuracy beyond five. NaN where a metric is undefined
        (ROC AUC where a class has no image).
    """
    from sklearn import metrics as score

    classes = probabilities.shape[1]
    every = np.arange(classes)
    found = {"loss": cross_entropy(labels, probabilities)}
    predicted = probabilities.argmax(axis=1)
    found["accuracy"] = float(score.accuracy_score(labels, predicted))
    for prefix, average in (
        (("", "binary"),)
        if classes == 2
        else (
            ("", "macro"),
            ("weighted_", "weighted"),
        )
    ):
        precision, recall, f1, _ = score.precision_recall_fscore_support(
            labels,
            predicted,
            labels=None if classes == 2 else every,
            pos_label=1,
            average=average,
            zero_division=0,
        )
        found |= {
            f"{prefix}precision": float(precision),
            f"{prefix}recall": float(recall),
            f"{prefix}f1": float(f1),
        }
    if classes > 5:
        best = score.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
        found["top5_accuracy"] = float(best)
    found["roc_auc"] = roc_auc(labels, probabilities)
    return found


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log of the label's probability, which is kept off zero by float32's epsilon."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve: of class 1 for two classes, else one-vs-rest, macro; NaN where
    a class has no image or none of another."""
    from sklearn.metrics import roc_auc_score

    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes or not np.isfinite(probabilities).all():
        return math.nan
    if classes == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    each = [roc_auc_score(labels == c, probabilities[:, c]) for c in range(classes)]
    return float(np.mean(each))


def per_class(labels: np.ndarray, predicted: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """One row a class: name, precision, recall, f1, support."""
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0
    )
    return [
        {
            "name": name,
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(support[i]),
        }
        for i, name in enumerate(names)
    ]
