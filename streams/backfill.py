"""History as entries of the training log: what the join would have said, without a served score.

The same join decides, so that a model learns from history what it would have learned live: each example when
its outcome was due, in the order of (due time, request position), corrections and silences included.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from schemas.errors import UsageError
from schemas.records import Entry, Position, Prediction, Punctuation, Request
from streams.datafile import Event
from streams.driver import unpacked
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.schedule import Sync, schedule
from streams.task import Task

PREFIX: Final = "backfill/"
"""What the id of every backfilled entry begins with."""


class BackfillEntries:
    """The backfill entries of one data file, made as they are asked for.

    Parameters
    ----------
    rows
        Row numbers, from 1, and events; in the order of their request times.
    file
        Short digest of the file; part of the entries' ids.

    Notes
    -----
    A silence counts only if the file reaches its deadline: a request whose horizon ends after the newest time
    in the file may still get its outcome, so it gives no entry and is counted in `open`.

    Examples
    --------
    >>> from datetime import timedelta
    >>> from river import dummy
    >>> from schemas import Dictionary, Number
    >>> from schemas.event_time import EPOCH
    >>> from schemas.records import Outcome, Request
    >>> from streams import Model, Task
    >>> task = Task(
    ...     name="t", question="?", features=Dictionary(Number(name="x")),
    ...     earliest=EPOCH, horizon=timedelta(milliseconds=30), models=(Model("m", dummy.NoChangeClassifier),),
    ... )
    >>> events = [
    ...     (1, Event(Request("a", 0, {}), (Outcome("a", 50, True),))),
    ...     (2, Event(Request("b", 5, {}), (Outcome("b", 9, False),))),
    ...     (3, Event(Request("c", 40, {}), ())),
    ... ]
    >>> history = BackfillEntries(task, events, "0123456789abcdef")
    >>> for entry in history:
    ...     print(entry.entry_id, entry.ts, entry.outcome and entry.outcome.value)
    backfill/0123456789abcdef/2#0 9 False
    backfill/0123456789abcdef/1#0 30 None
    backfill/0123456789abcdef/1#1 50 True
    >>> history.open
    1
    """

    def __init__(self, task: Task, rows: Sequence[tuple[int, Event]], file: str) -> None:
        self._task, self._file = task, file
        self._events = [event for _, event in rows]
        self._row: dict[str, int] = {}
        for number, event in rows:
            name = event.request.request_id
            if name in self._row:
                raise UsageError(
                    f"rows {self._row[name]} and {number} have the same request id {name!r:.80}; outcomes "
                    "could not be assigned"
                )
            self._row[name] = number
        times = [event.request.ts for event in self._events]
        times += [outcome.ts for event in self._events for outcome in event.outcomes]
        self.until = max(times, default=0)
        """Newest time in the file (ms UTC)."""
        self.kinds: Counter[str] = Counter()
        """Facts by kind, as far as they were asked for."""
        self.rejected: Counter[str] = Counter()
        """Outcomes rejected by the join, by reason."""
        self.open = 0
        """Requests whose horizon ends after the file does."""

    def __iter__(self) -> Iterator[Entry]:
        """Give the entries in the order in which they would have been learned."""
        self.kinds, self.rejected, self.open = Counter(), Counter(), 0
        rules = JoinRules.of(self._task, lockstep=True)
        join = Join(rules, MemoryStore(), unpacked, self._task.name, 0)
        made: Counter[str] = Counter()
        places = (Position("", 0, number) for number in itertools.count())
        for step in schedule(self._events, rules.horizon_ms):
            if isinstance(step, Sync):
                for outcome in step.outcomes:
                    join.outcome(outcome, next(places), outcome.ts)
                join.punctuation(Punctuation(min(step.ts, self.until)), next(places))
            else:
                prediction = _unscored(step)
                join.prediction(step.request_id, step.ts, prediction, next(places), step.ts)
            facts, rejected = join.out.entries, join.out.rejected
            join.commit()
            self.rejected.update(each.reason for each in rejected)
            for fact in facts:
                if fact.prediction is not None:
                    self.kinds[fact.kind] += 1
                    yield self._entry(fact, fact.prediction, made)
        self.open = join.waiting

    def _entry(self, fact: Entry, prediction: Prediction, made: Counter[str]) -> Entry:
        name = prediction.request_id
        cause, number = f"{PREFIX}{self._file}/{self._row[name]}", made[name]
        made[name] += 1
        return replace(
            fact,
            entry_id=f"{cause}#{number}",
            kind="backfill",
            trigger=None,
            arrived=None,
            prediction_at=None,
            outcome_at=None,
            corrects=None if fact.corrects is None else f"{cause}#{number - 1}",
        )


def _unscored(request: Request) -> Prediction:
    names = (request.request_id, request.ts, request.features)
    return Prediction(*names, (), entity_key=request.entity_key, parents=request.parents)
