"""The plan of one request: which records are sent about it, and which entries must result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from schemas.records import Kind, LateBy, Outcome, Request, Value

Input = Literal["requests", "outcomes"]


class Step(NamedTuple):
    """An expected entry of the training log."""

    kind: Kind
    ts: int
    """The outcome's, or the deadline of an expiry (ms UTC)."""
    value: Value = None
    revision: int | None = None
    late_by: LateBy | None = None


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A record as it is sent."""

    input: Input
    key: str
    ts: int
    """When it is sent (ms UTC, event time)."""
    record: Request | Outcome | bytes
    """Bytes are sent as they are: they are malformed on purpose."""
    json: bool = False
    """Whether it is encoded as JSON instead of Avro."""
    movable: bool = False
    """Whether a wrong partition changes nothing about what is expected: the only outcome of its id."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One request, its scenario, and what is expected afterwards."""

    number: int
    scenario: str
    request: Request
    sent_records: tuple[SentRecord, ...]
    """In the order in which they are sent, the request included."""
    steps: tuple[Step, ...]
    """The expected entries, in order; each after the first corrects the one before, an expiry excepted."""
    dead_letters: tuple[tuple[str, str], ...] = ()
    """Expected dead letters: reason and key."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What the join counts, in addition to its steps and dead letters."""

    @property
    def request_count(self) -> int:
        """How often the request is sent; each is answered."""
        return sum(isinstance(each.record, Request) for each in self.sent_records)
