"""The join's times, in milliseconds, and its bounds, taken from a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from schemas.event_time import TimeBounds, millis_of
from streams.task import EARLY_BUDGET_BYTES, Task


@dataclass(frozen=True, slots=True)
class JoinRules:
    """See `Task` for what each time means."""

    horizon_ms: int
    revision_horizon_ms: int
    early_horizon_ms: int
    grace_ms: int
    max_ahead_ms: int
    tolerance_ms: int = 0
    early_budget_bytes: int = EARLY_BUDGET_BYTES
    opened: bool = False
    """Whether a policy of the task needs an `opened` entry at each prediction."""
    lockstep: bool = False
    """Whether time advances by punctuations only, and grace is set aside."""
    earliest_ms: int = 0

    @property
    def times(self) -> TimeBounds:
        """The event times that are taken."""
        return TimeBounds(self.earliest_ms, self.max_ahead_ms)

    def cohort(self, request_ts: int) -> int:
        """Give the event time (ms) at which the cohort of a request begins: 256 of them fill a horizon."""
        return request_ts - request_ts % max(1000, self.horizon_ms // 256)

    @classmethod
    def of(cls, task: Task, *, lockstep: bool = False) -> Self:
        """Take the rules from a task."""

        def ms(span: timedelta) -> int:
            return span // timedelta(milliseconds=1)

        return cls(
            horizon_ms=ms(task.horizon),
            revision_horizon_ms=ms(task.revision_horizon),
            early_horizon_ms=ms(task.early_horizon),
            grace_ms=ms(task.grace),
            max_ahead_ms=ms(task.max_ahead),
            tolerance_ms=ms(task.tolerance),
            early_budget_bytes=task.early_budget_bytes,
            lockstep=lockstep,
            earliest_ms=millis_of(task.earliest),
        )
