"""A worker's reports on `T.control`: that it is ready, and which commands it has applied."""

from __future__ import annotations

from contextlib import suppress

from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery, Writer
from infra.task.context import TaskContext
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness
from schemas.applied import Applied
from schemas.errors import BrokerError


class AppliedReports:
    """Reports each command that the models have applied, so that whoever asked for it knows where it is active.

    Parameters
    ----------
    context, readiness, fold
        The task in this worker.
    writer
        Writes the reports.
    """

    def __init__(self, context: TaskContext, readiness: Readiness, fold: LogFold, writer: Writer) -> None:
        self._context, self._readiness, self._fold, self._writer = context, readiness, fold, writer
        self._reported = -1
        """The newest command that is reported."""
        self._ready = False
        self._unsent: list[tuple[Applied, Delivery | None]] = []
        fold.moved.append(self.moved)

    def moved(self) -> None:
        """Report what is new since the last call; what Kafka has not acknowledged is sent again."""
        roles, ready = self._fold.models[0].roles, self._readiness.ready.is_set()
        if ready:
            since = self._reported if self._ready else -1
            new = {each.entry_id: each.offset for each in roles.decisions if each.offset > since}
            if new or not self._ready:
                record = Applied(self._context.slot, self._fold.next_offset - 1, now_ms(), new)
                self._unsent.append((record, None))
            self._reported = max(new.values(), default=self._reported)
        self._ready = ready
        self._unsent = [self._again(*each) for each in self._unsent if not _acknowledged(each[1])]

    def _again(self, record: Applied, delivery: Delivery | None) -> tuple[Applied, Delivery | None]:
        if delivery is not None and not delivery.done():
            return record, delivery
        name, topics = self._context.task.name.encode(), self._context.topics
        with suppress(BrokerError):  # tried again at the next call
            value = self._context.codec.encode(record)
            return record, self._writer.send(OutRecord(topics.control, name, value, 0))
        return record, None


def _acknowledged(delivery: Delivery | None) -> bool:
    return delivery is not None and delivery.done() and delivery.exception() is None
