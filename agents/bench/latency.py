"""How long a caller waits: request to prediction over the topic and over HTTP, outcome to serving, at given rates.

The load is open: every request is due at its own moment, and its wait counts from there, so that a worker that
stands still is not spared the requests that would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
from confluent_kafka import Producer

from agents.bench.load import requests_and_outcomes
from agents.bench.task import bench_task, write_task
from agents.cli.processes import WorkerProcess
from agents.http.status import quantiles
from infra.kafka.admin import create_topics, delete_topics
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from schemas.codec import Codec
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER, TaskTopics, topics

RATES: Final = (100, 1_000, 5_000)
OUTCOME_AFTER_S: Final = 0.5
DRAIN_S: Final = 20.0
SETTLE_S: Final = 2.0
TICK_S: Final = 0.001
MAX_IN_FLIGHT: Final = 2_000


def latency(
    connection: Connection, rates: tuple[int, ...] = RATES, seconds: float = 5.0
) -> list[dict[str, Any]]:
    """Measure at each rate with a fresh worker.

    Parameters
    ----------
    connection
        The cluster.
    rates
        Requests per second.
    seconds
        How long each.

    Returns
    -------
    list of dict
        Per rate: `topic`, `outcome_to_serving`, `http`, each with count, p50 and p99 (ms), and `http_rate`, the
        requests per second that were answered over HTTP.
    """
    return [_at(connection, rate, int(rate * seconds), seconds) for rate in rates]


def _at(connection: Connection, rate: int, count: int, seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="riverloop-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        name = f"bench-latency-{rate}-{time.time_ns() % 10**9}"
        specs = topics(name, 1)
        create_topics(connection, specs)
        stack.callback(delete_topics, connection, [each.name for each in specs])
        worker = stack.enter_context(WorkerProcess(write_task(folder, name), connection, folder, 0))
        worker.wait_ready()
        task = bench_task(name)
        codec = Codec(name, task.kind, task.features)
        pairs = list(requests_and_outcomes(2 * count, seed=rate))
        run = _OverTopic(connection, codec, TaskTopics(name), pairs[:count], rate)
        over_topic = run.measure()
        time.sleep(SETTLE_S)
        fresh = worker.status()["freshness_ms"]
        over_http, answered_per_s = asyncio.run(_over_http(worker, codec, pairs[count:], rate))
        return {
            "rate": rate,
            "seconds": seconds,
            "topic": over_topic,
            "outcome_to_serving": fresh,
            "http": over_http,
            "http_rate": answered_per_s,
        }


def now_ms() -> int:
    """Give the wall clock (ms)."""
    return time.time_ns() // 1_000_000


def paced(count: int, rate: int, send: Callable[[int, float], None], idle: Callable[[], Any]) -> None:
    """Call `send` with each number and the moment at which it is due (s, perf_counter)."""
    started = time.perf_counter()
    sent = 0
    while sent < count:
        due = min(int((time.perf_counter() - started) * rate) + 1, count)
        for number in range(sent, due):
            send(number, started + number / rate)
        sent = due
        idle()
        time.sleep(TICK_S)


class _OverTopic:
    """Requests and their outcomes at a rate, answers in a thread of its own."""

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        places: TaskTopics,
        pairs: list[tuple[Request, Outcome]],
        rate: int,
    ) -> None:
        self._codec, self._places, self._pairs, self._rate = codec, places, pairs, rate
        self._due: dict[str, float] = {}
        self._waits: list[float] = []
        self._answers = Answers(connection, codec, places, 1, self._seen)
        self._producer = Producer(
            connection.config(**{"linger.ms": 0, "partitioner": PARTITIONER, "enable.idempotence": True})
        )
        self._told = 0

    def _seen(self, prediction: Any) -> None:
        self._waits.append((time.perf_counter() - self._due[prediction.request_id]) * 1000)

    def _ask(self, number: int, due: float) -> None:
        request = replace(self._pairs[number][0], ts=now_ms())
        self._due[request.request_id] = due
        self._write(self._places.requests, request)
        self._tell(number - int(OUTCOME_AFTER_S * self._rate))

    def _tell(self, until: int) -> None:
        while self._told < until:
            self._write(self._places.outcomes, replace(self._pairs[self._told][1], ts=now_ms()))
            self._told += 1

    def _write(self, topic: str, record: Request | Outcome) -> None:
        self._producer.produce(topic, self._codec.encode(record), record.request_id)

    def measure(self) -> dict[str, float]:
        """Send all, and give the waits."""
        ended = threading.Event()

        def read() -> None:
            while not ended.is_set():
                self._answers.poll(0.01)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        count = len(self._pairs)
        paced(count, self._rate, self._ask, lambda: self._producer.poll(0))
        self._tell(count)
        self._producer.flush(DRAIN_S)
        until = time.monotonic() + DRAIN_S
        while len(self._waits) < count and time.monotonic() < until:
            time.sleep(0.05)
        ended.set()
        reader.join()
        self._answers.close()
        return quantiles(self._waits) | {"sent": count}


async def _over_http(
    worker: WorkerProcess, codec: Codec, pairs: list[tuple[Request, Outcome]], rate: int
) -> tuple[dict[str, float], float]:
    """Ask over HTTP; gives the waits, and how many answers per second came."""
    url = f"{worker.url}/tasks/{worker.task}/predictions"
    waits: list[float] = []
    headers = {"Content-Type": "application/avro"}
    in_flight: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=DRAIN_S)

    async def ask(session: aiohttp.ClientSession, body: bytes, due: float) -> None:
        try:
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status == 200:
                    waits.append((time.perf_counter() - due) * 1000)
        except (aiohttp.ClientError, TimeoutError):
            pass  # it is missing in the count of answers

    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        started = time.perf_counter()
        for number, (request, _) in enumerate(pairs):
            due = started + number / rate
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            body = codec.encode(replace(request, ts=now_ms()))
            each = asyncio.create_task(ask(session, body, due))
            in_flight.add(each)
            each.add_done_callback(in_flight.discard)
            if len(in_flight) >= MAX_IN_FLIGHT:
                await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
        if in_flight:
            await asyncio.wait(in_flight, timeout=DRAIN_S)
        took = time.perf_counter() - started
    return quantiles(waits) | {"sent": len(pairs)}, len(waits) / took
