"""A model that learns: an example on which its code raises leaves no trace in its state."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, cast

from river import base

from schemas.records import Features
from streams.failures import NotFinite, check_finite, describe, is_own
from streams.finite import count_not_finite, is_huge
from streams.garbage import without_collection

LEAST_KEPT: Final = 256
MOST_KEPT: Final = 10_000
OBJECTS_PER_EXAMPLE: Final = 8
"""A copy of the state is taken after as many examples as it has objects, divided by this, within the bounds
above: so copying costs a small part of learning, however large the state is."""
RATE_OVER: Final = 1000
"""Labelled entries over which the rate of those passed over is measured."""
NEWEST: Final = 20
"""Entries passed over that a state lists, newest last; the others are counted."""


class PassedOver(NamedTuple):
    """An entry that a model has not learned from, because its code raised."""

    offset: int
    request_id: str
    exception: str
    """Its type and place."""


class Stopped(NamedTuple):
    """Where and why a model has stopped to learn."""

    offset: int
    """The last entry that it was given."""
    why: str


class Learner:
    """An estimator and the examples that it has learned, one by one, wholly or not at all.

    River's `learn_one` changes a model step by step and cannot undo. So a copy of the state some hundred
    examples back is kept with the examples since: when `learn_one` raises, or the model then has no finite score
    for that same example, the state before it is made again from them.

    Parameters
    ----------
    estimator
        With nothing learned yet.
    kind
        What the outcome is, as in `Task`.
    most
        Entries passed over among the last 1,000 labelled ones; with one more the model stops learning.
    """

    def __init__(self, estimator: base.Estimator, kind: str, most: int) -> None:
        self.estimator = estimator
        self._ask: Literal["predict_one", "predict_proba_one"]
        self._ask = "predict_one" if kind == "regression" else "predict_proba_one"
        self._most = most
        self.learned = 0
        self.passed_over = 0
        """Entries, altogether."""
        self.recent: tuple[int, ...] = ()
        """Of those among the last 1,000 labelled entries: the number of each labelled entry."""
        self.newest: tuple[PassedOver, ...] = ()
        self.stopped: Stopped | None = None
        self.inside = False
        """Whether the state is that of the middle of an example: nothing may be done with it any more."""
        self._base: Any = None
        self._since: deque[tuple[Features, Any]] = deque()
        self._every = 0

    def learn(self, offset: int, request_id: str, features: Features, value: Any) -> bool:
        """Learn an example; gives whether it was learned.

        Parameters
        ----------
        offset, request_id
            Of the entry, to name it when it is passed over.
        features
            The model's `x`.
        value
            Its label.
        """
        if self._base is None or len(self._since) >= self._every:
            self._keep()
        self.inside = True
        try:
            self._one(self.estimator, features, value)
        except BaseException as error:
            if not is_own(error):
                raise
            self._rebuild(offset)
            self.inside = False
            self.pass_over(PassedOver(offset, request_id, describe(error)))
            return False
        self.inside = False
        self._since.append((features, value))
        self.learned += 1
        return True

    def pass_over(self, entry: PassedOver) -> None:
        """Count an entry as passed over; above the rate the model stops learning."""
        self.passed_over += 1
        number = self.learned + self.passed_over
        self.recent = (*(each for each in self.recent if each > number - RATE_OVER), number)
        self.newest = (*self.newest, entry)[-NEWEST:]
        if len(self.recent) > self._most and self.stopped is None:
            count = (
                f"{len(self.recent)} of the last {min(number, RATE_OVER):,} labelled entries were passed over"
            )
            self.stopped = Stopped(entry.offset, f"{count}, more than {self._most}; last: {entry.exception}")

    def _one(self, estimator: Any, features: Features, value: Any) -> None:
        # Such an example spoils a mean or a variance at once, and the scores some examples later.
        huge = is_huge(features, value)
        before = count_not_finite(estimator) if huge else 0
        # A dict for each call: code of the task file may change it.
        estimator.learn_one(dict(features), value)
        if huge and count_not_finite(estimator) > before:
            raise NotFinite("a number of the state is no finite number any more")
        check_finite(getattr(estimator, self._ask)(dict(features)))

    def _keep(self) -> None:
        memo: dict[int, Any] = {}
        with without_collection():
            self._base = copy.deepcopy(self.estimator, memo)
        self._every = min(max(len(memo) // OBJECTS_PER_EXAMPLE, LEAST_KEPT), MOST_KEPT)
        self._since.clear()

    def _rebuild(self, offset: int) -> None:
        rebuilt = copy.deepcopy(self._base)
        try:
            for features, value in self._since:
                self._one(rebuilt, features, value)
        except BaseException as error:
            if not is_own(error):
                raise
            # The same code, state and examples gave no exception before: it depends on something else.
            self.stopped = Stopped(offset, f"its state cannot be made again: {describe(error)}")
            rebuilt = copy.deepcopy(self._base)
        self.estimator = cast(base.Estimator, rebuilt)
        self._keep()

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """Give what was passed over, as plain data."""
        return {
            "passed_over": self.passed_over,
            "recent": list(self.recent),
            "newest": [list(each) for each in self.newest],
            "stopped": None if self.stopped is None else list(self.stopped),
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        if not isinstance(state, dict) or set(state) != {"passed_over", "recent", "newest", "stopped"}:
            return False
        recent, newest, stopped = state["recent"], state["newest"], state["stopped"]
        return (
            type(state["passed_over"]) is int
            and type(recent) is list
            and all(type(each) is int for each in recent)
            and type(newest) is list
            and all(_types(each) == [int, str, str] for each in newest)
            and (stopped is None or _types(stopped) == [int, str])
        )

    def restore(self, estimator: base.Estimator, learned: int, state: Mapping[str, Any]) -> None:
        """Go on from a state that `snapshot` gave, and the estimator of then."""
        self.estimator, self.learned, self.inside = estimator, learned, False
        self.passed_over, self.recent = state["passed_over"], tuple(state["recent"])
        self.newest = tuple(PassedOver(*each) for each in state["newest"])
        self.stopped = None if state["stopped"] is None else Stopped(*state["stopped"])
        self._base = None
        self._since.clear()


def _types(values: Any) -> list[type]:
    return [type(each) for each in values] if type(values) is list else []
