"""The events of a benchmark: seeded, encoded once, put on the topics before a contender starts."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from confluent_kafka import Producer

from infra.kafka.connection import Connection
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER, TaskTopics
from tests.benchmarks.compare.task import FEATURES, bench_task

START_MS: Final = 1_760_000_000_000
EVERY_MS: Final = 1
DELAY_MS: Final = (5, 2_000)
SLICE: Final = 1000
FLUSH_S: Final = 120.0


def requests_and_outcomes(
    pairs: int, seed: int = 1, start_ms: int = START_MS
) -> Iterator[tuple[Request, Outcome]]:
    """Make requests, one each millisecond of event time, with the outcome of each up to 2 s later.

    Parameters
    ----------
    pairs
        How many.
    seed
        Of all that is random: the numbers, the noise of the label, the delay.
    start_ms
        Event time of the first request (ms since 1970).

    Examples
    --------
    >>> request, outcome = next(requests_and_outcomes(1))
    >>> request.request_id, len(request.features), outcome.ts > request.ts
    ('r0000000', 8, True)
    """
    draw = random.Random(seed)
    weights = [draw.gauss(0, 1) for _ in FEATURES]
    for number in range(pairs):
        values = [draw.gauss(0, 1) for _ in FEATURES]
        logit = sum(weight * value for weight, value in zip(weights, values, strict=True))
        request_id, ts = f"r{number:07}", start_ms + number * EVERY_MS
        yield (
            Request(request_id, ts, dict(zip(FEATURES, values, strict=True))),
            Outcome(request_id, ts + draw.randint(*DELAY_MS), logit + draw.gauss(0, 1) > 0),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """Encoded records with their keys, each topic in the order of event time."""

    requests: tuple[tuple[bytes, bytes], ...]
    outcomes: tuple[tuple[bytes, bytes], ...]
    due: tuple[int, ...]
    """After each slice of requests: how many outcomes have an event time before the slice's end."""

    @classmethod
    def make(cls, pairs: int, seed: int = 1) -> Self:
        """Make and encode the events."""
        task = bench_task("bench")
        codec = Codec(task.name, task.kind, task.features)
        both = list(requests_and_outcomes(pairs, seed))
        outcomes = sorted((outcome for _, outcome in both), key=lambda each: each.ts)
        times = [each.ts for each in outcomes]
        ends = [both[min(start + SLICE, pairs) - 1][0].ts for start in range(0, pairs, SLICE)]
        return cls(
            tuple((each.request_id.encode(), codec.encode(each)) for each, _ in both),
            tuple((each.request_id.encode(), codec.encode(each)) for each in outcomes),
            (*(bisect_left(times, end) for end in ends[:-1]), pairs),
        )

    def put(self, connection: Connection, topics: TaskTopics) -> None:
        """Write all of it, and wait until the broker has it.

        Each slice of requests is acknowledged before the outcomes that are due in it: no outcome arrives before
        its request, which an interval join by arrival times needs.

        Raises
        ------
        BrokerError
            When it does not take all of it in time.
        """
        producer = Producer(
            connection.config(
                **{
                    "linger.ms": 5,
                    "batch.size": 262_144,
                    "partitioner": PARTITIONER,
                    "enable.idempotence": True,
                    "queue.buffering.max.messages": 1_000_000,
                }
            )
        )

        def write(topic: str, records: tuple[tuple[bytes, bytes], ...]) -> None:
            for key, value in records:
                producer.produce(topic, value, key)
            if left := producer.flush(FLUSH_S):
                raise BrokerError(f"{left:,} records were not taken within {FLUSH_S:.0f} s")

        sent = 0
        for number, due in enumerate(self.due):
            write(topics.requests, self.requests[number * SLICE : (number + 1) * SLICE])
            write(topics.outcomes, self.outcomes[sent:due])
            sent = due
