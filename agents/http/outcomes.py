"""Outcomes over HTTP: checked, and on the topic before they are accepted."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from agents.http.body import read_record, said_id
from agents.http.prediction_cache import Sends
from agents.http.problems import Problem, dump
from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.errors import BadRecord, BrokerError
from schemas.records import Outcome
from schemas.remarks import Remarks
from streams.serve import Server

SLICE: Final = 50
"""So many outcomes of a list are written before others on the event loop get their turn."""


class Outcomes:
    """Takes the outcomes of one task."""

    def __init__(
        self,
        context: TaskContext,
        server: Server,
        subjects: Subjects,
        statistics: Statistics,
        turns: Turns,
        writer: Sends,
    ) -> None:
        self.context, self.server, self.subjects = context, server, subjects
        self.statistics, self.turns, self._writer = statistics, turns, writer
        self._remarks = Remarks(context.task.features)

    async def accept(self, records: list[Any]) -> list[bytes | Problem]:
        """Write each record in order; returns JSON or a problem for each.

        An outcome that is written twice because a call was repeated counts once: the join knows it.
        """
        found = await self.turns.run(map(self._one, records))
        # All are under way: it makes no difference in which order they are waited for.
        return [await self._accepted(*each, sent) for each, sent in zip(found, records, strict=True)]

    def _one(self, record: Any) -> tuple[str | None, Delivery | Problem]:
        try:
            outcome = self._read(record)
            out = OutRecord(
                self.context.topics.outcomes,
                outcome.request_id.encode(),
                self.context.codec.encode(outcome),
            )
            self.subjects.send(self._writer)
            return outcome.request_id, self._writer.send(out)
        except BadRecord as bad:
            self.statistics.counts["http_rejected"] += 1
            return said_id(record), Problem.of(bad)
        except BrokerError:
            return said_id(record), self._not_acknowledged()

    def _read(self, record: Any) -> Outcome:
        outcome = read_record(record, self.context.codec.decode_outcome)
        if not isinstance(outcome, Outcome):
            raise BadRecord("unexpected_punctuation", "punctuations are not accepted over HTTP")
        self.server.times.check(outcome.ts, now_ms())
        return outcome

    async def _accepted(
        self, request_id: str | None, delivery: Delivery | Problem, sent: Any
    ) -> bytes | Problem:
        if isinstance(delivery, Problem):
            found = delivery
        else:
            try:
                await asyncio.shield(delivery)
            except BrokerError:
                found = self._not_acknowledged()
            else:
                self.statistics.counts["http_outcomes"] += 1
                data: dict[str, Any] = {"request_id": request_id, "accepted": True}
                remarks = self._remarks.unknown_of_outcome(sent)
                return dump(data | ({"warnings": [each.plain() for each in remarks]} if remarks else {}))
        if request_id:
            found.more["request_id"] = request_id
        return found

    def _not_acknowledged(self) -> Problem:
        self.statistics.counts["http_not_acknowledged"] += 1
        detail = "Kafka did not acknowledge the outcome in time: retry; duplicates count once"
        return Problem(503, "not_acknowledged", detail)
