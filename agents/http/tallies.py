"""Counts of requests over HTTP, written within a second, outside of transactions."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agents.http.prediction_cache import Sends
from infra.clock import now_ms
from infra.kafka.writer import Delivery
from infra.task.context import TaskContext
from infra.task.serve import tally_records
from infra.task.statistics import Statistics
from schemas.errors import BadRecord, BrokerError
from schemas.records import Request
from schemas.remarks import Remark
from streams.native.tallies import TallyCodec
from streams.quality.edge import EdgeCounter

EVERY_S: Final = 1.0
log = logging.getLogger(__name__)


class HttpTallies:
    """Counts for `T.quality`, each at most once: a worker that is killed loses those of its last second."""

    def __init__(self, context: TaskContext, statistics: Statistics, writer: Sends) -> None:
        self._context, self._counts, self._writer = context, statistics.counts, writer
        self.counter = EdgeCounter(context.task.features, context.slot, "http")
        self._tallies = TallyCodec(context.codec)
        self._due: asyncio.TimerHandle | None = None

    def answered(self, request: Request, remarks: list[Remark]) -> None:
        """Count a request that is answered for the first time here, with the remarks on unknown fields."""
        self.counter.answered(0, request, remarks=remarks)
        self._soon()

    def rejected(self, bad: BadRecord) -> None:
        """Count a rejected request."""
        self.counter.rejected(0, bad, now_ms())
        self._soon()

    def flush(self) -> None:
        """Hand over what was counted. What Kafka does not take is lost, for it might be there twice."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        try:
            for record in tally_records(self._context, self.counter, self._tallies):
                self._writer.send(record).add_done_callback(self._delivered)
        except BrokerError as error:
            self._lost(error)
        self.counter.commit()

    def _soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(EVERY_S, self.flush)

    def _delivered(self, delivery: Delivery) -> None:
        error = None if delivery.cancelled() else delivery.exception()
        if error is not None:
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self._counts["http_tallies_lost"] += 1
        log.warning("%s: lost counts of HTTP requests for data quality: %s", self._context.task.name, error)
