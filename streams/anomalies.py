"""A detector of anomalies as a classifier of a binary task, whose outcome is a later label."""

from __future__ import annotations

import math
from typing import Any, Final

from river import base, stats

from schemas.errors import TaskError

LEAST: Final = 100
"""Examples learned before there is a threshold."""


class AnomalyClassifier(base.Wrapper[Any], base.Classifier):
    """A classifier that learns without labels: it says how far a request is above the usual anomaly scores.

    The detector learns every example, whatever its label. The threshold is the `q`-quantile of the scores of the
    examples learned so far, each scored before it was learned. The answer is ½ at the threshold, and the logistic
    function of the distance to it in units of the distance from the median to it. So the label is True above the
    threshold; the number orders requests, and is no probability. Later labels measure it: `roc_auc`, `precision`
    and `recall` make sense, `log_loss` and calibration do not.

    Parameters
    ----------
    detector
        A detector of `river.anomaly` that scores an example by its features, or a pipeline that ends with one.
    q
        Which share of the learned examples lies below the threshold, between ½ and 1.
    least
        Examples to be learned before it answers.

    Raises
    ------
    TaskError
        When it is another estimator, or a number is out of its range.

    Notes
    -----
    With `policy=DefaultAtHorizon(False)` it learns every request at its horizon at the latest. With `OnArrival()`
    only requests with an outcome teach.

    References
    ----------
    The quantiles are those of the P² algorithm (Jain and Chlamtac 1985), as River has it.

    Examples
    --------
    >>> from river import anomaly
    >>> model = AnomalyClassifier(anomaly.HalfSpaceTrees(seed=1, window_size=50), q=0.95)
    >>> model.predict_proba_one({"amount": 0.5})
    {}
    >>> for number in range(500):
    ...     model.learn_one({"amount": 0.4 + number % 20 / 100}, False)
    >>> model.predict_one({"amount": 0.45}), model.predict_one({"amount": 0.99})
    (False, True)
    """

    def __init__(self, detector: base.Estimator, q: float = 0.99, least: int = LEAST) -> None:
        last = getattr(detector, "_last_step", detector)
        if not isinstance(last, base.AnomalyDetector):
            raise TaskError(
                "AnomalyClassifier takes a detector that scores features, such as anomaly.HalfSpaceTrees(seed=1), "
                f"not {type(last).__name__}"
            )
        if not 0.5 < q < 1 or type(least) is not int or least < 1:
            raise TaskError(
                f"AnomalyClassifier(q={q!r}, least={least!r}): q must lie between 0.5 and 1, and least be a whole "
                "number of at least 1"
            )
        self.detector, self.q, self.least = detector, q, least
        self._threshold, self._median = stats.Quantile(q), stats.Quantile(0.5)
        self._learned = 0

    @property
    def _wrapped_model(self) -> Any:
        return self.detector

    def learn_one(self, x: dict[Any, Any], y: Any = None) -> None:
        """Learn the features of an example."""
        score = self.score_one(x)
        self._threshold.update(score)
        self._median.update(score)
        self._wrapped_model.learn_one(x)
        self._learned += 1

    def score_one(self, x: dict[Any, Any]) -> float:
        """Return the detector's score; the higher, the less usual."""
        return float(self._wrapped_model.score_one(x))

    def predict_proba_one(self, x: dict[Any, Any], **_: Any) -> dict[Any, float]:
        """Return the place of a score beside the threshold as a number from 0 to 1; nothing before there is one."""
        if self._learned < self.least:
            return {}
        threshold: Any = self._threshold.get()  # known after the first example
        median: Any = self._median.get()
        width = threshold - median
        above = self.score_one(x) - threshold
        if width <= 0:  # scores alike
            return {False: 0.25, True: 0.75} if above > 0 else {False: 0.75, True: 0.25}
        share = 0.5 + 0.5 * math.tanh(above / width / 2)  # the logistic function
        return {False: 1.0 - share, True: share}
