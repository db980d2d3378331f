"""What the join writes to `T.join-state`, so that a restart finds it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal

from schemas.immutable import record
from schemas.records import Kind, LateBy, Outcome, Position, Prediction, Value

POSITION_KEY: Final = b"\0position"
"""Reserved key of `JoinPosition`; no request_id starts with NUL."""

RESOLVED: Final = b"\0resolved\0"
"""Before the request_id: the reserved key of its `Resolution`."""

Payload = bytes | Prediction
"""A prediction as it is held: its encoded record, or in the in-memory driver the record itself."""


@record(frozen=True, slots=True)
class EarlyOutcome:
    """An outcome that came before its prediction."""

    outcome: Outcome
    at: Position
    """Where it lies."""
    arrived: int
    """Kafka's timestamp of the outcome (arrival)."""


@record(frozen=True, slots=True)
class JoinRecord:
    """What the join holds about one request; the record's key is the request_id."""

    status: Literal["early", "waiting", "closed"]
    """Outcomes without a prediction, a prediction without an outcome, or resolved and remembered."""
    prediction: Payload | None = None
    """The prediction's bytes as they lie on `T.predictions`; None while early."""
    prediction_at: Position | None = None
    request_ts: int | None = None
    """Event time of the request; None while early."""
    entry_id: str | None = None
    """`closed`: the last entry about the request."""
    late_by: LateBy | None = None
    """`closed`: set once an outcome came after the expiry, and kept through its corrections."""
    kind: Kind | None = None
    """`closed`: that entry's kind."""
    value: Value = None
    """`closed`: the active outcome's value."""
    revision: int | None = None
    """`closed`: the active outcome's revision."""
    outcome_ts: int | None = None
    """`closed`: event time of the active outcome."""
    early: tuple[EarlyOutcome, ...] = ()
    """`early`: the outcomes, in offset order."""


@record(frozen=True, slots=True)
class Resolution:
    """How a request was resolved; with the prediction that lies under its request_id, a closed `JoinRecord`."""

    entry_id: str
    """The last entry about the request."""
    kind: Kind
    """That entry's kind."""
    late_by: LateBy | None = None
    """Set once an outcome came after the expiry, and kept through its corrections."""
    value: Value = None
    """The outcome's active value."""
    revision: int | None = None
    """The outcome's active revision."""
    outcome_ts: int | None = None
    """Event time of the active outcome."""


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


def type_of(key: bytes) -> type[StateRecord]:
    """Give what lies on `T.join-state` under a key."""
    if key.startswith(RESOLVED):
        return Resolution
    return JoinPosition if key == POSITION_KEY else JoinRecord
