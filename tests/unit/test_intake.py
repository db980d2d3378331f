"""What goes into a task's next transaction."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from infra.kafka.intake import BUDGET_S, Intake, WithinBudget
from streams.join.merge import MergeByTime, Partition


class Record(NamedTuple):
    topic: str
    ts: int
    arrived: float = 0.0


def buffers(requests: int, predictions: int, outcomes: int) -> dict[Partition, deque[Record]]:
    counts = {"requests": requests, "predictions": predictions, "outcomes": outcomes}
    return {(name, 0): deque(Record(name, number) for number in range(n)) for name, n in counts.items()}


def picked(intake: Intake, there: dict[Partition, deque[Record]], limit: int = 1000) -> list[tuple[str, int]]:
    return [(each.topic, each.ts) for each in intake.pick(there, lambda partition, since: True, limit)]


def made(ready: bool = True) -> Intake:
    return Intake("requests", "outcomes", MergeByTime("outcomes", "predictions"), lambda: ready)


def test_requests_come_first_and_the_others_in_event_time_order() -> None:
    assert picked(made(), buffers(2, 2, 1)) == [
        ("requests", 0),
        ("requests", 1),
        ("outcomes", 0),
        ("predictions", 0),
        ("predictions", 1),
    ]


def test_requests_wait_while_the_models_are_not_ready_and_the_others_go_on() -> None:
    there = buffers(5, 1, 0)
    assert picked(made(ready=False), there) == [("predictions", 0)]
    assert len(there["requests", 0]) == 5


def test_each_kind_has_the_limit_of_a_batch() -> None:
    found = picked(made(), buffers(9, 9, 9), 4)
    assert [name == "requests" for name, _ in found] == [True] * 4 + [False] * 4


def test_outcomes_wait_for_the_requests_that_a_turn_leaves() -> None:
    """After an outage: otherwise they would fill the room for early outcomes, and become dead letters."""
    intake, there = made(), buffers(9, 0, 9)
    for turn, outcomes in enumerate(([0, 1, 2, 3], [4, 5, 6, 7], [8])):
        found = picked(intake, there, 4)
        assert [ts for name, ts in found if name == "requests"] == list(range(9))[4 * turn : 4 * turn + 4]
        assert [ts for name, ts in found if name == "outcomes"] == outcomes
    there = buffers(9, 0, 9)
    there["outcomes", 0].appendleft(Record("outcomes", -1))
    assert [ts for _, ts in picked(made(ready=False), there, 4)] == [-1]  # the models will answer them later
    there = buffers(9, 0, 9)
    there["requests", 0].rotate(4)  # the oldest request is left
    assert [name for name, _ in picked(made(), there, 4)] == ["requests"] * 4


def test_between_two_merges_requests_go_alone_and_a_turn_without_requests_merges() -> None:
    intake = Intake("requests", "outcomes", MergeByTime("outcomes", "predictions"), lambda: True, 60.0)
    assert picked(intake, buffers(1, 1, 0)) == [("requests", 0), ("predictions", 0)]
    assert picked(intake, buffers(1, 1, 0)) == [("requests", 0)]
    assert picked(intake, buffers(0, 1, 0)) == [("predictions", 0)]


def slowly(items: Iterable[int], each_s: float) -> Iterator[int]:
    for item in items:
        time.sleep(each_s)
        yield item


def test_items_are_taken_within_a_budget_and_one_in_any_case() -> None:
    slow = WithinBudget(range(100))
    taken = list(slowly(slow, BUDGET_S / 4))
    assert 1 < slow.count == len(taken) < 10
    slower = WithinBudget(range(100))
    assert list(slowly(slower, 1.1 * BUDGET_S)) == [0]
    assert slower.count == 1
    nothing = WithinBudget[int]([])
    assert (list(nothing), nothing.count) == ([], 0)
