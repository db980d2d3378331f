"""What all clients send and receive: fields of requests and outcomes, answers, problems. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypedDict

from schemas.errors import CallFailed

RETRY: Final = 503
"""The only status after which the same call can succeed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    request_id: str
    ts: int
    """Event time of the request, ms since 1970-01-01 UTC."""
    score: Any
    """P(true), probabilities by class, or a number; None: the model is untrained or failed."""
    label: bool | str | None
    """The most probable class; None for regression."""
    version: str
    """`model.revision@offset` of the model that answered."""
    warnings: tuple[Mapping[str, str], ...] = ()
    """Over HTTP only: warnings with `reason`, `field`, `detail`."""
    interval: tuple[float, float] | None = None
    """Lower and upper end of the number's interval, where the model gives one."""

    @classmethod
    def of_reply(cls, fields: Mapping[str, Any]) -> Self:
        """Make the answer of a worker's reply over HTTP."""
        return cls(
            fields["request_id"],
            fields["ts"],
            fields["score"],
            fields["label"],
            fields["version"],
            tuple(fields.get("warnings", ())),
            _ends(fields.get("interval")),
        )

    @classmethod
    def of_prediction(cls, fields: Mapping[str, Any]) -> Self:
        """Make the answer of a record of `T.predictions`, whose first score is the one that was served.

        Examples
        --------
        >>> served = {"model": "lr", "revision": 1, "offset": 5, "score": 0.25, "label": False}
        >>> Answer.of_prediction({"request_id": "o-1", "ts": 0, "scores": [served]}).version
        'lr.1@5'
        >>> served |= {"score": {"score": 2.5, "low": 1.0, "high": 4.0}, "label": None}
        >>> Answer.of_prediction({"request_id": "o-1", "ts": 0, "scores": [served]}).interval
        (1.0, 4.0)
        """
        served = fields["scores"][0]
        version = f"{served['model']}.{served['revision']}@{served['offset']}"
        score, interval = served["score"], None
        if (
            isinstance(score, Mapping) and served["label"] is None
        ):  # a number with its interval, and no classes
            score, interval = score["score"], _ends(score)
        about = (fields["request_id"], fields["ts"], score, served["label"], version)
        return cls(*about, interval=interval)


def _ends(found: Mapping[str, float] | None) -> tuple[float, float] | None:
    return None if found is None else (found["low"], found["high"])


class RequestOptions(TypedDict, total=False):
    """Optional fields of a request."""

    ts: int | None
    """Event time, ms since 1970-01-01 UTC."""
    entity_key: str | None
    """The subject of the request."""
    parents: Sequence[str]
    """Ids of the requests whose predictions are among the features."""


class OutcomeOptions(TypedDict, total=False):
    """Optional fields of an outcome."""

    ts: int | None
    """When it happened, ms since 1970-01-01 UTC; None: now."""
    revision: int | None
    """Higher with each correction."""
    reason: str | None
    """Why there is no value; required with a value of None."""
    reporter: str | None
    """Who reports it."""


def request_fields(
    request_id: str,
    features: Mapping[str, Any],
    *,
    ts: int | None = None,
    entity_key: str | None = None,
    parents: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the fields of a request; a `ts` of None is left out."""
    time = {} if ts is None else {"ts": ts}
    rest = {"features": dict(features), "entity_key": entity_key, "parents": list(parents)}
    return {"request_id": request_id} | time | rest


def outcome_fields(
    request_id: str,
    value: Any,
    now_ms: int,
    *,
    ts: int | None = None,
    revision: int | None = None,
    reason: str | None = None,
    reporter: str | None = None,
) -> dict[str, Any]:
    """Return the fields of an outcome; a `ts` of None becomes `now_ms`."""
    more = {"revision": revision, "reason": reason, "reporter": reporter}
    return {"request_id": request_id, "ts": now_ms if ts is None else ts, "value": value} | more


def read_reply(status: int, body: bytes) -> dict[str, Any]:
    """Return a worker's reply.

    Raises
    ------
    CallFailed
        With the worker's status, reason, field and sentence, unless the status is 2xx.

    Examples
    --------
    >>> read_reply(422, b'{"reason": "wrong_type", "field": "features.value", "detail": "must be a number"}')
    Traceback (most recent call last):
      ...
    schemas.errors.CallFailed: wrong_type: must be a number
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CallFailed(status, "not_a_worker", f"the answer is no JSON object; its status is {status}")
    if 200 <= status < 300:
        return found
    reason, detail = found.get("reason", "unknown"), found.get("detail", f"status {status}")
    raise CallFailed(status, reason, detail, found.get("field", ""))
