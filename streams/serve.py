"""Serving: a request in, the prediction out, made by the models in force at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from schemas.errors import BadRecord
from schemas.records import Position, Prediction, Request
from streams.model import ModelFold
from streams.task import Task


class Server:
    """Answers requests of one task.

    Parameters
    ----------
    task
        The task.
    models
        Its models' folds; the first one's score is the answer, the others are shadows.
    runtime
        Fingerprint that is stamped on predictions.
    """

    def __init__(self, task: Task, models: Sequence[ModelFold], runtime: str = "") -> None:
        self.task, self.models, self.runtime = task, tuple(models), runtime
        self._max_ahead_ms = task.max_ahead // timedelta(milliseconds=1)

    def check_time(self, request: Request, arrived: int) -> None:
        """Refuse a request from the future: one wrong clock must not expire everybody.

        Raises
        ------
        BadRecord
            `impossible_time`, when ts lies beyond its arrival by more than the task's `max_ahead`.
        """
        if request.ts > arrived + self._max_ahead_ms:
            message = f"ts={request.ts} lies more than {self.task.max_ahead} ahead of its arrival, {arrived}"
            raise BadRecord("impossible_time", message, "ts")

    def predict(self, request: Request, source: Position | None = None) -> Prediction:
        """Score a request; stamp and score come from this one synchronous step.

        Parameters
        ----------
        request
            Canonical.
        source
            Its place on `T.requests`; None when it came over HTTP.
        """
        scores = tuple(
            model.predict(request.features, "shadow" if index else "served")
            for index, model in enumerate(self.models)
        )
        return Prediction(
            request.request_id,
            request.ts,
            request.features,
            scores,
            self.runtime,
            source,
            request.entity_key,
            request.parents,
        )
