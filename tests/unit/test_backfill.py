from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.datafiles.rows import rows
from infra.taskfile import examples, load_task
from schemas import Dictionary, Number
from schemas.errors import UsageError
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Prediction, Request
from streams import Model, OnArrival, Task
from streams.backfill import BackfillEntries
from streams.datafile import Event, in_time_order
from streams.driver import MemoryDriver
from streams.model import ModelFold
from streams.policies import DefaultAtHorizon, Label
from tests.history import pipeline

FILE = "0123456789abcdef"
HOTEL = str(examples() / "hotel_bookings" / "task.py")
TASK = Task(
    name="small",
    question="?",
    features=Dictionary(Number(name="x", unit="1")),
    horizon=timedelta(milliseconds=20),
    earliest=EPOCH,
    revision_horizon=timedelta(milliseconds=100),
    models=(Model("lr", pipeline, policy=OnArrival()), Model("window", pipeline, policy=DefaultAtHorizon())),
)


def folded(task: Task, history: BackfillEntries) -> list[str]:
    """Digests of a task's models after a backfill."""
    folds = [ModelFold(task, model) for model in task.models]
    for offset, entry in enumerate(history):
        for fold in folds:
            fold.apply(offset, entry)
    return [fold.digest for fold in folds]


def lived(task: Task, events: list[Event]) -> list[str]:
    """Digests of a task's models after the events were served, joined and learned."""
    driver = MemoryDriver(task)
    for _ in driver.run(events):
        pass
    return [fold.digest for fold in driver.models]


@pytest.mark.parametrize("name", ["cancellation", "cancellation_within_30_days"])
def test_a_backfilled_model_is_the_one_that_would_have_learned_live(name: str) -> None:
    loaded = load_task(f"{HOTEL}:{name}")
    task = loaded.task
    assert task.data is not None
    events = in_time_order(task.data.events(rows(loaded.data_path()), task.features))[:1500]
    # The file goes on until everything has fallen due, so that silence is known to be silence.
    end = max(event.request.ts for event in events) + 900 * 86_400_000
    closing = Request("closing", end, events[0].request.features)
    events.append(Event(closing, (Outcome("closing", end, True),)))
    history = BackfillEntries(task, list(enumerate(events, start=1)), FILE)
    assert folded(task, history) == lived(task, events)
    assert history.open == 0
    assert sum(history.kinds.values()) >= len(events)


moments = st.integers(0, 60)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Requests with outcomes in time, late, corrected or missing."""
    events = []
    for number in range(draw(st.integers(1, 8))):
        ts = draw(moments)
        reported = draw(st.lists(st.tuples(st.integers(0, 60), st.none() | st.booleans()), max_size=3))
        outcomes = tuple(
            Outcome(f"r{number}", ts + after, value, reason=None if value is not None else "lost")
            for after, value in sorted(reported, key=lambda each: each[0])
        )
        events.append(Event(Request(f"r{number}", ts, {"x": float(number)}), outcomes))
    events = in_time_order(events)
    last = Request("last", 1000, {"x": 1.0})
    return [*events, Event(last, (Outcome("last", 1000, True),))]


@settings(max_examples=60, deadline=None)
@given(histories())
def test_every_fact_teaches_as_it_would_have_live(events: list[Event]) -> None:
    history = BackfillEntries(TASK, list(enumerate(events, start=1)), FILE)
    assert folded(TASK, history) == lived(TASK, events)
    first, second = list(history), list(history)
    assert first == second
    assert len({entry.entry_id for entry in first}) == len(first)
    assert all(
        entry.kind == "backfill" and not (entry.prediction and entry.prediction.scores) for entry in first
    )


def test_silence_counts_only_where_the_file_reaches_the_deadline() -> None:
    events = [
        Event(Request("old", 0, {"x": 1.0}), ()),
        Event(Request("new", 15, {"x": 2.0}), ()),
        Event(Request("told", 16, {"x": 3.0}), (Outcome("told", 25, True),)),
    ]
    history = BackfillEntries(TASK, list(enumerate(events, start=1)), FILE)
    assert [(entry.entry_id, entry.ts) for entry in history] == [
        (f"backfill/{FILE}/1#0", 20),
        (f"backfill/{FILE}/3#0", 25),
    ]
    assert history.open == 1


def test_two_rows_with_one_request_id_are_rejected() -> None:
    events = [Event(Request("a", 0, {"x": 1.0}), ()), Event(Request("a", 1, {"x": 1.0}), ())]
    with pytest.raises(UsageError, match="rows 7 and 9 have the same request id 'a'"):
        BackfillEntries(TASK, list(zip((7, 9), events, strict=True)), FILE)


def entry(**reported: object) -> Entry:
    return Entry("backfill/0/1#0", "backfill", 5, prediction=Prediction("a", 0, {}, ()), **reported)  # type: ignore[arg-type]  # one maker for all


def test_policies_read_a_backfilled_fact_as_they_read_the_fact() -> None:
    silence, reported = entry(), entry(outcome=Outcome("a", 5, True))
    late = entry(
        outcome=Outcome("a", 50, True), late_by="event_time", corrects="…#0", previous_kind="expired"
    )
    after_late = replace(
        entry(outcome=Outcome("a", 60, False), corrects="…#1", previous=True, previous_kind="late"),
        late_by="event_time",
    )
    revised = entry(outcome=Outcome("a", 60, False), corrects="…#0", previous=True, previous_kind="labelled")
    lost = entry(outcome=Outcome("a", 5, None, reason="lost"))
    facts = (silence, reported, late, after_late, revised, lost)
    assert [DefaultAtHorizon(False).label(fact) for fact in facts] == [
        Label(False),
        Label(True),
        None,
        None,
        Label(False, True),
        None,
    ]
    assert [OnArrival().label(fact) for fact in facts] == [
        None,
        Label(True),
        Label(True),
        Label(False, True),
        Label(False, True),
        None,
    ]
