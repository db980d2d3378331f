"""What a River model says of an example, in the form of a served score."""

from __future__ import annotations

import copy
from typing import Any

from river.compose import Pipeline

from schemas.codec.checks import MAX_NUMBER
from schemas.records import ScoreValue
from streams.failures import check_finite
from streams.snapshot.digest import state_digest
from streams.snapshot.rewind import Rewind

Answer = tuple[ScoreValue, bool | str | None]
"""The score, and the label."""


def answer(estimator: Any, kind: str, x: dict[str, Any]) -> Answer:
    """Ask a River model.

    Parameters
    ----------
    kind
        What the outcome is, as in `Task`.

    Raises
    ------
    NotFinite
        The score is not a finite number.
    """
    if kind == "regression":
        value: ScoreValue = estimator.predict_one(x)
        check_finite(value)
        return value, None
    probabilities = estimator.predict_proba_one(x)
    if not probabilities:
        return None, None
    check_finite(probabilities)
    label = max(probabilities, key=lambda name: probabilities[name])
    if kind == "binary":
        return float(probabilities.get(True, 0.0)), label
    return {str(name): float(p) for name, p in probabilities.items()}, label


def interval_of(estimator: Any, x: dict[str, Any]) -> tuple[float, float] | None:
    """Ask a model for the interval of its number; None where it gives none, or no finite one.

    A model of `river.conf` gives one, on its own or at the end of a pipeline.
    """
    if not gives_interval(estimator):
        return None
    found = estimator.predict_one(x, with_interval=True)
    ends = (float(found.lower), float(found.upper))
    return ends if all(-MAX_NUMBER < each < MAX_NUMBER for each in ends) else None


def gives_interval(estimator: Any) -> bool:
    """Whether a regressor gives an interval with its number."""
    last = next(reversed(estimator.steps.values())) if isinstance(estimator, Pipeline) else estimator
    return type(last).__module__.startswith("river.conf.")


def answer_of(score: float, kind: str) -> Answer:
    """Make the same of a number, or of the probability of True."""
    check_finite(score)
    return score, None if kind == "regression" else score > 1.0 - score


class Untaught:
    """A copy that answers for a model that has learned nothing yet, for labels may be weeks away.

    Some models make themselves ready for the features that they see first, and predicting must not decide what
    those are: the copy is put back after each question.

    Parameters
    ----------
    estimator
        The model.
    x
        An example.
    """

    def __init__(self, estimator: Any, kind: str, x: dict[str, Any]) -> None:
        # River plans a pipeline's steps at its first prediction, which costs more than all else. So a copy that has
        # its plan answers, where that is all that predicting has changed.
        asked: Any = copy.deepcopy(estimator)
        (asked.predict_one if kind == "regression" else asked.predict_proba_one)(dict(x))
        only_planned = state_digest(asked) == state_digest(estimator)
        self._copy, self._kind = asked if only_planned else copy.deepcopy(estimator), kind
        self._rewind = Rewind(self._copy)

    def answer(self, x: dict[str, Any]) -> Answer:
        """Ask the copy."""
        try:
            return answer(self._copy, self._kind, x)
        finally:
            self._rewind.back()
