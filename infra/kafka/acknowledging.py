"""Whether a cluster acknowledges, judged by what it answers and by what becomes of writes; time is an argument."""

from __future__ import annotations

import threading
from typing import Final

from confluent_kafka import KafkaError

LATE_S: Final = 6.0
"""A write without an acknowledgement for this long says that the cluster does not acknowledge."""
FORGET_S: Final = 10.0
"""A failed write that nobody repeats counts for this long: otherwise a worker that gets no more work, because it is
not ready, would never be ready again."""
SILENCE: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""Errors of a write that are about the cluster, and not about the record or its writer."""


class Acknowledging:
    """What is known of a cluster. May be used from several threads.

    Without a watch (see `ClusterWatch`) and without writes nothing is held against the cluster.

    Examples
    --------
    >>> cluster = Acknowledging()
    >>> cluster.began("join", 100.0)
    >>> cluster.problems(103.0), cluster.problems(107.0)
    ([], ['the Kafka cluster has not acknowledged a write of join for 7 s'])
    >>> cluster.acknowledged("join")
    >>> cluster.problems(108.0)
    []
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent = ""
        self._under_way: dict[str, float] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    def answered(self) -> None:
        """Note that the cluster has answered a question."""
        self._silent = ""

    def silent(self, why: str) -> None:
        """Note that the cluster has not answered a question in time; `why` is a sentence."""
        self._silent = why

    def began(self, writer: str, now_s: float) -> None:
        """Note that a write is under way."""
        with self._lock:
            self._under_way[writer] = now_s

    def ended(self, writer: str) -> None:
        """Note that a write has ended for a reason that is not the cluster's."""
        with self._lock:
            self._under_way.pop(writer, None)

    def acknowledged(self, writer: str) -> None:
        """Note that a write is acknowledged: of every writer, what failed before is history."""
        with self._lock:
            self._under_way.pop(writer, None)
            self._failed.clear()

    def failed(self, writer: str, now_s: float, why: str) -> None:
        """Note that a write has failed, for a reason of `SILENCE`."""
        with self._lock:
            self._under_way.pop(writer, None)
            self._failed[writer] = now_s, why

    def problems(self, now_s: float) -> list[str]:
        """Say what is wrong now, a sentence each; empty while the cluster acknowledges.

        Parameters
        ----------
        now_s
            As in the calls before, s, monotonic.
        """
        with self._lock:
            found = [self._silent] if self._silent else []
            for writer, since_s in self._under_way.items():
                if (late_s := now_s - since_s) > LATE_S:
                    found.append(
                        f"the Kafka cluster has not acknowledged a write of {writer} for {late_s:.0f} s"
                    )
            for writer, (at_s, why) in self._failed.items():
                # One that is being repeated counts for as long as it is.
                if now_s - at_s < FORGET_S or writer in self._under_way:
                    found.append(f"the Kafka cluster did not acknowledge a write of {writer}: {why}")
            return found
