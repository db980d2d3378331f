"""However records arrive, the merge gives one order: that of event time."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streams.join.merge import MergeByTime, Partition

OUTCOMES, PREDICTIONS = ("outcomes", 0), ("predictions", 0)


class Record(NamedTuple):
    partition: Partition
    offset: int
    ts: int | None
    arrived: float


times = st.lists(st.one_of(st.integers(0, 20), st.none()), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.booleans(), st.integers(1, 4)),
        st.tuples(st.just("look"), st.booleans(), st.just(0)),
        st.tuples(st.just("pick"), st.booleans(), st.integers(1, 5)),
    ),
    max_size=60,
)


class Sides:
    """Two topics' records on their way into the buffers, and what is known of their ends."""

    def __init__(self, outcomes: list[int | None], predictions: list[int | None]) -> None:
        self.clock = 0.0
        self.coming = {
            OUTCOMES: deque(enumerate(outcomes)),
            PREDICTIONS: deque(enumerate(predictions)),
        }
        self.buffers: dict[Partition, deque[Record]] = {OUTCOMES: deque(), PREDICTIONS: deque()}
        self.known_through = {OUTCOMES: -1.0, PREDICTIONS: -1.0}

    def arrive(self, partition: Partition, count: int) -> None:
        self.clock += 1.0
        for _ in range(min(count, len(self.coming[partition]))):
            offset, ts = self.coming[partition].popleft()
            self.buffers[partition].append(Record(partition, offset, ts, self.clock))

    def look(self, partition: Partition) -> None:
        """A question for the end: answered only when everything has arrived."""
        self.clock += 1.0
        if not self.coming[partition]:
            self.known_through[partition] = self.clock

    def caught_up(self, partition: Partition, since: float) -> bool:
        return self.known_through[partition] >= since


def reference(outcomes: list[int | None], predictions: list[int | None]) -> list[tuple[Partition, int]]:
    """Merge two complete topics; an unreadable record goes as soon as those before it on its side have gone."""
    sides = {OUTCOMES: deque(enumerate(outcomes)), PREDICTIONS: deque(enumerate(predictions))}
    order: list[tuple[Partition, int]] = []
    while any(sides.values()):
        heads = {partition: side[0] for partition, side in sides.items() if side}
        unreadable = [partition for partition, (_, ts) in heads.items() if ts is None]
        timed = ((ts, partition) for partition, (_, ts) in heads.items() if ts is not None)
        readable = [(ts, partition != OUTCOMES, partition) for ts, partition in timed]
        partition = unreadable[0] if unreadable else min(readable)[2]
        order.append((partition, sides[partition].popleft()[0]))
    return order


@given(times, times, steps)
def test_any_arrival_and_any_cut_into_batches_give_the_order_of_event_time(
    outcomes: list[int | None], predictions: list[int | None], script: list[tuple[str, bool, int]]
) -> None:
    sides, merge, taken = Sides(outcomes, predictions), MergeByTime("outcomes", "predictions"), list[Record]()
    for what, first, count in script:
        partition = OUTCOMES if first else PREDICTIONS
        if what == "arrive":
            sides.arrive(partition, count)
        elif what == "look":
            sides.look(partition)
        else:
            taken += merge.pick(sides.buffers, sides.caught_up, count)
    for partition in (OUTCOMES, PREDICTIONS):
        sides.arrive(partition, 100)
    for partition in (OUTCOMES, PREDICTIONS):
        sides.look(partition)
    while batch := merge.pick(sides.buffers, sides.caught_up, 3):
        taken += batch
    # Unreadable records have no place in time, so they may stand anywhere within their own side.
    readable = {(OUTCOMES, n) for n, ts in enumerate(outcomes) if ts is not None}
    readable |= {(PREDICTIONS, n) for n, ts in enumerate(predictions) if ts is not None}
    order = [(record.partition, record.offset) for record in taken]
    for partition, count in ((OUTCOMES, len(outcomes)), (PREDICTIONS, len(predictions))):
        assert [offset for place, offset in order if place == partition] == list(range(count))
    wanted = reference(outcomes, predictions)
    assert [place for place in order if place in readable] == [place for place in wanted if place in readable]
