"""The verdict at the top of the page: the task's state, since when, the reasons, and their runbooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from streams.learning_steps import FAMILY
from streams.notify.runbooks import episode

State = Literal["healthy", "degraded", "down"]
ORDER: Final[tuple[State, ...]] = ("healthy", "degraded", "down")
LATE_S: Final = 30.0
"""A stage is late when its lag takes longer than this at its rate."""
STAGES: Final = ("requests", "predictions", "outcomes")
MANY: Final = 1_000
"""A stopped stage is late above this lag, in records."""
STALE_MS: Final = 60_000
"""Metrics are stale above this age while there is a lag."""
REJECTED: Final = 0.01
"""Share of rejected requests above which a task is degraded."""
PAGING: Final = frozenset({"warning", "critical"})
"""Severities of episodes that are more than information."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason why a task is not healthy."""

    state: State
    """The state that it causes: `degraded` or `down`."""
    what: str
    why: str
    runbook: str
    """Name of the page in docs/operations/runbooks/."""
    since: int = 0
    """Event time or clock time of its start, ms; 0: when it was first seen here."""
    since_event: bool = False
    """Whether `since` is event time."""

    @property
    def key(self) -> str:
        """Identity of the reason, without its current figures."""
        return f"{self.runbook} {self.what}"


def readiness_reasons(readiness: Mapping[str, Any]) -> Iterator[Reason]:
    """Yield the reasons why a worker is not ready.

    Parameters
    ----------
    readiness
        As the worker gives it at `/ready`: `ready`, and `why` or `reasons` (texts, or objects with `text` and
        maybe `runbook`).
    """
    if readiness.get("ready"):
        return
    found = readiness.get("reasons") or [readiness.get("why") or "no reason was reported"]
    for each in found:
        if isinstance(each, Mapping):
            why, runbook = str(each.get("text", "")), str(each.get("runbook", "") or "worker-not-ready")
        else:
            why, runbook = str(each), "worker-not-ready"
        yield Reason("down", "This worker is not ready", why, runbook)


def lag_reasons(lag: Mapping[str, int], rates: Mapping[str, float | None]) -> Iterator[Reason]:
    """Yield the stages that are late.

    Parameters
    ----------
    lag
        Records not consumed yet by stage, over all workers.
    rates
        Records consumed per second, by stage.
    """
    # The rates of topics outside the task are not known: they are late as a stopped stage is.
    for stage in dict.fromkeys((*STAGES, *lag)):
        records, speed = lag.get(stage, 0), rates.get(stage) or 0.0
        if records <= 0 or not (records > LATE_S * speed if speed > 0 else records > MANY):
            continue
        time = f", {records / speed:,.0f} s at the current rate" if speed > 0 else ""
        if not speed and stage in STAGES:
            time = "; none are being consumed"
        why = f"The lag is {records:,} records{time}."
        yield Reason("degraded", f"The consumers of {stage} lag", why, "consumer-lag")


def stale_reasons(metrics_at: int, now: int, lag: Mapping[str, int]) -> Iterator[Reason]:
    """Yield a reason when metrics are old although there is a lag."""
    if metrics_at and now - metrics_at > STALE_MS and sum(lag.values()) > 0:
        age, records = (now - metrics_at) / 1000, sum(lag.values())
        why = f"The latest metrics are {age:,.0f} s old, at a lag of {records:,} records."
        yield Reason("degraded", "Metrics are stale", why, "no-owner", metrics_at)


def episode_reasons(episodes: Iterable[Mapping[str, Any]]) -> Iterator[Reason]:
    """Yield the open episodes above severity info."""
    for each in episodes:
        if each["state"] == "closed" or each["severity"] not in PAGING:
            continue
        if each["family"] == FAMILY and each["signal"] == "stopped":
            continue  # `model_reasons` reports it, also long after the alert
        what, runbook = episode(each["family"])
        yield Reason("degraded", what, each["text"], runbook, each["opened_ts"], since_event=True)


def model_reasons(
    models: Iterable[Mapping[str, Any]], failing: Mapping[str, float | None]
) -> Iterator[Reason]:
    """Yield the models that have stopped learning or fail to score requests.

    Parameters
    ----------
    models
        As the worker gives them at `/tasks/{task}/status`.
    failing
        By model: the scores per second that it fails to give.
    """
    for each in models:
        name = f"{each['model']} ({each['role']})"
        if each["stopped"]:
            why = f"At log offset {each['stopped']['offset']}: {each['stopped']['why']}."
            yield Reason("degraded", f"{name} has stopped learning", why, "model-stopped")
        if (speed := failing.get(each["model"]) or 0.0) > 0:
            count = f"{each['failures']:,} since this worker started"
            why = f"It fails to score {speed:.3g} requests/s, {count}."
            yield Reason("degraded", f"{name} fails", why, "model-fails")


def rejection_reasons(rates: Mapping[str, float | None]) -> Iterator[Reason]:
    """Yield a reason when requests are rejected."""
    rejected, answered = rates.get("requests_rejected") or 0.0, rates.get("requests") or 0.0
    if rejected > REJECTED * (rejected + answered):
        share = rejected / (rejected + answered)
        why = f"{share:.1%} of recent requests were rejected."
        yield Reason("degraded", "Requests are rejected", why, "dead-letters")


class Verdict:
    """The current verdict and its start.

    Examples
    --------
    >>> verdict = Verdict()
    >>> verdict.of([], 1_000)["state"], verdict.of([Reason("degraded", "Late", "", "consumer-lag")], 2_000)["since"]
    ('healthy', 2000)
    >>> verdict.of([Reason("degraded", "Late", "7 records", "consumer-lag")], 3_000)["since"]
    2000
    """

    def __init__(self) -> None:
        self._state: State | None = None
        self._since = 0
        self._seen: dict[str, int] = {}

    def of(self, reasons: Sequence[Reason], now: int) -> dict[str, Any]:
        """Return the verdict as plain data; the worst reasons come first.

        Parameters
        ----------
        now
            Clock time, ms.
        """
        state: State = max((each.state for each in reasons), key=ORDER.index, default="healthy")
        if state != self._state:
            self._state, self._since = state, now
        self._seen = {each.key: self._seen.get(each.key, now) for each in reasons}
        worst_first = sorted(reasons, key=lambda each: -ORDER.index(each.state))
        return {
            "state": state,
            "since": self._since,
            "reasons": [
                {
                    "state": each.state,
                    "what": each.what,
                    "why": each.why,
                    "runbook": each.runbook,
                    "since": each.since or self._seen[each.key],
                    "since_event": each.since_event,
                }
                for each in worst_first
            ],
        }
