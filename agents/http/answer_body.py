"""The answer that a prediction is over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.http.problems import dump
from schemas.records import Prediction
from schemas.remarks import Remark
from streams.serve import Server


def of_models(server: Server, prediction: Prediction) -> list[Remark]:
    """Return warnings about the score: from the fallback, or from a model that has stopped learning."""
    found, served = [], prediction.scores[0]
    drawn = server.roles.draw(prediction.request_id, prediction.entity_key)
    if served.model != drawn:
        # Of another worker's prediction, another model may have been drawn.
        failed = next((each for each in prediction.scores if each.model == drawn and each.failure), None)
        if failed is not None:
            detail = f"{failed.version} failed: {failed.failure}; the score is that of {served.version}"
            found.append(Remark("fallback", "score", detail))
    for fold in server.models:
        stopped = fold.learner.stopped
        if stopped is not None and fold.model.name == served.model:
            detail = f"{served.version} has stopped learning at log offset {stopped.offset}: {stopped.why}"
            found.append(Remark("stopped_learning", "score", detail))
    return found


def answer_body(prediction: Prediction, remarks: list[Remark]) -> bytes:
    """Return the answer that a prediction is over HTTP, with its warnings."""
    score = prediction.scores[0]
    data: dict[str, Any] = {
        "request_id": prediction.request_id,
        "ts": prediction.ts,
        "score": dict(score.score) if isinstance(score.score, Mapping) else score.score,
        "label": score.label,
        "version": score.version,
    }
    if score.interval is not None:
        data["interval"] = dict(zip(("low", "high"), score.interval, strict=True))
    return dump(data | ({"warnings": [each.plain() for each in remarks]} if remarks else {}))
