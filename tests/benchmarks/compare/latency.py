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
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from agents.cli.processes import WorkerProcess
from agents.http.status import quantiles
from infra.kafka.admin import create_topics
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from schemas.codec import Codec
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER, TaskTopics, topics
from tests.answers import SeenAnswers
from tests.benchmarks.compare.bare_http import bare_handler
from tests.benchmarks.compare.http_load import HttpLoad
from tests.benchmarks.compare.load import requests_and_outcomes
from tests.benchmarks.compare.task import bench_task, write_task
from tests.topics import delete_topics

RATES: Final = (100, 1_000, 5_000)
OUTCOME_AFTER_S: Final = 0.5
DRAIN_S: Final = 20.0
WARM_S: Final = 3.0
"""So long the load lasts before anything is measured: broker, clients and connections are new."""
SETTLE_S: Final = 2.0
TICK_S: Final = 0.001


def latency(
    connection: Connection, rates: tuple[int, ...] = RATES, seconds: float = 10.0
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
        Per rate: `topic`, `outcome_to_serving`, `http`, `bare` (see `bare_http`), each with count, p50 and p99
        (ms), and `http_rate` and `bare_rate`, the requests per second that were answered over HTTP.
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
        warm = int(WARM_S * rate)
        pairs = list(requests_and_outcomes(2 * (warm + count), seed=rate))
        run = _OverTopic(connection, codec, TaskTopics(name), pairs[: warm + count], rate, warm)
        over_topic = run.measure()
        time.sleep(SETTLE_S)
        fresh = worker.status()["freshness_ms"]
        url = f"{worker.url}/tasks/{name}/predictions"
        requests = [request for request, _ in pairs[warm + count :]]
        waits, answered_per_s = asyncio.run(_over_http(url, _bodies(codec, requests), rate, warm))
        bare_url = stack.enter_context(bare_handler(connection.bootstrap, TaskTopics(name).requests))
        bare, bare_per_s = asyncio.run(_over_http(bare_url, _bodies(codec, requests), rate, warm))
        return {
            "rate": rate,
            "seconds": seconds,
            "topic": over_topic,
            "outcome_to_serving": fresh,
            "http": quantiles(waits) | {"sent": count},
            "http_rate": answered_per_s,
            "bare": quantiles(bare) | {"sent": count},
            "bare_rate": bare_per_s,
        }


def _bodies(codec: Codec, requests: list[Request]) -> Iterator[bytes]:
    return (codec.encode(replace(request, ts=now_ms())) for request in requests)


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
        warm: int,
    ) -> None:
        self._codec, self._places, self._pairs, self._rate = codec, places, pairs, rate
        self._warm = warm
        self._due: dict[str, float | None] = {}
        self._waits: list[float] = []
        self._answers = SeenAnswers(connection, codec, places, 1, self._seen)
        self._producer = Producer(
            connection.config(**{"linger.ms": 0, "partitioner": PARTITIONER, "enable.idempotence": True}),
            logger=CLIENT_LOG,
        )
        self._reported = 0

    def _seen(self, prediction: Any) -> None:
        if (due := self._due.pop(prediction.request_id)) is not None:
            self._waits.append((time.perf_counter() - due) * 1000)

    def _ask(self, number: int, due: float) -> None:
        request = replace(self._pairs[number][0], ts=now_ms())
        self._due[request.request_id] = due if number >= self._warm else None
        self._write(self._places.requests, request)
        self._tell(number - int(OUTCOME_AFTER_S * self._rate))

    def _tell(self, until: int) -> None:
        while self._reported < until:
            self._write(self._places.outcomes, replace(self._pairs[self._reported][1], ts=now_ms()))
            self._reported += 1

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
        while self._due and time.monotonic() < until:
            time.sleep(0.05)
        ended.set()
        reader.join()
        self._answers.close()
        return quantiles(self._waits) | {"sent": count - self._warm}


async def _over_http(url: str, bodies: Iterator[bytes], rate: int, warm: int) -> tuple[list[float], float]:
    """Ask over HTTP; gives the waits (ms) behind the first `warm`, and how many answers per second came."""
    load = HttpLoad(url, "application/avro")
    await load.run(islice(bodies, warm), rate)
    load.waits_ms.clear()
    took = await load.run(bodies, rate)
    load.close()
    return load.waits_ms, len(load.waits_ms) / took
