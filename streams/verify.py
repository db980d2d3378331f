"""What must hold between a task's records if its history is whole: rules without I/O, one record at a time.

They are written anew rather than borrowed from the join: a proof that runs the code it judges proves nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from schemas.records import Entry, Kind, LateBy, Outcome, Position, Prediction, Score, ScoreValue, Value
from schemas.state import JoinPosition
from streams.failures import type_of
from streams.join.join_rules import JoinRules
from streams.positions import plain
from streams.roles import Roles

ROOTS: Final = frozenset({"labelled", "expired", "unavailable"})
"""What a chain of facts about a prediction begins with; an `unavailable` may also correct."""


class Difference(NamedTuple):
    """One thing that does not hold."""

    what: str
    """A sentence."""
    where: str
    """The record: topic[partition]@offset, a version."""
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log says about a prediction after an entry."""

    entry_id: str
    kind: Kind
    value: Value
    revision: int | None
    outcome_ts: int | None
    late_by: LateBy | None = None

    @classmethod
    def of(cls, entry: Entry) -> Standing:
        """Give what stands after an entry."""
        outcome = entry.outcome
        if outcome is None:
            return cls(entry.entry_id, entry.kind, None, None, None)
        return cls(entry.entry_id, entry.kind, outcome.value, outcome.revision, outcome.ts, entry.late_by)


# ---------------------------------------------------------------------- entries


def check_entry(entry: Entry, where: str, rules: JoinRules) -> Iterator[Difference]:
    """Check what an entry says by itself: that its parts are there, agree, and give its kind.

    Parameters
    ----------
    where
        Its place in the log, for messages.
    rules
        The task's times: an entry that was made under other times differs.
    """

    def differs(what: str, expected: object, found: object) -> Difference:
        return Difference(f"{entry.kind} entry {entry.entry_id}: {what}", where, str(expected), str(found))

    if entry.kind in {"command", "time"}:
        wanted = entry.command if entry.kind == "command" else entry.partition
        if wanted is None or entry.prediction is not None or entry.outcome is not None:
            yield differs("it has a command or a partition and no example", "a command or partition", wanted)
        return
    prediction, outcome = entry.prediction, entry.outcome
    if prediction is None:
        yield differs("it has no prediction", "a prediction", None)
        return
    if outcome is not None and outcome.request_id != prediction.request_id:
        yield differs(
            "prediction and outcome belong to different requests", prediction.request_id, outcome.request_id
        )
    if entry.kind == "backfill":
        if prediction.scores or entry.prediction_at is not None or entry.outcome_at is not None:
            yield differs(
                "a backfilled example must not have a score or a position", "none", prediction.scores
            )
        return
    if entry.prediction_at is None:
        yield differs("it lacks the position of its prediction", "a position", None)
    has_outcome = entry.kind not in {"expired", "opened"}
    if (outcome is not None) != has_outcome or (entry.outcome_at is not None) != has_outcome:
        yield differs("its outcome", "one, and its position" if has_outcome else "none", outcome)
        return
    if not _trigger_fits(entry):
        yield differs("its id does not match its trigger", f"{entry.trigger}#index", entry.entry_id)
    if outcome is not None:
        yield from _check_times(entry, prediction, outcome, where, rules)
    elif entry.kind == "expired" and entry.ts != prediction.ts + rules.horizon_ms:
        yield differs("its time is not the deadline", prediction.ts + rules.horizon_ms, entry.ts)


def _trigger_fits(entry: Entry) -> bool:
    cause, hash_mark, index = entry.entry_id.rpartition("#")
    if not hash_mark or not index.isdecimal():
        return False
    return entry.trigger is None or cause == str(entry.trigger)


def _check_times(
    entry: Entry, prediction: Prediction, outcome: Outcome, where: str, rules: JoinRules
) -> Iterator[Difference]:
    def differs(what: str, expected: object, found: object) -> Difference:
        return Difference(f"{entry.kind} entry {entry.entry_id}: {what}", where, str(expected), str(found))

    deadline = prediction.ts + rules.horizon_ms
    if entry.ts != outcome.ts:
        yield differs("its time differs from its outcome's", outcome.ts, entry.ts)
    if outcome.ts < prediction.ts - rules.tolerance_ms:
        yield differs("the outcome is before the request", f"from {prediction.ts}", outcome.ts)
    if outcome.ts > deadline + rules.revision_horizon_ms:
        last = deadline + rules.revision_horizon_ms
        yield differs("the outcome arrived after the request was deleted", f"up to {last}", outcome.ts)
    if (outcome.value is None) != (entry.kind == "unavailable"):
        yield differs("unavailable and having no value must go together", entry.kind, outcome.value)
    if entry.corrects is None and entry.kind in ROOTS and outcome.ts > deadline:
        yield differs("the outcome is after the deadline, when the request had expired", deadline, outcome.ts)
    if entry.previous_kind == "expired":
        late_by = "event_time" if outcome.ts > deadline else "arrival"
        if entry.late_by != late_by:
            yield differs("the cause of lateness", late_by, entry.late_by)
    elif entry.corrects is None and entry.late_by is not None:
        yield differs("only entries after an expiry have a cause of lateness", None, entry.late_by)


def check_link(entry: Entry, where: str, before: Standing | None) -> Iterator[Difference]:
    """Check an entry against the one before it about the same prediction.

    Parameters
    ----------
    before
        What the log said until then; None when this is the first entry about the prediction.
    """

    def differs(what: str, expected: object, found: object) -> Difference:
        return Difference(f"{entry.kind} entry {entry.entry_id}: {what}", where, str(expected), str(found))

    if before is None:
        if entry.corrects is not None or entry.kind not in ROOTS:
            yield differs("the corrected entry is not in the log", entry.corrects, None)
        return
    if entry.corrects is None:
        yield differs("the prediction is resolved twice", f"nothing after {before.entry_id}", entry.kind)
        return
    if entry.corrects != before.entry_id:
        yield differs(
            "it does not correct the newest entry of its prediction", before.entry_id, entry.corrects
        )
        return
    if not same_value(entry.previous, before.value) or entry.previous_kind != before.kind:
        found = f"{entry.previous_kind} {entry.previous!r}"
        yield differs("the entry that it corrects", f"{before.kind} {before.value!r}", found)
    if before.kind == "expired":
        if entry.kind not in {"late", "unavailable"}:
            yield differs("an entry after an expiry", "late or unavailable", entry.kind)
    elif entry.kind not in {"revised", "unavailable"}:
        yield differs("an entry after an outcome", "revised or unavailable", entry.kind)
    elif entry.outcome is not None and explains(entry.outcome, before):
        yield differs("a duplicate or older outcome corrected a newer one", before, entry.outcome)
    elif entry.late_by != before.late_by:
        yield differs("the cause of lateness", before.late_by, entry.late_by)


def explains(outcome: Outcome, standing: Standing) -> bool:
    """Whether an outcome needs no entry beside what stands: it says the same again, or something older."""
    if standing.kind == "expired":
        return False
    if same_value(outcome.value, standing.value) and outcome.revision == standing.revision:
        return True
    if outcome.revision is not None:
        return standing.revision is not None and outcome.revision <= standing.revision
    return standing.outcome_ts is not None and outcome.ts <= standing.outcome_ts


def same_value(one: Value, other: Value) -> bool:
    """Whether two outcomes' values are equal, and of one type: True is not 1.0."""
    return one == other and type(one) is type(other)


def trigger_of(entry: Entry) -> tuple[str, int]:
    """Split an entry's id into what caused it and the index among what that caused; -1: it has no index."""
    cause, _, index = entry.entry_id.rpartition("#")
    return (cause, int(index)) if index.isdecimal() else (entry.entry_id, -1)


def is_within(
    entry: Entry,
    positions: Mapping[int, JoinPosition],
    predictions: str,
    offset_of: Callable[[Position], int] = attrgetter("offset"),
) -> bool:
    """Whether the join's state, as it was read, knows of an entry already.

    Parameters
    ----------
    positions
        The join's progress by partition, read with that state.
    predictions
        The name of `T.predictions`; any other trigger lies on `T.outcomes`.
    offset_of
        Gives a position's offset; below 0 on a topic that is gone.
    """
    trigger = entry.trigger
    if trigger is not None:
        position = positions.get(trigger.partition)
        if position is None:
            return False
        is_prediction = plain(trigger.topic) == predictions
        return offset_of(trigger) < (position.predictions if is_prediction else position.outcomes)
    # An idle advance: task[partition]@stream_time#index.
    place = position_of(trigger_of(entry)[0])
    position = positions.get(place.partition) if place else None
    return place is not None and position is not None and place.offset <= (position.stream_time or 0)


def position_of(text: str) -> Position | None:
    """Read `topic[partition]@offset`; None when the text is not of that form."""
    head, at, offset = text.rpartition("@")
    topic, bracket, partition = head.rstrip("]").rpartition("[")
    if not (at and bracket and offset.isdecimal() and partition.isdecimal()):
        return None
    return Position(topic, int(partition), int(offset))


# ---------------------------------------------------------------------- scores


def check_scores(prediction: Prediction, where: str) -> Iterator[Difference]:
    """Check that a prediction has one score per model, and at least one, and says what its worker had applied."""
    if prediction.log_offset is None:
        yield Difference("a prediction has no log offset", where, "the last entry applied", "none")
    if not prediction.scores:
        yield Difference("a prediction has no score", where, "the served one first", "none")
    models = [score.model for score in prediction.scores]
    if len(set(models)) != len(models):
        yield Difference("a model has two scores in one prediction", where, "one per model", str(models))


def check_answer(prediction: Prediction, roles: Roles, where: str) -> Iterator[Difference]:
    """Check which model answered, and with which propensity.

    Parameters
    ----------
    roles
        As they were at the offset that the worker had applied.
    """
    drawn = roles.draw(prediction.request_id, prediction.entity_key)
    answer, by_model = prediction.scores[0], {score.model: score for score in prediction.scores}
    failed = drawn in by_model and by_model[drawn].failure != ""
    if answer.failure or (answer.model != drawn and not failed):
        what = f"another model than the one that was drawn at log offset {prediction.log_offset} answered"
        yield Difference(what, where, drawn, answer.model)
    expected = roles.propensity(drawn)
    if prediction.propensity != expected:
        yield Difference("the propensity of the answer", where, str(expected), str(prediction.propensity))
    for name in by_model:
        if roles.role(name).retired_at >= 0:
            yield Difference("a retired model scored", where, "no score", name)


def check_score(expected: Score, found: Score, where: str) -> Iterator[Difference]:
    """Compare a stored score with what the refolded model gives, bit for bit.

    Parameters
    ----------
    expected
        By the refolded model.
    found
        As it lies on `T.predictions`.
    """
    same = bits(expected.score) == bits(found.score) and ends(expected) == ends(found)
    same = same and type_of(expected.failure) == type_of(found.failure)
    if same and (found.version, found.label) == (expected.version, expected.label):
        return
    yield Difference(
        f"{found.version} does not reproduce the served score",
        where,
        *(
            f"{each.score!r}, label {each.label!r}, by {each.version}"
            + (f", interval {each.interval[0]!r} to {each.interval[1]!r}" if each.interval else "")
            for each in (expected, found)
        ),
    )


def ends(score: Score) -> bytes | None:
    """Give the interval of a score in a form that is equal only when it is equal bit for bit."""
    return None if score.interval is None else struct.pack("<dd", *score.interval)


def bits(score: ScoreValue) -> Any:
    """Give a score in a form that is equal only when it is equal bit for bit."""
    if score is None:
        return None
    if isinstance(score, Mapping):
        return sorted((name, struct.pack("<d", share)) for name, share in score.items())
    return struct.pack("<d", score)
