from __future__ import annotations

from collections import deque
from typing import NamedTuple

from streams.join.merge import MergeByTime, Partition


class Record(NamedTuple):
    name: str
    ts: int | None
    arrived: float = 0.0


def buffers(
    outcomes: list[Record], predictions: list[Record], number: int = 0
) -> dict[Partition, deque[Record]]:
    return {("outcomes", number): deque(outcomes), ("predictions", number): deque(predictions)}


class Knowledge:
    """Which partitions are known to be caught up, and since when; remembers what it was asked."""

    def __init__(self, known_through: float = -1.0) -> None:
        self.known_through = known_through
        self.asked: list[tuple[Partition, float]] = []

    def __call__(self, partition: Partition, since: float) -> bool:
        self.asked.append((partition, since))
        return self.known_through >= since


def picked(
    waiting: dict[Partition, deque[Record]], knowledge: Knowledge | None = None, limit: int = 100
) -> list[str]:
    merge = MergeByTime("outcomes", "predictions")
    return [record.name for record in merge.pick(waiting, knowledge or Knowledge(), limit)]


def test_the_earlier_record_goes_first() -> None:
    waiting = buffers([Record("o2", 2), Record("o4", 4)], [Record("p1", 1), Record("p3", 3), Record("p5", 5)])
    assert picked(waiting) == ["p1", "o2", "p3", "o4"]


def test_at_equal_time_the_outcome_goes_first() -> None:
    assert picked(buffers([Record("o", 7)], [Record("p", 7)]))[0] == "o"


def test_an_unreadable_record_goes_at_once() -> None:
    waiting = buffers([Record("garbage", None)], [Record("p1", 1), Record("rubbish", None), Record("p2", 2)])
    assert picked(waiting) == ["garbage"]
    assert picked(waiting, Knowledge(5.0)) == ["p1", "rubbish", "p2"]


def test_while_one_side_is_empty_the_other_waits_until_it_is_caught_up() -> None:
    waiting = buffers([], [Record("p1", 1, arrived=10.0), Record("p2", 2, arrived=20.0)])
    ignorant = Knowledge(9.0)
    assert picked(waiting, ignorant) == []
    assert ignorant.asked == [(("outcomes", 0), 10.0)]
    assert picked(waiting, Knowledge(10.0)) == ["p1"]
    assert picked(waiting, Knowledge(20.0)) == ["p2"]


def test_a_batch_is_cut_at_its_limit_and_loses_nothing() -> None:
    waiting = buffers([Record("o2", 2), Record("o9", 9)], [Record("p1", 1), Record("p3", 3)])
    assert picked(waiting, limit=2) == ["p1", "o2"]
    assert picked(waiting, Knowledge(0.0), limit=2) == ["p3", "o9"]


def test_partitions_take_turns_and_do_not_wait_for_each_other() -> None:
    merge = MergeByTime("outcomes", "predictions")
    waiting = buffers([Record("o", 1)], [], number=0)
    for number in (1, 2):
        waiting |= buffers(
            [Record(f"o{number}-{n}", n) for n in range(9)],
            [Record(f"p{number}-{n}", n) for n in range(9)],
            number,
        )
    batches = [[record.name for record in merge.pick(waiting, Knowledge(), 4)] for _ in range(6)]
    assert {batch[0][1] for batch in batches} == {"1", "2"}
    for number in (1, 2):
        mine = [name for batch in batches for name in batch if name[1:].startswith(f"{number}-")]
        assert mine == [f"{side}{number}-{n}" for n in range(9) for side in "op"][: len(mine)]
        assert len(mine) >= 8


def test_a_partition_whose_other_side_is_elsewhere_waits() -> None:
    assert picked({("outcomes", 3): deque([Record("o", 1)])}, Knowledge(5.0)) == []
    assert picked({("predictions", 3): deque([Record("p", 1)])}, Knowledge(5.0)) == []
