"""What a detector tells: alerts, each one step of an episode, with the evidence."""

from __future__ import annotations

from typing import Literal

from schemas.immutable import record


@record(frozen=True, slots=True)
class Evidence:
    """What an alarm rests on: two windows of one signal, and the test that tells them apart."""

    detector: str
    """What raised it, with its parameters."""
    statistic: str
    """What was compared with the threshold, in words, for example `difference of means`."""
    value: float | None = None
    """The statistic; None for a detector that keeps it to itself."""
    threshold: float | None = None
    """What the statistic had to exceed; None as above."""
    reference: float | None = None
    """The signal's mean before, in the signal's own unit."""
    reference_count: int = 0
    """Events in that window."""
    recent: float | None = None
    """Its mean since."""
    recent_count: int = 0
    """Events in that window."""


@record(frozen=True, slots=True)
class Alert:
    """One step of an episode: something is not as it was."""

    episode: str
    """`task/family@offset`, or `task/learning/model.revision@offset`, the offset being that of the entry that
    opened it: all alerts of an episode carry it, so it is the key to deduplicate by."""
    state: Literal["opened", "updated", "closed"]
    severity: Literal["info", "warning", "critical"]
    """The highest that the episode has had so far."""
    family: str
    """Causes of one family share an episode: `drift`, `delay`, `outage`, `learning`, or that of another watch."""
    signal: str
    """The most telling signal so far, for example `excess_log_loss`."""
    direction: Literal["up", "down", "none"]
    """Where the signal went; `none` when it has no order."""
    model: str
    """The model's name; empty when it concerns all of the task."""
    version: str
    """The version whose score raised it; empty as above."""
    feature: str
    """The feature's name; empty when it is not about one."""
    evidence: Evidence
    """The newest: of the alarm that opened or updated it, at the end the state of its last alarm."""
    alarms: int
    """Alarms that it has gathered so far."""
    held_back: bool
    """Whether a label outage is open, so that labels cannot be judged: do not act on it now."""
    log_offset: int
    """The entry at which this step came."""
    ts: int
    """Event time of that entry."""
    opened_ts: int
    """Event time of the entry that opened the episode."""
    text: str
    """A sentence for a person: what happened and what to look at."""
    request_id: str = ""
    """Of the entry that a model skipped; empty when it is not about one."""
    exception: str = ""
    """What the model's code raised, and where; empty as above."""
