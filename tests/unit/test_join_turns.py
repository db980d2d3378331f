"""What falls due together is resolved in steps: a gap in time must not hold the event loop."""

from __future__ import annotations

from typing import Any

import pytest

from infra.inbound import SERVED, Inbound
from infra.task.join import JoinAgent
from infra.task.join_partition import JoinPartition
from infra.task.silence import Silence
from schemas.errors import TransactionAborted
from schemas.records import Position, Prediction
from streams.join.join import Join
from streams.join.pending import MemoryStore
from tests.joining import Bench
from tests.unit.http_worker import make_http_task, make_join

WAITING = 500
FIRST = 1_700_000_000_000
DAY = 86_400_000


class Message:
    """A prediction as it lies on its topic."""

    def __init__(self, topic: str, offset: int, value: bytes, ts: int) -> None:
        self._topic, self._offset, self._value, self._ts = topic, offset, value, ts

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> Any:
        return None

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._ts

    def headers(self) -> Any:
        return [(SERVED, b"0")]


def agent_with_waiting() -> tuple[JoinAgent, list[Inbound]]:
    """Make an agent with as many requests that wait; gives a record that lets all of them fall due, too."""
    task = make_http_task()
    agent = make_join(task)
    join = Join(agent.rules, MemoryStore(), agent.context.codec.held.to_write, "stay", 0)
    agent.partitions[0] = JoinPartition(join, task.context.topics, None)

    def inbound(offset: int, ts: int) -> Inbound:
        prediction = Prediction(f"r{offset}", ts, {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}, ())
        message = Message(task.context.topics.predictions, offset, task.context.codec.encode(prediction), ts)
        item = Inbound(message, prediction, None)
        item.value = message.value()
        return item

    first = [inbound(offset, FIRST) for offset in range(WAITING)]
    list(agent.steps(first, [0]))
    agent.commit()
    assert join.waiting == WAITING
    return agent, [inbound(WAITING, FIRST + 40 * DAY)]


def test_a_prediction_behind_a_gap_lets_one_request_fall_due_in_each_step() -> None:
    agent, batch = agent_with_waiting()
    join = agent.partitions[0].join
    entries, most = 0, 0
    steps = agent.steps(batch, [0])
    for _ in range(WAITING):
        assert next(steps) == []
        most, entries = max(most, len(join.out.entries) - entries), len(join.out.entries)
    assert (most, entries) == (1, WAITING)
    assert sum(map(len, steps)) == 2 * WAITING + 2  # entries, states, and how far it is


def test_silence_lets_one_request_fall_due_in_each_step_and_stops_where_a_partition_is_given_up() -> None:
    for given_up in (False, True):
        agent, _ = agent_with_waiting()
        at, moved = agent.partitions[0], set[int]()
        at.quiet_since -= 40 * DAY / 1000  # the horizon is 30 days
        steps = Silence(agent, 5_000).advance([0], moved, {})
        for number in range(WAITING - 1):
            next(steps)
            assert len(at.join.out.entries) == number + 1
        if given_up:
            agent.forget(0)
        rest = len(list(steps))
        assert (moved, rest) == ((set(), 0) if given_up else ({0}, 1))


def test_silence_does_not_pass_an_outcome_that_waits() -> None:
    """It may be in time: it waits for a request that the worker has yet to answer."""
    agent, _ = agent_with_waiting()
    at, moved = agent.partitions[0], set[int]()
    at.quiet_since -= 40 * DAY / 1000  # the horizon is 30 days
    list(Silence(agent, 5_000).advance([0], moved, {0: FIRST + 29 * DAY}))
    assert at.join.out.entries == []
    assert at.join.stream_time <= FIRST + 29 * DAY


def test_steps_give_what_one_step_gives() -> None:
    whole, cut = Bench(), Bench()
    for bench in (whole, cut):
        for number in range(50):
            bench.ask(f"r{number}", number)
    prediction = Prediction("last", 5_000, {"x": 1.0}, ())
    whole.ask("last", 5_000)
    steps = cut.join.prediction_steps("last", 5_000, prediction, Position("predictions", 3, 50), 5_000)
    assert len(list(steps)) >= 50
    assert cut.join.out.entries == whole.join.out.entries


def test_a_batch_whose_partition_was_given_up_before_it_began_is_aborted_and_crashes_nothing() -> None:
    agent = make_join(make_http_task())
    with pytest.raises(TransactionAborted, match="given up"):
        next(agent.steps([], [0]))
