"""What the join writes to `T.join-state`, and serving to `T.aggregates`, so that a restart finds it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal

from schemas.immutable import record
from schemas.records import FeatureValue, Kind, LateBy, Outcome, Position, Prediction, Value

POSITION_KEY: Final = b"\0position"
"""Reserved key of `JoinPosition` and `AggregatesPosition`; no request_id starts with NUL."""

RESOLVED: Final = b"\0r"
"""Before the request_id: the reserved key of its `Resolution`."""


class Held(bytes):
    """The Avro form of a prediction, without a header and without the request_id, which is the state's key."""

    __slots__ = ()


Payload = bytes | Prediction
"""A prediction as the join holds it: `Held`, the whole record's bytes where they have another form, or a record."""


@record(frozen=True, slots=True)
class EarlyOutcome:
    """An outcome that came before its prediction."""

    outcome: Outcome
    at: Position
    """Where it lies."""
    arrived: int
    """Kafka's timestamp of the outcome (arrival)."""


@record(frozen=True, slots=True)
class Resolution:
    """How a request was resolved."""

    trigger: Position
    """The record that caused the last entry about the request; or, while idle, task, partition and stream time."""
    index: int
    """Number of that entry among those of its trigger, 0 or more."""
    kind: Kind
    """That entry's kind."""
    late_by: LateBy | None = None
    """Set once an outcome came after the expiry, and kept through its corrections."""
    value: Value = None
    """The outcome's active value."""
    revision: int | None = None
    """The outcome's active revision."""
    delay_ms: int | None = None
    """From the event time of the request to that of the active outcome."""

    @property
    def entry_id(self) -> str:
        """The last entry about the request."""
        return f"{self.trigger}#{self.index}"


@record(frozen=True, slots=True)
class JoinRecord:
    """What the join holds about one request; the record's key is the request_id."""

    prediction_at: Position | None = None
    """None while early."""
    request_ts: int | None = None
    """Event time of the request; None while early."""
    resolution: Resolution | None = None
    """None before the request is resolved."""
    early: tuple[EarlyOutcome, ...] = ()
    """Outcomes that arrived before the prediction, in offset order."""
    prediction: Payload | None = None
    """None while early."""

    @property
    def status(self) -> Literal["early", "waiting", "closed"]:
        """Outcomes without a prediction, a prediction without an outcome, or resolved and remembered."""
        if self.resolution is not None:
            return "closed"
        return "early" if self.prediction is None else "waiting"


@record(frozen=True, slots=True)
class JoinPosition:
    """How far the join is with a partition; written in every batch's transaction."""

    stream_time: int | None
    """Highest prediction ts taken, or the advance in silence since; None: nothing taken yet."""
    predictions: int
    """Next offset to read of `T.predictions`."""
    outcomes: int
    """Next offset to read of `T.outcomes`."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """How often each row of the join's table applied."""
    predictions_id: str = ""
    """Id of the topic that the offset of `T.predictions` is of; empty: not known."""
    outcomes_id: str = ""
    """Id of the topic that the offset of `T.outcomes` is of; empty: not known."""


StateRecord = JoinRecord | Resolution | JoinPosition
"""What lies on `T.join-state`."""


@record(frozen=True, slots=True)
class CountedRequest:
    """A request that counts in the aggregates of its entity; the record's key is the request_id."""

    entity: str
    """Whose it is, as a text."""
    ts: int
    """Event time of the request."""
    offset: int
    """Its offset in the partition of `T.requests` with this partition's number."""
    values: Mapping[str, FeatureValue] = field(default_factory=dict)
    """Its values of the features that are aggregated; a missing one has no key."""


@record(frozen=True, slots=True)
class AggregatesPosition:
    """How far the aggregates of a partition are; written in every batch's transaction."""

    stream_time: int | None
    """Newest event time of the requests taken; None: nothing taken yet."""
    requests: int
    """Next offset to read of `T.requests`."""
    requests_id: str = ""
    """Id of the topic that the offset is of; empty: not known."""
    by: str = ""
    """What names the entity."""


AggregateRecord = CountedRequest | AggregatesPosition
"""What lies on `T.aggregates`."""


def type_of(key: bytes) -> type[StateRecord]:
    """Give what lies on `T.join-state` under a key."""
    if key.startswith(RESOLVED):
        return Resolution
    return JoinPosition if key == POSITION_KEY else JoinRecord
