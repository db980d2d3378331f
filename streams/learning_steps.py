"""The steps of an episode in which a model does not learn: what the log's owner publishes of it, each once."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from schemas.alert import Alert, Evidence
from schemas.escaped import harmless

FAMILY: Final = "learning"
"""The family of their episodes, and the key of their alerts on `T.alerts`."""
RATE_OVER: Final = 1000
"""Labelled entries over which the rate of those skipped is measured; as many learned ones end an episode."""
KEPT: Final = 200
"""Steps that a state holds, newest last: more than the owner can be behind the models."""


class Step(NamedTuple):
    """Something to be published of a model that does not learn: plain data."""

    state: Literal["opened", "updated", "closed"]
    signal: Literal["skipped", "stopped"]
    severity: Literal["info", "warning"]
    """The highest that the episode has had, as far as entries skipped make it."""
    offset: int
    """The entry at which the step came."""
    ts: int
    """Its event time, ms."""
    request_id: str
    """Of the entry that was skipped; empty when the episode closes."""
    text: str
    """The exception, or why the model stopped; empty when the episode closes."""
    learned_to: int
    """The newest entry that the model had learned."""
    alarms: int
    """Entries skipped in this episode, so far."""
    recent: int
    """Those among the last 1,000 labelled entries."""
    opened_offset: int
    opened_ts: int


def alert_of(step: Step, task: str, model: str, revision: int, served: bool, most: int) -> Alert:
    """Make the alert of a step.

    Parameters
    ----------
    task, model, revision
        Whose it is.
    served
        Whether the model's score is the answer: that it has stopped is worse then.
    """
    stopped, closed = step.signal == "stopped", step.state == "closed"
    if closed:
        text = f"{model} has learned the last {RATE_OVER:,} labelled entries."
    elif stopped:
        text = f"{model} has stopped learning at log offset {step.offset}: {step.text}."
    else:
        text = (
            f"{model} skips log offset {step.offset}, request {harmless(step.request_id)}: {step.text}. "
            f"{step.recent} of its last {RATE_OVER:,} labelled entries; above {most} it stops learning."
        )
    statistic = f"entries skipped of the last {RATE_OVER:,} labelled"
    return Alert(
        episode=f"{task}/{FAMILY}/{model}.{revision}@{step.opened_offset}",
        state=step.state,
        severity=("critical" if served else "warning") if stopped else step.severity,
        family=FAMILY,
        signal=step.signal,
        direction="none",
        model=model,
        version=f"{model}.{revision}@{step.learned_to}",
        feature="",
        evidence=Evidence("code of the task file", statistic, float(step.recent), float(most)),
        alarms=step.alarms,
        held_back=False,
        log_offset=step.offset,
        ts=step.ts,
        opened_ts=step.opened_ts,
        text=text,
        request_id=step.request_id,
        exception="" if closed or stopped else step.text,
    )


_TYPES: Final = [str, str, str, int, int, str, str, int, int, int, int, int]
_STATES: Final = {
    "state": ("opened", "updated", "closed"),
    "signal": ("skipped", "stopped"),
    "severity": ("info", "warning"),
}


class Steps:
    """The episodes of one model, and the newest steps of them.

    Parameters
    ----------
    most
        Entries skipped among the last 1,000 labelled ones; with one more the model stops learning.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.newest: tuple[Step, ...] = ()
        self.is_open = False
        """Whether the last step did not close its episode."""
        self._quiet = 0

    def skipped(
        self, offset: int, ts: int, request_id: str, exception: str, learned_to: int, recent: int
    ) -> None:
        """Take an entry that was skipped; opens an episode, or updates the open one."""
        self._quiet = 0
        last = self.newest[-1] if self.is_open else None
        many = 2 * recent > self._most or (last is not None and last.severity == "warning")
        self._add(
            Step(
                "updated" if last else "opened",
                "skipped",
                "warning" if many else "info",
                *(offset, ts, request_id, exception, learned_to),
                last.alarms + 1 if last else 1,
                recent,
                *((last.opened_offset, last.opened_ts) if last else (offset, ts)),
            )
        )

    def stopped(self, why: str) -> None:
        """Take that the model has stopped learning with the entry that it skipped last."""
        self._add(self.newest[-1]._replace(state="updated", signal="stopped", text=why))

    def learned(self, offset: int, ts: int) -> None:
        """Take an entry that was learned while an episode is open; closes it after 1,000 of them."""
        self._quiet += 1
        if self._quiet < RATE_OVER:
            return
        ending = {"offset": offset, "ts": ts, "learned_to": offset, "request_id": "", "text": "", "recent": 0}
        self._add(self.newest[-1]._replace(state="closed", **ending))  # type: ignore[arg-type]  # as named above

    @property
    def left(self) -> int:
        """How many entries may be learned before the one that closes the open episode."""
        return RATE_OVER - 1 - self._quiet

    def learned_many(self, count: int) -> None:
        """Take that entries were learned while an episode is open; at most `left`."""
        self._quiet += count

    def _add(self, step: Step) -> None:
        self.newest = (*self.newest, step)[-KEPT:]
        self.is_open = step.state != "closed"

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """Give the state: plain data."""
        return {"quiet": self._quiet, "newest": [list(each) for each in self.newest]}

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        return (
            type(state) is dict
            and set(state) == {"quiet", "newest"}
            and type(state["quiet"]) is int
            and type(state["newest"]) is list
            and all(_is_step(each) for each in state["newest"])
        )

    def restore(self, state: Any) -> None:
        """Go on from a state that `snapshot` gave."""
        self._quiet = state["quiet"]
        self.newest = tuple(Step(*each) for each in state["newest"])
        self.is_open = bool(self.newest) and self.newest[-1].state != "closed"


def _is_step(values: Any) -> bool:
    if type(values) is not list or [type(each) for each in values] != _TYPES:
        return False
    step = Step(*values)
    return all(getattr(step, name) in known for name, known in _STATES.items())
