"""Episodes of what comes in: one open at a time for each feature, whatever its findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.records import Alert, Evidence
from streams.quality.judge import Finding

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
        if new or worse:
            yield self._alert(episode, "updated", offset, ts, finding)

    def window(self, families: Sequence[str], found: set[str], offset: int, ts: int) -> Iterator[Alert]:
        """Take the end of a window in which these families were judged; closes what has been quiet for long."""
        for family in families:
            episode = self.open.get(family)
            if episode is None or family in found:
                continue
            episode.quiet += 1
            if episode.quiet >= self.patience:
                del self.open[family]
                yield self._alert(episode, "closed", offset, ts)

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
            family: [each.episode, each.opened_ts, each.signals, each.alarms, each.quiet, _plain(each.worst)]
            for family, each in self.open.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.open = {
            family: Episode(name, opened_ts, _finding(worst), list(signals), alarms, quiet)
            for family, (name, opened_ts, signals, alarms, quiet, worst) in state.items()
        }


def family_of(finding: Finding) -> str:
    """Give the family of a finding: its feature's, or for what concerns all requests, its own."""
    return f"feature.{finding.feature}" if finding.feature else f"requests.{finding.signal}"


def _plain(finding: Finding) -> list[Any]:
    evidence = finding.evidence
    told = [getattr(evidence, name) for name in Evidence.__slots__]
    return [finding.feature, finding.signal, finding.severity, finding.direction, told, finding.text]


def _finding(state: list[Any]) -> Finding:
    feature, signal, severity, direction, evidence, text = state
    return Finding(feature, signal, severity, direction, Evidence(*evidence), text)
