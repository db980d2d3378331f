"""Serving: a request in, the prediction out, made by the models in force at that moment."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import Position, Prediction, Request
from streams.model import ModelFold
from streams.rules import JoinRules
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
        self.times = JoinRules.of(task).times

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
