"""Serving: a request in, the prediction out, made by the models active at that moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from schemas.errors import BadRecord
from schemas.records import Position, Prediction, Request, Score
from streams.join.join_rules import JoinRules
from streams.model import ModelFold
from streams.task import Task


class Server:
    """Answers requests of one task.

    Parameters
    ----------
    models
        Its models' folds; the first one's score is the answer, the others are shadows.
    """

    def __init__(self, task: Task, models: Sequence[ModelFold]) -> None:
        self.task, self.models = task, tuple(models)
        self.times = JoinRules.of(task).times
        self.failures: Counter[str] = Counter()
        """Scores that a model failed to give, by model, since this process began."""

    def predict(self, request: Request, source: Position | None = None) -> Prediction:
        """Score a request; stamp and score come from this one synchronous step.

        Parameters
        ----------
        request
            Canonical.
        source
            Its place on `T.requests`; None when it came over HTTP.

        Raises
        ------
        BadRecord
            `model_failed`, when the served model fails, and so does its fallback, if the task names one.
        """
        scores = tuple(model.predict(request.features) for model in self.models)
        failed = [score for score in scores if score.failure]
        if failed:
            self.failures.update(score.model for score in failed)
            if scores[0].failure:
                scores = self._fall_back(request, scores)
        return Prediction(
            request.request_id,
            request.ts,
            request.features,
            scores,
            source,
            request.entity_key,
            request.parents,
        )

    def _fall_back(self, request: Request, scores: tuple[Score, ...]) -> tuple[Score, ...]:
        """Serve the fallback's score instead of the champion's, which stays as a shadow's."""
        champion, *shadows = scores
        for score in shadows:
            if score.model == self.task.fallback and not score.failure:
                others = (other for other in shadows if other is not score)
                return (score, champion, *others)
        message = f"request {request.request_id!r}: model {champion.version} failed: {champion.failure}"
        raise BadRecord("model_failed", message)
