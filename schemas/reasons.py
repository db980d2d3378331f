"""Why a record goes to the dead letters: code and what it means to the producing service."""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    "unreadable": "The bytes are neither JSON nor Avro single-object encoding.",
    "malformed": "The record is JSON or Avro, but damaged: cut short, too long, or breaking its form.",
    "registry_framing": "The record has Schema Registry framing (first byte 0), which is not supported yet.",
    "unknown_schema": "The record is Avro, but its schema fingerprint is not known to this task.",
    "wrong_record": "The record is readable but is not of the type that this topic carries.",
    "missing_field": "A required field is missing or null.",
    "wrong_type": "A field has the wrong type.",
    "out_of_range": "A value lies outside what the dictionary or the contract allows: a range, a level, a length.",
    "impossible_time": "The event time lies before the task's earliest, or too far ahead; is it in ms?",
    "too_large": "The record is larger than the task's limit.",
    "stale": "The prediction is older than its own deadline and revision horizon together.",
    "unknown_or_forgotten": "No prediction is known for this outcome, and none came in time.",
    "too_many_early": "Too many outcomes wait for predictions: of this request, or in its partition.",
    "outcome_before_request": "The outcome's time lies before its request's, beyond the tolerance.",
    "model_failed": "The served model's code raised, or its score was no finite number. Repeating does not help.",
    "unexpected_punctuation": "A punctuation outside a lockstep run.",
}
