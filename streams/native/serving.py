"""Serving from bytes: which requests are scanned only, and the predictions of them.

A kernel scores for a model that is fused; any other model is asked itself, and the core reads and writes around it.
What the plan does not know is the reference's: JSON, an older schema, a rejected value, a token, a call over HTTP,
a model that gave no score, or that scores a sample only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from schemas.codec import Codec, wire
from schemas.dictionary import Category, Feature
from schemas.records import Features
from streams import native
from streams.model import ModelFold
from streams.native.plan import NotFused
from streams.native.records import RecordPlan, plan_of
from streams.native.turn import REPORTERS, mark
from streams.scoring import answer_of
from streams.serve import Server

REQUEST: Final = ["request_id", "ts", "features", "entity_key", "parents"]
"""The fields that `requests.hpp` reads, in its order."""
SCORE: Final = ["model", "revision", "offset", "score", "label", "failure"]
PREDICTION: Final = [
    *("request_id", "ts", "features", "scores", "source", "entity_key", "parents", "propensity"),
    "log_offset",
]
"""The fields that it writes."""


class Bound(NamedTuple):
    """What a feature's values must be; others are rejected."""

    low: float
    high: float
    levels: tuple[str, ...]


class RequestPlan(NamedTuple):
    """What a scan of a task's requests is made from."""

    record: RecordPlan
    bounds: tuple[Bound | None, ...]
    """By feature; None: any value will do."""
    entity_key: int
    parents: int
    """How these are stored, of `REPORTERS`."""
    request_mark: bytes
    prediction_mark: bytes
    written: Callable[[str], bytes]
    """Gives the bytes by which a position names a topic."""
    binary: bool


def request_scan_of(codec: Codec) -> Any:
    """Make the scan of a task's requests; None where they are read in Python."""
    built, schemas, dictionary = native.serving_module(), codec.schemas, codec.dictionary
    if native.chosen() == "python" or built is None or codec.kind == "multiclass":
        return None
    if dictionary.added:  # a prediction has more features than its request: the reference puts them together
        return None
    features = [each for each in dictionary if each.personal_data != "left_out"]
    if any(each.personal_data == "tokenised" for each in features):
        return None
    request, prediction = _fields(schemas["Request"]), _fields(schemas["Prediction"])
    if list(request) != REQUEST or list(prediction) != PREDICTION:
        return None
    if [*_fields(prediction["scores"]["items"])] != SCORE or request["features"] != prediction["features"]:
        return None
    try:
        record = plan_of(schemas["Request"])
    except NotFused:
        return None
    if record.names != tuple(each.name for each in features):
        return None
    entity_key, parents = (REPORTERS.get(each, 0) for each in (dictionary.entity_key, dictionary.parents))
    marks = mark(codec, "Request"), mark(codec, "Prediction")
    bounds = tuple(_bound(each) for each in features)
    return built.RequestScan(
        RequestPlan(record, bounds, entity_key, parents, *marks, codec.topic_bytes, codec.kind == "binary")
    )


def _fields(schema: Any) -> dict[str, Any]:
    return {each["name"]: each["type"] for each in schema["fields"]}


def _bound(feature: Feature) -> Bound | None:
    if not feature.rejects:
        return None
    if isinstance(feature, Category):
        return Bound(0.0, 0.0, feature.levels) if feature.levels else None
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    return Bound(float("-inf") if low is None else low, float("inf") if high is None else high, ())


class NativeServer:
    """Answers scanned requests as a `Server` answers what they say.

    Parameters
    ----------
    server
        Whose models score.
    scan
        What `request_scan_of` gives.
    """

    def __init__(self, server: Server, scan: Any) -> None:
        self._server, self._scan = server, scan

    @property
    def by_kernels(self) -> bool:
        """Whether kernels score for all models: then a run of requests takes no time to speak of."""
        kinds = self._scan.names, self._scan.kinds
        return all(fold.kernel(*kinds) is not None for fold in self._server.models if not fold.retired)

    def answer(self, requests: list[Any], start: int) -> list[tuple[bytes, bytes]] | None:
        """Answer requests, from one of them on, up to the first that is the reference's.

        Parameters
        ----------
        requests
            Of type `ScannedRequest`.

        Returns
        -------
        list or None
            The key and the value of the prediction of each; None where the models are the reference's now.
        """
        folds = [fold for fold in self._server.models if not fold.retired]
        roles = self._server.roles
        places = {fold.model.name: place for place, fold in enumerate(folds)}
        if not roles.parts or any(part.model not in places for part in roles.parts):
            return None
        if any(fold.model.sample < 1.0 for fold in folds):
            return None
        kernels = [fold.kernel(self._scan.names, self._scan.kinds) for fold in folds]
        examples = self._scan.examples(requests, start)
        features: list[Features] = []
        scores = []
        for fold, kernel in zip(folds, kernels, strict=True):
            if kernel is None:
                features = features or [each.features for each in requests[start:]]
                scores.append(self._ask(fold, features))
            else:
                scores.append(kernel.score_rows(examples))
        count = min(map(len, scores))
        if count == 0 and (None in kernels or not all(fold.learned for fold in folds)):
            # One that has learned nothing may give no score to any of them.
            return None
        drawn: int | list[int] = places[roles.parts[0].model]
        if len(roles.parts) > 1:
            drawn = _drawn(roles.draw, places, requests[start : start + count])
        models = [
            (_head(fold), given, roles.propensity(fold.model.name))
            for fold, given in zip(folds, scores, strict=True)
        ]
        log_offset = self._server.models[0].next_offset - 1
        found: list[tuple[bytes, bytes]] = self._scan.predictions(
            requests, start, count, models, drawn, log_offset
        )
        return found

    def _ask(self, fold: ModelFold, rows: Sequence[Features]) -> list[float]:
        """Return what a model says of each, up to the first of which the core cannot write it."""
        found = []
        for features in rows:
            said = fold.predict(features)
            # The core writes the label that follows from the score; with a tie River's may be the other.
            if not isinstance(said.score, float) or said.label != answer_of(said.score, fold.task.kind)[1]:
                break
            if said.interval is not None:  # the core writes a number alone
                break
            found.append(said.score)
        return found


def _drawn(
    draw: Callable[[str, str | None], str], places: dict[str, int], requests: Sequence[Any]
) -> list[int]:
    return [places[draw(each.request_id, each.entity_key)] for each in requests]


def _head(fold: ModelFold) -> bytes:
    """Return a score's model, revision and offset as they are written."""
    version = fold.version
    return wire.text(version.model) + wire.LONGS[version.revision] + wire.LONGS[version.offset]
