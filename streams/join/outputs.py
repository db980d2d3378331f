"""Outputs of a batch of the join: entries of the log, rejected records, changes of the state."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.records import Entry, Kind, LateBy, Outcome, Position, Prediction
from schemas.state import EarlyOutcome, JoinRecord
from streams.join.pending import Changes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the join cannot use; it becomes a dead letter."""

    reason: str
    message: str
    at: Position
    """Where the rejected record lies."""
    early: EarlyOutcome | None = None
    """The outcome itself, when it was buffered meanwhile: it may have been read in an earlier batch."""


@dataclass(slots=True)
class Outputs:
    """What a batch gives: to be written in one transaction, then `commit`ted, or dropped."""

    changes: Changes
    """Of what is held; see `streams.join.changelog.records`."""
    entries: list[Entry] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    _trigger: Position | None = None
    _trigger_id: str = ""
    _arrived: int | None = None
    _emitted: int = 0
    """Entries of the trigger so far."""

    def begin(self, trigger: Position | str, arrived: int | None = None) -> None:
        """Begin a record or, with an id, an advance of time: the entries that follow are numbered under it."""
        self._trigger = None if isinstance(trigger, str) else trigger
        self._trigger_id, self._arrived, self._emitted = str(trigger), arrived, 0

    def emit(
        self,
        kind: Kind,
        ts: int,
        prediction: Prediction | None = None,
        prediction_at: Position | None = None,
        outcome: Outcome | None = None,
        outcome_at: Position | None = None,
        *,
        before: JoinRecord | None = None,
        late_by: LateBy | None = None,
        partition: int | None = None,
    ) -> str:
        """Add an entry; returns its id.

        Parameters
        ----------
        before
            State of the request before this entry; of a resolved request, the entry corrects its last one.
        """
        entry_id = f"{self._trigger_id}#{self._emitted}"
        self._emitted += 1
        self.entries.append(
            Entry(
                entry_id=entry_id,
                kind=kind,
                ts=ts,
                trigger=self._trigger,
                arrived=self._arrived,
                prediction_at=prediction_at,
                outcome_at=outcome_at,
                prediction=prediction,
                outcome=outcome,
                corrects=before.entry_id if before else None,
                previous=before.value if before else None,
                previous_kind=before.kind if before else None,
                late_by=late_by,
                partition=partition,
            )
        )
        return entry_id
