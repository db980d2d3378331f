"""Counts of what comes in, as they lie on `T.quality`; `streams/quality/` makes them and adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from schemas.immutable import record


@record(frozen=True, slots=True)
class FeatureTally:
    """Counts of one feature's values; they add up over workers, partitions and time."""

    bins: Mapping[str, int]
    """Values by bin (`streams.quality.grid`): of numbers the edge nearer to 0, of categories the level."""
    missing: int
    """Requests without a value."""
    outside: int
    """Values outside the dictionary's range or levels."""
    total: float
    """Sum of the values, in the feature's unit; 0 for texts and booleans."""


@record(frozen=True, slots=True)
class Tally:
    """Counts of requests that one worker answered or rejected in one transaction, for a minute of event time."""

    slot: str
    """The worker that counted, by its stable name."""
    way: Literal["topic", "http"]
    """`topic`: counted in the transaction that answers; `http`: written within a second after the answers."""
    ts: int
    """Start of the minute of event time."""
    width_ms: int
    """Its length."""
    requests: int
    """Requests answered."""
    disordered: int = 0
    """Of these: older than one before them in their partition."""
    repeated: int = 0
    """Of these: with a request_id that this worker still remembers."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Requests rejected, by reason, or by reason and field: `wrong_type features.LeadTime`, `malformed other`."""
    written: Mapping[str, int] = field(default_factory=dict)
    """Requests answered, by how they were written: `json`, or the fingerprint of the writer's schema."""
    warned: Mapping[str, int] = field(default_factory=dict)
    """Unknown fields in answered requests: `unknown_field features.country`, by the known field that is near."""
    features: Mapping[str, FeatureTally] = field(default_factory=dict)
