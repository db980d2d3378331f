"""What a backtest says of each model: metrics, coverage, delays, counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.codec.checks import TaskKind
from schemas.records import Entry, Value
from streams.fold import BaseFold
from streams.policies import label_of
from streams.task_model import Model

QUANTILES = (0.1, 0.5, 0.9, 0.99)
DAY_MS = 86_400_000


def roc_auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, exact, ties counted half (Mann and Whitney 1947).

    Parameters
    ----------
    scores, labels
        One per resolution, shape (n,).

    Returns
    -------
    float
        In [0, 1]; NaN when one class is absent.

    Examples
    --------
    >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def pr_auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Average precision: the area under precision over recall in steps, scores that tie taken at once.

    Parameters
    ----------
    scores, labels
        One per resolution, shape (n,).

    Returns
    -------
    float
        In [0, 1]; NaN without a positive. Scores without any order give the share of positives.

    Examples
    --------
    >>> pr_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.8333333333333333
    """
    positives = int(labels.sum())
    if not positives:
        return float("nan")
    levels, inverse = np.unique(-scores, return_inverse=True)
    count = np.bincount(inverse, minlength=len(levels))
    hits = np.bincount(inverse, weights=labels, minlength=len(levels))
    precision = np.cumsum(hits) / np.cumsum(count)
    return float((precision * hits).sum() / positives)


class ScoreBook(BaseFold[Entry]):
    """A fold that keeps every served score of one model with its label: for exact areas afterwards.

    Memory grows with the log, so it is for backtests, not for workers.
    """

    def __init__(self, model: Model, kind: TaskKind = "binary") -> None:
        self.model, self._kind = model, kind
        self.labels = 0
        """Requests that have a label now, whether the model has scored them or not."""
        self._rows: dict[str, tuple[Any, Value]] = {}

    def _apply(self, offset: int, entry: Entry) -> None:
        asked = entry.prediction is not None and entry.kind != "backfill"
        label = label_of(self.model.policy, entry, self._kind) if asked else None
        if label is None or entry.prediction is None:
            return
        self.labels += (label.value is not None) - (label.replaces is not None)
        for score in entry.prediction.scores:
            if score.model == self.model.name and score.score is not None:
                if label.value is None:
                    self._rows.pop(entry.prediction.request_id, None)
                else:
                    self._rows[entry.prediction.request_id] = (score.score, label.value)

    def curves(self) -> dict[str, float]:
        """Give the exact areas under the ROC curve and under the curve of precision over recall (binary)."""
        rows = list(self._rows.values())
        scores = np.array([score for score, _ in rows], float)
        labels = np.array([value is True for _, value in rows], bool)
        return {"roc_auc_exact": roc_auc(scores, labels), "pr_auc_exact": pr_auc(scores, labels)}

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return (self.next_offset, self.labels, self._rows)

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, self.labels, self._rows = state


class Resolutions(BaseFold[Entry]):
    """A fold that counts resolutions by kind and keeps the outcomes' delays."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.first = 0
        """First resolutions."""
        self.delays: list[int] = []

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.kind in {"command", "time", "opened"}:
            return
        self.kinds[entry.kind] += 1
        self.first += entry.corrects is None
        if entry.outcome and entry.prediction and entry.kind in {"labelled", "late"}:
            self.delays.append(entry.outcome.ts - entry.prediction.ts)

    def delay_days(self) -> dict[str, float]:
        """Quantiles of the time from request to outcome, in days."""
        if not self.delays:
            return {}
        values = np.quantile(np.array(self.delays, float), QUANTILES) / DAY_MS
        return {f"p{int(q * 100)}": float(value) for q, value in zip(QUANTILES, values, strict=True)}

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return (self.next_offset, self.kinds, self.first, self.delays)

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, self.kinds, self.first, self.delays = state
