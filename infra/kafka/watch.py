"""A thread that asks a cluster again and again whether it is there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka.acknowledging import Acknowledging
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection

EVERY_S: Final = 1.0
ANSWER_S: Final = 4.0
"""With `EVERY_S` and a second question at work: a cluster that is silent is known as such within 10 s."""
log = logging.getLogger(__name__)


class ClusterWatch:
    """Asks the leaders of partitions for their ends, and notes whether they answer.

    A cluster whose processes are stopped still accepts connections, so only an answer counts. A consumer asks that
    joins nothing: an admin client would go on asking the leader that it has known (see `infra.kafka.offsets`).

    Parameters
    ----------
    places
        The partitions: each task's log, which everything that a worker does ends in.
    cluster
        Takes down what is found.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        connection: Connection,
        places: Sequence[tuple[str, int]],
        cluster: Acknowledging,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._places, self._clock = connection, list(places), clock
        self.cluster = cluster
        self._stopping = threading.Event()
        self._since: float | None = None
        self._thread = threading.Thread(target=self._run, name="cluster-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a question that is under way is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        config: dict[str, Any] = {
            "group.id": "riverloop-watch",
            "enable.auto.commit": False,
            # A connection whose other end is gone without a word is closed, and made anew.
            "socket.timeout.ms": int(ANSWER_S * 1000) + 1000,
        }
        consumer = Consumer(self._connection.config(**config), logger=CLIENT_LOG)
        try:
            while not self._stopping.is_set():
                self._ask(consumer)
                self._say()
                self._stopping.wait(EVERY_S)
        finally:
            consumer.close()

    def _ask(self, consumer: Consumer) -> None:
        for topic, number in self._places:
            try:
                consumer.get_watermark_offsets(TopicPartition(topic, number), ANSWER_S, cached=False)
            except KafkaException as error:
                text = self._connection.hide(error.args[0].str())
                at = self._connection.bootstrap
                self.cluster.silent(
                    f"the Kafka cluster at {at} does not answer for {topic}[{number}]: {text}"
                )
                return
        self.cluster.answered()

    def _say(self) -> None:
        now = self._clock()
        problems = self.cluster.problems(now)
        if problems and self._since is None:
            self._since = now
            log.warning("not ready: %s", "; ".join(problems))
        elif not problems and self._since is not None:
            log.warning("the Kafka cluster acknowledges again, after %.0f s", now - self._since)
            self._since = None
