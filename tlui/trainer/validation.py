"""Metrics of a split while training: what ends every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tlui.trainer.metrics import confusion_counts, from_confusion
from tlui.trainer.objective import Objective


def validate(
    batches: Iterable[tuple[Any, ...]] | None,
    predict: Callable[[Any], np.ndarray],
    objective: Objective,
) -> dict[str, float]:
    """loss, accuracy, precision, recall and f1 of a split.

    Args:
        batches: From `Feed.evaluation`; {} where that is None.
        predict: From a batch to logits.
    """
    if batches is None:
        return {}
    losses, predicted, labels = [], [], []
    for _, x, _, label in batches:
        logits, own = predict(x), label.numpy()
        losses.append(objective.plain_losses(logits, own))
        predicted.append(objective.chosen(logits))
        labels.append(own)
    counts = confusion_counts(np.concatenate(labels), np.concatenate(predicted), objective.classes)
    return {"loss": float(np.concatenate(losses).mean()), **from_confusion(counts)}
