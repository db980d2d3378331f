"""Where partitions end for a reader of committed records, asked without blocking anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public

from infra.kafka.admin import client_of
from infra.kafka.buffers import Partition
from infra.kafka.connection import Connection
from infra.kafka.offsets import PASSING

Answer = Callable[[dict[Partition, int]], None]

log = logging.getLogger(__name__)


class StableOffsets:
    """Asks for last stable offsets: the ends below which no transaction is open. To be closed.

    Parameters
    ----------
    connection
        The cluster; a client of its own is made at the first question.
    timeout_s
        After how long an answer is given up.
    """

    def __init__(self, connection: Connection, timeout_s: float = 5.0) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._admin: AdminClient | None = None
        self._met: Future[Any] = Future()
        """Done once a broker has answered the client, or has not in time."""
        self._open = 0
        """Questions that are not answered yet."""
        self.stale = False
        """Whether the client is to be replaced once its questions are answered."""

    def ask(self, partitions: Iterable[Partition], answer: Answer) -> None:
        """Ask for the ends of partitions; `answer` is called once on the running event loop.

        Parameters
        ----------
        answer
            Called with the last stable offsets of those partitions whose leader answered in time; never when
            this is closed meanwhile.
        """
        loop, asked = asyncio.get_running_loop(), list(partitions)
        if self._admin is None:
            self._admin = admin = client_of(self._connection)
            # See `client_for_offsets`.
            self._met = admin.describe_cluster(request_timeout=self._timeout_s)
        admin, met = self._admin, self._met
        self._open += 1
        if met.done():
            self._ask(admin, asked, answer)
        else:
            later = partial(loop.call_soon_threadsafe, self._ask, admin, asked, answer)
            met.add_done_callback(lambda _: later())

    def _ask(self, admin: AdminClient, partitions: Iterable[Partition], answer: Answer) -> None:
        if admin is not self._admin:
            self._open -= 1
            return  # closed meanwhile
        loop = asyncio.get_running_loop()
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka left it without types
        futures: dict[TopicPartition, Future[Any]] = admin.list_offsets(
            {TopicPartition(partition.topic, partition.number): latest for partition in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout_s,
        )
        ends: dict[Partition, int] = {}
        waiting = set(futures)

        def receive(place: TopicPartition, future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                ends[Partition(place.topic, place.partition)] = future.result().offset
            else:
                log.info("the end of %s[%d] is unknown: %s", place.topic, place.partition, error)
                self.stale = self.stale or _is_stale(error)
            waiting.discard(place)
            if not waiting:
                self._open -= 1
                if self.stale and not self._open:
                    # It would go on asking with the leader's epoch from before: the cluster was restarted.
                    self.close()
                answer(ends)

        for place, future in futures.items():
            future.add_done_callback(
                lambda done, place=place: loop.call_soon_threadsafe(receive, place, done)  # type: ignore[misc]  # the default binds the loop's variable
            )

    def close(self) -> None:
        """End the client, on the event loop: see `client_of` for what comes of forgetting it.

        The client's thread may be the last that holds a future, and with it `receive` and this object.
        """
        if self._admin is not None:
            self._admin.__exit__(None, None, None)
        self._admin, self.stale = None, False


def _is_stale(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in PASSING
