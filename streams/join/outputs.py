"""Outputs of a batch of the join: entries of the log, rejected records, changes of the state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.records import Entry, Kind, LateBy, Outcome, Position, Prediction
from schemas.state import EarlyOutcome, JoinRecord
from streams.join.pending import Changes
from streams.native.table import TableChanges

NOTHING: Final = Position("", 0, 0)


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

    changes: Changes | TableChanges
    """Of what is held; see `streams.join.changelog.records`."""
    entries: list[Entry] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    cause: Position = NOTHING
    """The record that is taken; in an idle advance task, partition and stream time."""
    _cause_id: str = ""
    _idle: bool = False
    _arrived: int | None = None
    _emitted: int = 0
    """Entries of the trigger so far."""

    def begin(self, cause: Position, arrived: int | None = None, *, idle: bool = False) -> None:
        """Begin a record or an idle advance of time: the entries that follow are numbered under it."""
        self.cause, self._cause_id, self._idle = cause, str(cause), idle
        self._arrived, self._emitted = arrived, 0

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
    ) -> int:
        """Add an entry; returns its number among those of the cause.

        Parameters
        ----------
        before
            State of the request before this entry; of a resolved request, the entry corrects its last one.
        """
        number, was = self._emitted, before.resolution if before else None
        self._emitted += 1
        self.entries.append(
            Entry(
                entry_id=f"{self._cause_id}#{number}",
                kind=kind,
                ts=ts,
                trigger=None if self._idle else self.cause,
                arrived=self._arrived,
                prediction_at=prediction_at,
                outcome_at=outcome_at,
                prediction=prediction,
                outcome=outcome,
                corrects=was.entry_id if was else None,
                previous=was.value if was else None,
                previous_kind=was.kind if was else None,
                late_by=late_by,
                partition=partition,
            )
        )
        return number
