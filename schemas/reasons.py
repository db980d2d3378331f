"""The reasons of dead letters: code and meaning."""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    "unreadable": "The bytes are neither JSON nor Avro single-object encoding.",
    "malformed": "The JSON or Avro is damaged.",
    "registry_framing": "The record has Schema Registry framing (first byte 0 or 1), and no registry is set.",
    "unknown_schema": "The Avro schema is unknown to the task, or to the schema registry.",
    "wrong_record": "The record is not of the topic's type.",
    "missing_field": "A required field is missing or null.",
    "wrong_type": "A field has the wrong type.",
    "out_of_range": "A value exceeds the allowed range, levels or length.",
    "impossible_time": (
        "The event time is before the task's earliest or too far in the future; check that it is in ms."
    ),
    "too_large": "The record exceeds the maximum size.",
    "stale": "The prediction is older than its deadline plus the revision horizon.",
    "unknown_or_forgotten": "No prediction of this request arrived in time.",
    "too_many_early": "Too many outcomes without a prediction are pending, for this request or its partition.",
    "outcome_before_request": "The outcome is earlier than its request, beyond the tolerance.",
    "model_failed": "The served model raised or its score was not finite; a retry gives the same.",
    "lookup_failed": "A look-up that the task requires found nothing, or not in time.",
    "unexpected_punctuation": "A punctuation arrived outside a lockstep run.",
}
