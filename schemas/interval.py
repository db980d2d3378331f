"""The interval of a score: on the wire it is in the score's place, with the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import BadRecord
from schemas.records import Score, ScoreValue

MEMBERS: Final = ("score", "low", "high")


def with_interval(score: Score) -> Mapping[str, Any]:
    """Return score and interval as they are written.

    Examples
    --------
    >>> with_interval(Score("m", 1, 5, 2.5, interval=(1.0, 3.5)))
    {'score': 2.5, 'low': 1.0, 'high': 3.5}
    """
    assert score.interval is not None
    return dict(zip(MEMBERS, (score.score, *score.interval), strict=True))


def make_number_score(
    model: str,
    revision: int,
    offset: int,
    score: ScoreValue = None,
    label: bool | str | None = None,
    failure: str = "",
) -> Score:
    """Make the score of a regression of what is written: a number, or one with its interval.

    Raises
    ------
    BadRecord
        It is of another form.
    """
    if not isinstance(score, Mapping):
        return Score(model, revision, offset, score, label, failure)
    if score.keys() != set(MEMBERS):
        raise BadRecord("wrong_type", "must be a number, or score, low and high", "score")
    number, low, high = (score[name] for name in MEMBERS)
    return Score(model, revision, offset, number, label, failure, (low, high))
