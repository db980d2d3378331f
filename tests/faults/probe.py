"""Records when committed records become readable, and so when the loop stood still and when it continued."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.reading import COMMITTED

SHORT_MS: Final = 50
"""Shorter gaps are not kept."""
Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Arrivals:
    """When records of a partition became readable."""

    last_ms: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """From the last record before to the first one after (ms UTC, wall clock)."""

    def note(self, now_ms: int) -> None:
        """Note that records have arrived."""
        if self.last_ms and now_ms - self.last_ms >= SHORT_MS:
            self.gaps.append((self.last_ms, now_ms))
        self.last_ms = now_ms


class Probe:
    """Reads the log and the predictions from their current ends, in a thread of its own.

    The log's timestamps are those of writing. The probe measures when a record can be read: behind an open
    transaction that is later.

    Parameters
    ----------
    connection
        The cluster.
    places
        The partitions to read.
    """

    def __init__(self, connection: Connection, places: list[Place]) -> None:
        self._connection = connection
        self.arrivals = {place: Arrivals() for place in places}
        self._stopping = threading.Event()
        self._renewed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults-probe", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def renew(self) -> None:
        """Use a new client: a topic was recreated."""
        self._renewed.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._renewed.clear()
            self._read()

    def _read(self) -> None:
        properties = {**COMMITTED, "group.id": "riverloop-faults-probe", "auto.offset.reset": "latest"}
        consumer = Consumer(self._connection.config(**properties, **{"log_level": 0}), logger=CLIENT_LOG)
        consumer.assign([TopicPartition(*place) for place in self.arrivals])
        while not (self._stopping.is_set() or self._renewed.is_set()):
            messages = consumer.consume(1, 0.05)
            if messages:
                messages += consumer.consume(5000, 0)
            now_ms = time.time_ns() // 1_000_000
            places = {
                (message.topic() or "", message.partition() or 0)
                for message in messages
                if message.error() is None
            }
            for place in places:
                self.arrivals[place].note(now_ms)
        consumer.close()
