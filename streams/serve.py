"""Serving: a request in, the prediction out, made by the models active at that moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from schemas.errors import BadRecord, ModelMissing
from schemas.records import FeatureValue, Position, Prediction, Request, Score
from streams.gate.fold import GateFold
from streams.join.join_rules import JoinRules
from streams.model import ModelFold
from streams.roles import Roles
from streams.shares import UNIT, place_of
from streams.task import Task
from streams.task_model import Model

SAMPLE: Final = "sample"
"""Salt of the draw, the same for all models: those with the same share score the same requests."""

Additions = Callable[[Request], Mapping[str, FeatureValue]]
"""Gives features that a request does not carry; what it does not find is absent."""


class Server:
    """Answers requests of one task.

    Parameters
    ----------
    models
        Its models' folds. Between two entries all are at the same offset, and so are the roles that each has.
    """

    def __init__(self, task: Task, models: Sequence[ModelFold]) -> None:
        self.task, self.models = task, tuple(models)
        self.times = JoinRules.of(task).times
        self.failures: Counter[str] = Counter()
        """Scores that a model failed to give, by model, since this process began."""
        self.gate: GateFold | None = None
        """Folded beside the models; None: the task has none."""
        self.additions: list[Additions] = []
        """What adds features that requests do not carry, in the order in which they are asked."""

    @property
    def roles(self) -> Roles:
        """Which models answer."""
        return self.models[0].roles

    @property
    def champion(self) -> ModelFold:
        """The model with the largest share; the file's first one while the log has none."""
        name = self.roles.champion
        return next((fold for fold in self.models if fold.model.name == name), self.models[0])

    @property
    def missing(self) -> list[str]:
        """The models that answer and that the task file does not have."""
        known = {fold.model.name for fold in self.models}
        return [name for name in self.roles.answering if name not in known]

    def complete(
        self, request: Request, aggregates: Mapping[str, FeatureValue | None] = MappingProxyType({})
    ) -> Request:
        """Return a request with the features that serving adds, as it is scored and stored.

        It is asked for once for each request, right before `predict`. What the request has already, as from a row
        of a data file, stays as it is.

        Parameters
        ----------
        aggregates
            Those of the request, by name, where the task has some: also in place of those of a row.

        Raises
        ------
        BadRecord
            `missing_field`: a feature was not found, and the dictionary has no rule for that.
        """
        features = self.task.features
        if not features.added:
            return request
        found = dict(aggregates)
        for each in self.additions:
            found |= each(request)
        asked = request.features
        if aggregates:
            asked = {name: value for name, value in asked.items() if name not in aggregates}
        return replace(request, features=features.complete(asked, found))

    def predict(self, request: Request, source: Position | None = None) -> Prediction:
        """Score a request; stamp and score come from this one synchronous step.

        Parameters
        ----------
        request
            Canonical and complete.
        source
            Its place on `T.requests`; None when it came over HTTP.

        Raises
        ------
        BadRecord
            `model_failed`, when the drawn model fails, and so does the fallback, if the task names one.
        ModelMissing
            The task file does not have the drawn model.
        """
        roles = self.roles
        drawn = roles.draw(request.request_id, request.entity_key) or self.models[0].model.name
        scores = [
            fold.predict(request.features)
            for fold in self.models
            if not fold.retired and (fold.model.sample >= 1.0 or self._sampled(fold.model, request, drawn))
        ]
        for score in scores:
            if score.failure:
                self.failures[score.model] += 1
        answer = answering(scores, drawn, self.task.fallback)
        if answer is None:
            failed = next((score for score in scores if score.model == drawn), None)
            if failed is None:
                raise ModelMissing(drawn)
            message = f"request {request.request_id!r}: model {failed.version} failed: {failed.failure}"
            raise BadRecord("model_failed", message)
        return Prediction(
            request.request_id,
            request.ts,
            request.features,
            (answer, *(score for score in scores if score is not answer)),
            source,
            request.entity_key,
            request.parents,
            roles.propensity(drawn) if roles.models else 1.0,
            self.models[0].next_offset - 1,
        )

    def _sampled(self, model: Model, request: Request, drawn: str) -> bool:
        """Whether a model scores a request: one that answers requests, or may have to, scores all."""
        if model.name in (drawn, self.task.fallback) or self.roles.role(model.name).share:
            return True
        key = request.request_id if request.entity_key is None else request.entity_key
        return place_of(self.task.name, SAMPLE, key) < model.sample * UNIT


def answering(scores: Sequence[Score], drawn: str, fallback: str | None) -> Score | None:
    """Return the score that answers: of the model that was drawn, or of the fallback when that one failed.

    Returns
    -------
    Score or None
        None when both failed, or there is no fallback.
    """
    by_model = {score.model: score for score in scores}
    if drawn not in by_model:
        return None
    found = (by_model.get(name or "") for name in (drawn, fallback))
    return next((score for score in found if score is not None and not score.failure), None)
