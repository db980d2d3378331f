"""Performance estimated before the labels come: scores, read through the calibration of labels that have come.

Confidence-based performance estimation (CBPE; compare Garg and others, "Leveraging unlabeled data to predict
out-of-distribution performance", 2022): where P(label | score) still holds, the scores alone tell how good the
decisions are. It follows a shift of the requests and is blind to a change of the concept; the gap to what the
labels then say tells the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.metrics.binary import GROUPS, BinaryTally
from streams.metrics.bins import BINS, LOGITS, auc, classes

LEAST: Final = 200
"""Labels that a calibration must rest on."""
_P: Final = 1.0 / (1.0 + np.exp(-LOGITS))
_P[0], _P[-1] = 0.0, 1.0
_GROUP: Final = np.minimum((_P * GROUPS).astype(int), GROUPS - 1)
_RIGHT: Final = _P >= 0.5


def calibrated(reference: BinaryTally) -> NDArray[np.float64] | None:
    """P(label) of each bin of scores, shape (402,), by the calibration table; None for too few labels."""
    if reference.n < LEAST:
        return None
    by_group = [drawn(group, n, y) for group, (n, y, _) in enumerate(reference.groups())]
    by_bin: NDArray[np.float64] = np.array(by_group)[_GROUP]
    return by_bin


def drawn(group: int, labels: int, positives: int) -> float:
    """P(label) of a group of scores; with few labels drawn towards the group's centre, with the weight of one."""
    return (positives + (group + 0.5) / GROUPS) / (labels + 1)


def estimate(scores: Mapping[int, int], reference: BinaryTally) -> dict[str, float]:
    """Estimate the performance of scores whose labels need not be known.

    Parameters
    ----------
    scores
        How many, by `2 * bin + class`; the class counts for nothing.
    reference
        Labels that are not those of the scores.

    Returns
    -------
    dict
        `estimated_accuracy` and `estimated_roc_auc`; empty for too few labels or no scores. A decision is taken
        for True from 0.5 on.
    """
    p = calibrated(reference)
    count = sum(classes(scores), np.zeros(BINS))
    if p is None or not count.sum():
        return {}
    right = np.where(_RIGHT, p, 1.0 - p)
    found = {
        "estimated_accuracy": float((count * right).sum() / count.sum()),
        "estimated_roc_auc": auc(count * (1.0 - p), count * p),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}
