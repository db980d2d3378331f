"""The validations of a model, for its card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.records import Control
from streams.rollout import AT, VALIDATION, VERDICT, VERSION

SHOWN: Final = 20
"""Validations on a card, the newest."""


@dataclass(frozen=True, slots=True)
class ValidationFacts:
    """A validation of the model."""

    at: int
    """The log offset."""
    version: str
    verdict: str
    text: str
    checks: tuple[Mapping[str, Any], ...]
    author: str
    ts: int
    """Wall clock, ms."""


def validations(audits: Iterable[Control], model: str) -> tuple[ValidationFacts, ...]:
    """Return the newest validations of a model that the log has."""
    found = [
        ValidationFacts(
            int(command.arguments[AT]),
            command.arguments[VERSION],
            command.arguments[VERDICT],
            command.reason,
            tuple(json.loads(command.evidence)["checks"]),
            command.author,
            audit.ts,
        )
        for audit in audits
        for command in [audit.command]
        if command.name == VALIDATION and command.model == model and audit.entry_id
    ]
    return tuple(found[-SHOWN:])
