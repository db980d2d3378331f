"""The check of a run: the output of the join passes, and any single change to it is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Entry, Position
from tests.fault_histories import History, World, workload
from tests.faults.check.facts import FACTS
from tests.faults.workload.plan import Step
from tests.faults.workload.scenarios import SCENARIOS

Index = Callable[[int], int]


@cache
def made() -> History:
    """A history without differences, in which every scenario occurs."""
    return World(workload(3, 1300, 3, horizon_s=60), 3, seed=3).run()


@cache
def _facts() -> list[int]:
    return [at for at, entry in enumerate(made().entries) if entry.kind in FACTS]


def changed(**parts: Any) -> History:
    return replace(made(), **parts)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from((60, 120, 240)))
def test_the_join_s_output_is_what_the_plans_expect(
    seed: int, partitions: int, chance: int, horizon_s: int
) -> None:
    load = workload(seed, 400, partitions, horizon_s)
    history = World(load, partitions, chance).run()
    assert history.check().as_data() == {"lost": 0, "doubled": 0, "wrong": 0, "examples": {}}


def test_the_same_seed_plans_the_same_and_every_scenario_occurs() -> None:
    one, other = list(workload(5, 3000).plans()), list(workload(5, 3000).plans())
    assert one == other
    assert {plan.scenario for plan in one} == {scenario.__name__ for scenario in SCENARIOS}
    assert list(workload(6, 3000).plans()) != one


def test_a_request_is_sent_after_every_outcome_that_is_due_before_it() -> None:
    reached = 0
    for block in workload(5, 2000).blocks(50):
        outcomes = [sending.ts for sending in block.outcomes]
        requests = [sending.ts for sending in block.requests]
        assert outcomes == sorted(outcomes)
        assert requests == sorted(requests)
        assert min(outcomes, default=reached) > reached - 2001  # what is due by then was sent by then
        reached = requests[-1]


few = settings(max_examples=8, deadline=None)
facts = st.integers(0, 10**6).map(lambda n: _facts()[n % len(_facts())])


@few
@given(facts)
def test_an_entry_that_is_missing_is_lost(at: int) -> None:
    entries = list(made().entries)
    del entries[at]
    found = changed(entries=entries).check()
    assert found.lost.count == 1
    assert found.lost.examples[0].count(_name(made().entries[at]))


@few
@given(facts, st.integers(0, 200))
def test_an_entry_that_occurs_twice_is_doubled(at: int, later: int) -> None:
    entries = list(made().entries)
    entries.insert(at + 1 + later, entries[at])
    found = changed(entries=entries).check()
    assert (found.lost.count, found.doubled.count, found.wrong.count) == (0, 1, 0)


@few
@given(facts)
def test_a_record_that_was_processed_in_two_transactions_is_doubled(at: int) -> None:
    entries = list(made().entries)
    again = replace(entries[at], entry_id=entries[at].entry_id + "7")
    found = changed(entries=[*entries, again]).check()
    assert found.doubled.count == 1


@few
@given(facts)
def test_entries_of_a_partition_that_change_places_are_wrong(at: int) -> None:
    entries = list(made().entries)
    mine = entries[at].trigger
    assert mine is not None
    for other in range(at + 1, len(entries)):
        trigger = entries[other].trigger
        if trigger and (trigger.topic, trigger.partition) == (mine.topic, mine.partition):
            break
    else:
        return
    entries[at], entries[other] = entries[other], entries[at]
    assert not changed(entries=entries).check().ok


ALTERED: dict[str, Callable[[Entry], Entry]] = {
    "kind": lambda entry: replace(entry, kind="late" if entry.kind != "late" else "labelled"),
    "ts": lambda entry: replace(entry, ts=entry.ts + 1),
    "value": lambda entry: replace(
        entry, outcome=entry.outcome and replace(entry.outcome, value=not entry.outcome.value)
    ),
    "revision": lambda entry: replace(entry, outcome=entry.outcome and replace(entry.outcome, revision=99)),
    "corrects": lambda entry: replace(entry, corrects="outcomes[0]@0#0"),
    "previous": lambda entry: replace(entry, previous=True if entry.previous is not True else None),
    "late by": lambda entry: replace(entry, late_by="arrival"),
    "request": lambda entry: replace(
        entry, prediction=entry.prediction and replace(entry.prediction, request_id="nobody")
    ),
}


@pytest.mark.parametrize("what", ALTERED)
@few
@given(data=st.data())
def test_an_entry_with_another_content_is_wrong(what: str, data: st.DataObject) -> None:
    at = data.draw(facts)
    entries = list(made().entries)
    altered = ALTERED[what](entries[at])
    if altered == entries[at]:
        return
    entries[at] = altered
    found = changed(entries=entries).check()
    assert found.wrong.count + found.lost.count + found.doubled.count > 0
    assert found.wrong.count or what == "kind"


@few
@given(st.integers(0, 10**6))
def test_a_missing_or_doubled_prediction_is_found(number: int) -> None:
    predictions = list(made().predictions)
    at = number % len(predictions)
    assert changed(predictions=predictions[:at] + predictions[at + 1 :]).check().lost.count == 1
    twice = [*predictions[: at + 1], predictions[at], *predictions[at + 1 :]]
    assert changed(predictions=twice).check().doubled.count == 1


@few
@given(st.integers(0, 10**6))
def test_a_dead_letter_that_is_missing_doubled_or_has_another_reason_is_found(number: int) -> None:
    dead_letters = list(made().dead_letters)
    at = number % len(dead_letters)
    assert changed(dead_letters=dead_letters[:at] + dead_letters[at + 1 :]).check().lost.count == 1
    assert changed(dead_letters=[*dead_letters, dead_letters[at]]).check().doubled.count == 1
    other = [*dead_letters[:at], replace(dead_letters[at], reason="too_large"), *dead_letters[at + 1 :]]
    found = changed(dead_letters=other).check()
    assert (found.lost.count, found.wrong.count) == (1, 1)


def test_state_with_other_requests_or_counts_is_found() -> None:
    pending, position = made().states[0]
    others = made().states[1:]
    name = next(name for name, state in pending.items() if state.status == "closed")
    without = {key: state for key, state in pending.items() if key != name}
    assert changed(states=[(without, position), *others]).check().lost.count == 1
    more = pending | {"r0": pending[name]}
    assert changed(states=[(more, position), *others]).check().wrong.count == 1
    known = pending[name].resolution
    assert known is not None
    altered = pending | {name: replace(pending[name], resolution=replace(known, value=not known.value))}
    assert changed(states=[(altered, position), *others]).check().wrong.count == 1
    counters = dict(position.counters) | {"labelled": position.counters["labelled"] + 1}
    miscounted = replace(position, counters=counters)
    assert changed(states=[(pending, miscounted), *others]).check().wrong.count == 1
    behind = replace(position, stream_time=0)
    assert changed(states=[(pending, behind), *others]).check().wrong.count == 1


def with_a_fault(entries: int = 1, predictions: int = 1, counted: int = 1) -> History:
    """Add a request that a fault has sent, with its prediction, its label and their counts."""
    history = made()
    label = next(entry for entry in reversed(history.entries) if entry.kind == "labelled")
    assert label.prediction is not None
    assert label.outcome is not None
    asked = replace(label.prediction, request_id="fault-1-0", source=None)
    entry = replace(label, prediction=asked, trigger=None, entry_id="fault[0]@1#0")
    (pending, position), *others = history.states
    counters = Counter(position.counters)
    counters.update({"predictions": counted, "outcomes": counted, "labelled": counted})
    return replace(
        history,
        predictions=[*history.predictions, *[(asked, Position("predictions", 0, 10**6))] * predictions],
        entries=[*history.entries, *[entry] * entries],
        states=[(pending, replace(position, counters=counters)), *others],
        fault_steps={"fault-1-0": (Step("labelled", entry.ts, label.outcome.value, label.outcome.revision),)},
    )


def test_the_entries_of_a_request_that_a_fault_has_sent_are_expected_like_the_others() -> None:
    assert with_a_fault().check().ok
    lost = with_a_fault(entries=0).check()
    assert (lost.lost.count, lost.doubled.count) == (1, 0)
    twice = with_a_fault(entries=2).check()
    assert (twice.lost.count, twice.doubled.count) == (0, 1)
    assert with_a_fault(counted=2).check().wrong.count == 3
    assert not with_a_fault(predictions=0).check().ok
    (step,) = with_a_fault().fault_steps["fault-1-0"]
    other = replace(with_a_fault(), fault_steps={"fault-1-0": (step._replace(value=not step.value),)})
    assert other.check().wrong.count == 1


def _name(entry: Entry) -> str:
    assert entry.prediction is not None
    return entry.prediction.request_id
