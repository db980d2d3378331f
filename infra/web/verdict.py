"""The verdict with which the page begins: is the task healthy, since when, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from streams.learning_steps import FAMILY

State = Literal["healthy", "degraded", "down"]
ORDER: Final[tuple[State, ...]] = ("healthy", "degraded", "down")
LATE_S: Final = 30.0
"""A stage that needs longer than this for what lies in front of it is late."""
MANY: Final = 1_000
"""Records in front of a stage that stands still."""
STALE_MS: Final = 60_000
"""Metrics that are older, while there is something to measure, are no news."""
REFUSED: Final = 0.01
"""Share of the requests of late above which refusals degrade a task."""
PAGING: Final = frozenset({"warning", "critical"})
"""Severities of episodes that are more than information."""
EPISODES: Final[Mapping[str, tuple[str, str]]] = {
    "outage": ("No outcomes arrive", "label-outage"),
    "loss": ("The answers are worse than of late", "loss-episode"),
    "drift": ("The model or its world has moved", "drift-episode"),
    FAMILY: ("A model does not learn from some entries", "model-passes-over"),
    "delay": ("Outcomes come at another pace", "drift-episode"),
}
"""By family: what it is, and its runbook. All others concern the requests."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not as it should be."""

    state: State
    """What it makes of the task: `degraded` or `down`."""
    what: str
    why: str
    runbook: str
    """Name of the page in docs/operations/runbooks/."""
    since: int = 0
    """Event time or clock time at which it began, ms; 0: since it was first seen here."""
    since_event: bool = False
    """Whether `since` is event time."""

    @property
    def key(self) -> str:
        """What it is, whatever its figures say now."""
        return f"{self.runbook} {self.what}"


def readiness_reasons(readiness: Mapping[str, Any]) -> Iterator[Reason]:
    """Give the reasons for which a worker is not ready.

    Parameters
    ----------
    readiness
        As the worker gives it at `/ready`: `ready`, and `why` or `reasons` (texts, or objects with `text` and
        maybe `runbook`).
    """
    if readiness.get("ready"):
        return
    found = readiness.get("reasons") or [readiness.get("why") or "it does not say why"]
    for each in found:
        if isinstance(each, Mapping):
            why, runbook = str(each.get("text", "")), str(each.get("runbook", "") or "worker-not-ready")
        else:
            why, runbook = str(each), "worker-not-ready"
        yield Reason("down", "This worker does not answer requests", why, runbook)


def lag_reasons(behind: Mapping[str, int], rates: Mapping[str, float | None]) -> Iterator[Reason]:
    """Give the stages that are late.

    Parameters
    ----------
    behind
        Records that wait in front of each stage, by all workers.
    rates
        Records per second that each of them takes.
    """
    for stage, rate in (("requests", "requests"), ("predictions", "predictions"), ("outcomes", "outcomes")):
        waiting, speed = behind.get(stage, 0), rates.get(rate) or 0.0
        if waiting <= 0 or not (waiting > LATE_S * speed if speed > 0 else waiting > MANY):
            continue
        time = f", {waiting / speed:,.0f} s at their pace" if speed > 0 else ", and none is taken"
        why = f"{waiting:,} records wait on the topic{time}."
        yield Reason("degraded", f"The {stage} are behind", why, "consumer-lag")


def stale_reasons(metrics_at: int, now: int, behind: Mapping[str, int]) -> Iterator[Reason]:
    """Say that there is no news, where there should be some."""
    if metrics_at and now - metrics_at > STALE_MS and sum(behind.values()) > 0:
        age, waiting = (now - metrics_at) / 1000, sum(behind.values())
        why = f"The newest metrics are {age:,.0f} s old, and {waiting:,} records wait."
        yield Reason("degraded", "What is measured is old", why, "no-owner", metrics_at)


def episode_reasons(episodes: Iterable[Mapping[str, Any]]) -> Iterator[Reason]:
    """Give the open episodes that are more than information."""
    for each in episodes:
        if each["state"] == "closed" or each["severity"] not in PAGING:
            continue
        if each["family"] == FAMILY and each["signal"] == "stopped":
            continue  # the models themselves say so, also when the alert is long past: see `model_reasons`
        what, runbook = EPISODES.get(
            each["family"], ("Requests are not as they should be", "quality-episode")
        )
        yield Reason("degraded", what, each["text"], runbook, each["opened_ts"], since_event=True)


def model_reasons(
    models: Iterable[Mapping[str, Any]], failing: Mapping[str, float | None]
) -> Iterator[Reason]:
    """Give the models that have stopped learning, or give no score for some requests.

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
            why = f"It gives no score for {speed:.3g} requests a second, {count}."
            yield Reason("degraded", f"{name} fails", why, "model-fails")


def refusal_reasons(rates: Mapping[str, float | None]) -> Iterator[Reason]:
    """Say that requests are refused."""
    refused, answered = rates.get("requests_refused") or 0.0, rates.get("requests") or 0.0
    if refused > REFUSED * (refused + answered):
        share = refused / (refused + answered)
        why = f"{share:.1%} of the requests of the last seconds were refused."
        yield Reason("degraded", "Requests are refused", why, "dead-letters")


class Verdict:
    """Says how a task is, and remembers since when.

    Examples
    --------
    >>> verdict = Verdict()
    >>> verdict.of([], 1_000)["state"], verdict.of([Reason("degraded", "Late", "", "consumer-lag")], 2_000)["since"]
    ('healthy', 2000)
    >>> verdict.of([Reason("degraded", "Late", "7 wait", "consumer-lag")], 3_000)["since"]
    2000
    """

    def __init__(self) -> None:
        self._state: State | None = None
        self._since = 0
        self._seen: dict[str, int] = {}

    def of(self, reasons: Sequence[Reason], now: int) -> dict[str, Any]:
        """Give the verdict in JSON's types: the worst of the reasons, which come the worst first.

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
