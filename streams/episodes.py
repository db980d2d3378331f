"""Episodes: alarms with one cause, grouped so that the cause is reported once.

An alarm opens the episode of its family, or joins it when one is open. The most telling one leads: its signal,
model and feature stand in front. An alarm that joins is reported when it leads, is worse, or doubles what was
reported before: drift that lasts for months is no stream of messages. An episode closes after a time without
alarms.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Final, Literal, get_args

from schemas.alert import Alert, Evidence

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final = get_args(Severity)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a detector found, and what it means."""

    signal: str
    direction: Literal["up", "down", "none"]
    severity: Severity
    rank: tuple[int, ...]
    """The smallest leads the episode."""
    evidence: Evidence
    text: str
    """A sentence for a person."""
    model: str = ""
    version: str = ""
    feature: str = ""


class Episodes:
    """The episodes of one family: at most one is open.

    Parameters
    ----------
    family
        Causes of one family share an episode.
    cool_down
        Steps without an alarm after which it closes; None: it is closed by `close`.
    doubles
        Reported again when it has doubled: the number of alarms, or the statistic of the leading one; then a
        signal that joins is reported, too.
    """

    def __init__(
        self,
        task: str,
        family: str,
        cool_down: int | None,
        doubles: Literal["alarms", "statistic"] = "alarms",
    ) -> None:
        self.task, self.family, self.cool_down, self.doubles = task, family, cool_down, doubles
        self.opened = 0
        """Episodes so far."""
        self.held_back = False
        self.lead: Alarm | None = None
        """The alarm that leads the open episode; None while none is open."""
        self.severity: Severity = "info"
        """The highest that the newest episode has had."""
        self.opened_ts = 0
        """Event time at which the newest episode opened, ms."""
        self.quiet = 0
        """Steps since the last alarm."""
        self.last_statistic = 0.0
        """The statistic that was published last."""
        self._evidence: Evidence | None = None
        self._offset = self._alarms = 0
        self._signals: list[str] = []

    def alarm(self, alarm: Alarm, offset: int, ts: int) -> Alert | None:
        """Take an alarm raised by the entry at a log offset; opens or updates the episode.

        Parameters
        ----------
        alarm
            What was found.
        offset, ts
            The entry's place in the log and its event time (ms).
        """
        self.quiet = 0
        self._evidence = alarm.evidence
        if self.lead is None:
            self.opened += 1
            self.lead, self._offset, self.opened_ts, self._alarms = alarm, offset, ts, 1
            self.severity, self._signals = alarm.severity, [alarm.signal]
            self.last_statistic = alarm.evidence.value or 0.0
            return self._alert("opened", offset, ts, alarm.text)
        self._alarms += 1
        leads = alarm.rank < self.lead.rank
        if leads:
            self.lead = alarm
        worst = max(self.severity, alarm.severity, key=SEVERITIES.index)
        worse, self.severity = worst != self.severity, worst
        if not (leads or worse or self._news(alarm)):
            return None
        self.last_statistic = alarm.evidence.value or 0.0
        return self._alert("updated", offset, ts, alarm.text)

    def _news(self, alarm: Alarm) -> bool:
        """Whether a further alarm is news."""
        assert self.lead is not None
        if self.doubles == "alarms":
            return self._alarms & (self._alarms - 1) == 0
        if alarm.signal not in self._signals:
            self._signals.append(alarm.signal)
            return True
        same = alarm.evidence.statistic == self.lead.evidence.statistic
        return same and (alarm.evidence.value or 0.0) > 2 * self.last_statistic

    def step(self, offset: int, ts: int, over: str = "") -> Alert | None:
        """Count one step without news; closes the episode when it is time, and says `over` then."""
        if self.lead is None or self.cool_down is None:
            return None
        self.quiet += 1
        if self.quiet < self.cool_down:
            return None
        return self.close(offset, ts, over or f"No further alarm for {self.cool_down} resolutions.")

    def hold(self, held: bool, offset: int, ts: int) -> Alert | None:
        """Hold the episode back, or no longer; tells so when one is open."""
        changed, self.held_back = held != self.held_back, held
        if not changed or self.lead is None:
            return None
        why = (
            "Label alarms are held back during the outage."
            if held
            else "Label alarms are no longer held back."
        )
        return self._alert("updated", offset, ts, why)

    def close(self, offset: int, ts: int, text: str) -> Alert | None:
        """Close the episode, where one is open."""
        if self.lead is None:
            return None
        closing = self._alert("closed", offset, ts, text)
        self.lead = self._evidence = None
        return closing

    def _alert(self, state: Literal["opened", "updated", "closed"], offset: int, ts: int, text: str) -> Alert:
        lead = self.lead
        assert lead is not None
        return Alert(
            episode=f"{self.task}/{self.family}@{self._offset}",
            state=state,
            severity=self.severity,
            family=self.family,
            signal=lead.signal,
            direction=lead.direction,
            model=lead.model,
            version=lead.version,
            feature=lead.feature,
            evidence=self._evidence or lead.evidence,
            alarms=self._alarms,
            held_back=self.held_back,
            log_offset=offset,
            ts=ts,
            opened_ts=self.opened_ts,
            text=text,
        )

    def snapshot(self) -> Any:
        """Give the state: plain data."""
        return (
            *(
                self.opened,
                self.held_back,
                self._offset,
                self.opened_ts,
                self._alarms,
                self.quiet,
                self.severity,
            ),
            *(list(self._signals), self.last_statistic),
            None if self.lead is None else astuple(self.lead),
            None if self._evidence is None else astuple(self._evidence),
        )

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        *plain, lead, evidence = state
        self.opened, self.held_back, self._offset, self.opened_ts, *plain = plain
        self._alarms, self.quiet, self.severity, signals, self.last_statistic = plain
        self._signals = list(signals)
        self._evidence = None if evidence is None else Evidence(*evidence)
        if lead is None:
            self.lead = None
        else:
            signal, direction, severity, rank, found, *rest = lead
            self.lead = Alarm(signal, direction, severity, tuple(rank), Evidence(*found), *rest)
