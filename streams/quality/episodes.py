"""Episodes of what comes in: one open at a time for each feature, whatever its findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from schemas.alert import Alert, Evidence
from streams.quality.judge import MOVED, Finding

DRIFT: Final = "features"
"""The family of all features whose values moved: one cause, one episode."""
RANKS: Final = {"info": 0, "warning": 1, "critical": 2}


@dataclass(slots=True)
class Episode:
    """An open episode."""

    episode: str
    opened_ts: int
    worst: Finding
    signals: list[str]
    alarms: int = 0
    quiet: int = 0
    """Windows without a finding since the last one."""
    windows: int = 0
    """Windows with a finding since it was opened."""
    told: float = 0.0
    """The statistic of the newest alert."""


@dataclass(slots=True)
class Episodes:
    """The open episodes of a task's features.

    Parameters
    ----------
    task
        Its name.
    patience
        After so many windows without a finding an episode is closed.
    """

    task: str
    patience: int
    open: dict[str, Episode] = field(default_factory=dict)

    def take(self, finding: Finding, offset: int, ts: int) -> Iterator[Alert]:
        """Take a finding; gives an alert when it opens an episode, or tells more than it told before."""
        family = family_of(finding)
        episode = self.open.get(family)
        if episode is None:
            name = f"{self.task}/{family}@{offset}"
            episode = self.open[family] = Episode(name, ts, finding, [finding.signal], 1)
            episode.told = finding.evidence.value or 0.0
            yield self._alert(episode, "opened", offset, ts)
            return
        episode.alarms += 1
        episode.quiet = 0
        worse = RANKS[finding.severity] > RANKS[episode.worst.severity]
        new = finding.signal not in episode.signals
        if new:
            episode.signals.append(finding.signal)
        if worse:
            episode.worst = finding
        value = finding.evidence.value or 0.0
        same = finding.evidence.statistic == episode.worst.evidence.statistic
        if new or worse or (same and value > 2 * episode.told):
            episode.told = value
            yield self._alert(episode, "updated", offset, ts, finding)

    def window(self, families: Sequence[str], found: set[str], offset: int, ts: int) -> Iterator[Alert]:
        """Take the end of a window in which these families were judged; closes what has been quiet for long."""
        for family in families:
            episode = self.open.get(family)
            if episode is None:
                continue
            if family in found:
                episode.windows += 1
                continue
            episode.quiet += 1
            if episode.quiet >= self.patience:
                del self.open[family]
                yield self._alert(episode, "closed", offset, ts)

    def close(self, family: str, why: str, offset: int, ts: int) -> Iterator[Alert]:
        """Close an episode for a reason of its own."""
        episode = self.open.pop(family)
        yield replace(self._alert(episode, "closed", offset, ts), text=why)

    def _alert(
        self, episode: Episode, state: Any, offset: int, ts: int, newest: Finding | None = None
    ) -> Alert:
        worst = episode.worst
        told = newest or worst
        return Alert(
            episode=episode.episode,
            state=state,
            severity=worst.severity,
            family=family_of(worst),
            signal=worst.signal,
            direction=worst.direction,
            model="",
            version="",
            feature=worst.feature,
            evidence=told.evidence,
            alarms=episode.alarms,
            held_back=False,
            log_offset=offset,
            ts=ts,
            opened_ts=episode.opened_ts,
            text=told.text if state != "closed" else f"Over: {told.text}",
        )

    def state(self) -> dict[str, Any]:
        """Give the open episodes as plain data."""
        return {
            family: [
                *(each.episode, each.opened_ts, _plain(each.worst), list(each.signals)),
                *(each.alarms, each.quiet, each.windows, each.told),
            ]
            for family, each in self.open.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.open = {
            family: Episode(name, opened_ts, _finding(worst), list(signals), *numbers)
            for family, (name, opened_ts, worst, signals, *numbers) in state.items()
        }


def family_of(finding: Finding) -> str:
    """Give the family of a finding: that of all values that move, its feature's, or its own."""
    if finding.signal in MOVED:
        return DRIFT
    return f"feature.{finding.feature}" if finding.feature else f"requests.{finding.signal}"


def _plain(finding: Finding) -> list[Any]:
    evidence = finding.evidence
    told = [getattr(evidence, name) for name in Evidence.__slots__]
    return [finding.feature, finding.signal, finding.severity, finding.direction, told, finding.text]


def _finding(state: list[Any]) -> Finding:
    feature, signal, severity, direction, evidence, text = state
    return Finding(feature, signal, severity, direction, Evidence(*evidence), text)
