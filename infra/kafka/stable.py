"""Where partitions end for a reader of committed records, asked without blocking anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from infra.kafka.buffers import Partition
from infra.kafka.connection import Connection
from infra.kafka.offsets import PartitionOffsets
from schemas.errors import BrokerError

Answer = Callable[[dict[Partition, int]], None]

log = logging.getLogger(__name__)


class StableOffsets:
    """Asks for last stable offsets: the ends below which no transaction is open. To be closed.

    Parameters
    ----------
    connection
        The cluster; a client and a thread of its own are made at the first question.
    timeout_s
        After how long an answer is given up.
    """

    def __init__(self, connection: Connection, timeout_s: float = 5.0) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._offsets: PartitionOffsets | None = None
        self._thread: ThreadPoolExecutor | None = None

    def ask(self, partitions: Iterable[Partition], answer: Answer) -> None:
        """Ask for the ends of partitions; `answer` is called once on the running event loop.

        Parameters
        ----------
        answer
            Called with the last stable offsets of the partitions, or with none where the cluster has not answered
            for all of them in time; never when this is closed meanwhile.
        """
        if self._offsets is None or self._thread is None:
            self._offsets = PartitionOffsets(self._connection)
            self._thread = ThreadPoolExecutor(1, "stable-offsets")
        loop, offsets, asked = asyncio.get_running_loop(), self._offsets, list(partitions)

        def receive(ends: dict[Partition, int]) -> None:
            if offsets is self._offsets:
                answer(ends)

        def work() -> None:
            ends: dict[Partition, int] = {}
            try:
                found = offsets.ends(asked, self._timeout_s)
                ends = {Partition(*place): end for place, end in found.items()}
            except BrokerError as error:
                log.info("%s", error)
            loop.call_soon_threadsafe(receive, ends)

        self._thread.submit(work)

    def close(self) -> None:
        """End the client, once it has an answer or has given up; waits for nothing."""
        offsets, thread = self._offsets, self._thread
        self._offsets = self._thread = None
        if offsets is not None and thread is not None:
            thread.submit(offsets.close)
            thread.shutdown(wait=False)
