"""Scoring with a fixed version: a request in, a row out; the same bits as in a prediction of that version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from schemas.records import Request, ScoreValue
from streams.model import ModelFold

T = TypeVar("T")


class ScoredRow(NamedTuple):
    """A scored request."""

    request_id: str
    ts: int
    """Event time of the request, ms."""
    version: str
    score: ScoreValue
    """As in a prediction; None when the model has no answer, or failed."""
    label: bool | str | None
    failure: str
    """Why the model has no score; empty when it did not fail."""


def score(fold: ModelFold, request: Request) -> ScoredRow:
    """Score a request with a model as it is; nothing is learned."""
    found = fold.predict(request.features)
    return ScoredRow(request.request_id, request.ts, found.version, found.score, found.label, found.failure)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut items into lists of a size; the last one may be shorter, and none is empty.

    Examples
    --------
    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    ahead = iter(items)
    while chunk := list(islice(ahead, size)):
        yield chunk
