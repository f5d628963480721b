"""When a validation loss has turned up for good: a pure function of the curves so far.

Prechelt (1998), "Early Stopping - But When?": the generalization loss, how far the validation
error lies above its lowest, says that a network overfits only where it is not the noise of the
curve and while training goes on improving. Both are measured here on means of a few epochs, since
single ones go up and down by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRIP = 3
"""Epochs of a mean. Prechelt takes strips of 5; a fine-tuning is often over after 10."""
LEAST_RISE = 0.05
"""Generalization loss that is worth a word: Prechelt's GL with alpha = 5 %."""
ERRORS = 5.0
"""A rise below so many standard errors may be chance. With 3 a flat curve with noise is taken for
a rising one in one run of 50 epochs out of seven; with 5 in less than one of a hundred."""


def rise(train: Sequence[float], val: Sequence[float]) -> float:
    """How far the validation loss has risen for good while the training loss fell.

    Args:
        train: Mean training loss of every epoch, oldest first; finite.
        val: Validation loss of the same epochs; finite, > 0.

    Returns:
        Mean of the last `STRIP` epochs over the lowest mean of as many before them, less 1; 0.0
        where that is less than `LEAST_RISE`, may be noise, or training no longer gets better.
    """
    if len(val) < 2 * STRIP:
        return 0.0
    means, fits = _means(val), _means(train)
    at = int(np.argmin(means[:-STRIP]))  # those that share no epoch with the last
    risen = means[-1] - means[at]
    error = noise(val) * np.sqrt(2 / STRIP)
    if risen <= max(LEAST_RISE * means[at], ERRORS * error) or fits[-1] >= fits[at]:
        return 0.0
    return float(risen / means[at])


def noise(values: Sequence[float]) -> float:
    """Standard deviation of a curve's noise, whatever its trend, from at least 3 values.

    Second differences of independent noise have variance 6 sigma^2 and hold little of a smooth
    curve; their median passes over a steep beginning. 0.6745 is the median of |N(0, 1)|.
    """
    return float(np.median(np.abs(np.diff(values, 2))) / (0.6745 * np.sqrt(6)))


def _means(values: Sequence[float]) -> np.ndarray:
    """(n - STRIP + 1,): means of every `STRIP` epochs in a row."""
    return np.convolve(values, np.full(STRIP, 1 / STRIP), mode="valid")
