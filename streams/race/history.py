"""What models of a race learn from and are asked, the same for all: a log without anybody's scores."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.errors import BadRecord
from schemas.records import Entry, Position, Prediction, Punctuation, Request, ScoreValue
from streams.datafile import Event
from streams.driver import unpacked
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.schedule import Sync, schedule
from streams.snapshot import dump
from streams.task import Task
from streams.task_model import Model


@dataclass(frozen=True, slots=True)
class History:
    """Facts of a log in its order, and the requests between them."""

    entries: tuple[Entry, ...]
    """Without commands; the scores of their predictions are not read."""
    requests: tuple[Prediction, ...]
    """In the order in which they were made, each once."""
    places: tuple[int, ...]
    """Of each request: how many entries a model had learned from when it was asked."""

    @property
    def digest(self) -> str:
        """Digest of what a model sees (16 hex digits)."""
        found = hashlib.sha256()
        for entry in self.entries:
            outcome, prediction = entry.outcome, entry.prediction
            value = None if outcome is None else outcome.value
            name = "" if prediction is None else prediction.request_id
            found.update(repr((entry.kind, entry.ts, name, value)).encode())
        for place, each in zip(self.places, self.requests, strict=True):
            found.update(repr((place, each.request_id, each.ts, dict(each.features))).encode())
        return found.hexdigest()[:16]


def from_events(task: Task, events: Iterable[Event]) -> History:
    """Join a file's events as `MemoryDriver` does, without models.

    Parameters
    ----------
    events
        In the order of their request times.
    """
    join = Join(JoinRules.of(task, lockstep=True), MemoryStore(), unpacked, task.name, 0)
    entries, requests, places = list[Entry](), list[Prediction](), list[int]()
    reported = 0

    def done() -> None:
        entries.extend(join.out.entries)
        join.commit()

    for step in schedule(events, join.rules.horizon_ms):
        if not isinstance(step, Sync):
            try:
                join.rules.times.check(step.ts, step.ts)
            except BadRecord:
                continue  # as in a backtest: it has no prediction
            found = _prediction(step, len(entries) - 1)
            at = Position("predictions", 0, len(requests))
            requests.append(found)
            places.append(len(entries))
            join.prediction(step.request_id, step.ts, found, at, step.ts, "")
            done()
            continue
        for outcome in step.outcomes:
            join.outcome(outcome, Position("outcomes", 0, reported), outcome.ts)
            reported += 1
            done()
        join.punctuation(Punctuation(step.ts), Position("outcomes", 0, reported))
        reported += 1
        join.stamp()
        done()
    return History(tuple(entries), tuple(requests), tuple(places))


def _prediction(request: Request, applied: int) -> Prediction:
    about = request.request_id, request.ts, request.features, (), None, request.entity_key, request.parents
    return Prediction(*about, 1.0, applied)


def from_log(log: Iterable[tuple[int, Entry]]) -> History:
    """Take the facts of a training log; requests lie where their workers had read the log up to.

    Parameters
    ----------
    log
        Offset and entry, in the order of the log. Requests that have no entry yet are not in it.
    """
    entries, offsets, made = list[Entry](), list[int](), dict[str, tuple[int, Prediction]]()
    for offset, entry in log:
        if entry.kind == "command":
            continue
        prediction = entry.prediction
        if prediction is not None and prediction.scores and prediction.log_offset is not None:
            bare = replace(prediction, scores=())
            made.setdefault(prediction.request_id, (prediction.log_offset, bare))
            entry = replace(entry, prediction=bare)  # noqa: PLW2901  the same entry without scores
        entries.append(entry)
        offsets.append(offset)
    ordered = sorted(made.values(), key=lambda each: (each[0], each[1].ts, each[1].request_id))
    places, at = list[int](), 0
    for applied, _ in ordered:
        while at < len(offsets) and offsets[at] <= applied:
            at += 1
        places.append(at)
    return History(tuple(entries), tuple(each for _, each in ordered), tuple(places))


class Part(NamedTuple):
    """What a model says and knows after a part of a history."""

    scores: list[ScoreValue]
    """Of the requests that were made before the part's entries, one after the other."""
    state: bytes
    """From which the next part goes on."""
    digest: str
    """Of the model's state."""
    learned: int
    """Examples since the beginning."""


def run_part(
    task: Task,
    model: Model,
    history: History,
    start: int,
    end: int,
    state: bytes | None,
    classes: Sequence[type] = (),
) -> Part:
    """Let a model answer and learn from the entries `[start, end)`.

    Parameters
    ----------
    start, end
        Numbers of entries; the requests after the last entry belong to the last part.
    state
        After the part before; None at the beginning.
    classes
        The task file's own, of which a state may hold objects.
    """
    fold = ModelFold(replace(task, models=(model,), challengers=None, gate=None, fallback=None), model)
    if state is not None:
        fold.restore(ModelState.load(state, model, classes))
    fold.prepare()
    scores = list[ScoreValue]()
    asked = _asked(history, start, end)
    upcoming = next(asked, None)
    for number in range(start, end):
        while upcoming is not None and upcoming[0] <= number:
            scores.append(fold.predict(upcoming[1].features).score)
            upcoming = next(asked, None)
        fold.apply(number, history.entries[number])
    while upcoming is not None:
        scores.append(fold.predict(upcoming[1].features).score)
        upcoming = next(asked, None)
    return Part(scores, dump(fold.snapshot().values()), fold.digest, fold.learned)


def _asked(history: History, start: int, end: int) -> Iterator[tuple[int, Prediction]]:
    for number in asked_in(history, start, end):
        yield history.places[number], history.requests[number]


def asked_in(history: History, start: int, end: int) -> range:
    """Return the numbers of the requests that belong to the entries `[start, end)`."""
    last = end >= len(history.entries)
    first = bisect_left(history.places, start)
    return range(first, len(history.places) if last else bisect_left(history.places, end))
