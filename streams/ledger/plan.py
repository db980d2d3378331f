"""What the ledger plans for one request: what is sent about it, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from schemas.records import Kind, LateBy, Outcome, Request, Value

Side = Literal["requests", "outcomes"]


class Step(NamedTuple):
    """One entry of the training log that must come."""

    kind: Kind
    ts: int
    """The outcome's, or the deadline of an expiry (ms UTC)."""
    value: Value = None
    revision: int | None = None
    late_by: LateBy | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """A record as the world sends it."""

    side: Side
    key: str
    ts: int
    """When it is sent (ms UTC, event time)."""
    record: Request | Outcome | bytes
    """Bytes are sent as they are: they are malformed on purpose."""
    json: bool = False
    """Whether it goes as JSON instead of Avro."""
    movable: bool = False
    """Whether it may lie on a wrong partition without changing what must come: the only outcome of its id."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One request, its fate, and what must be found afterwards."""

    number: int
    fate: str
    request: Request
    sendings: tuple[Sending, ...]
    """In the order in which they are sent; the request itself is among them."""
    steps: tuple[Step, ...]
    """The entries about it, in order; each after the first corrects the one before, an expiry excepted."""
    letters: tuple[tuple[str, str], ...] = ()
    """Dead letters: reason and key."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What the join counts, beside its steps and dead letters."""

    @property
    def asked(self) -> int:
        """How often the request is sent; each is answered."""
        return sum(isinstance(each.record, Request) for each in self.sendings)
