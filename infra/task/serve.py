"""The serve agent: requests from the topic in, predictions out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from infra.clock import now_ms
from infra.inbound import SERVED, Inbound
from infra.kafka.transaction import Headers, OutRecord
from infra.task.aggregates import AggregatesAgent, Found
from infra.task.context import TaskContext
from infra.task.runs import runs
from infra.task.statistics import Statistics
from infra.turns import Portion
from schemas.errors import BadRecord
from schemas.formats import AVRO_MARK, HEADER_BYTES
from schemas.records import Request
from streams.join.join import RUN
from streams.native.serving import NativeServer
from streams.native.tallies import TallyCodec
from streams.quality.edge import EdgeCounter
from streams.serve import Server

AT_ONCE: Final = 16
"""Requests in one step, at most, where a model is asked itself."""
MAX_KEY_BYTES: Final = 1024
"""A dead letter is placed by its original key up to this length, else anywhere."""


class Serve:
    """Answers the requests of a batch with the active models.

    Parameters
    ----------
    json_records
        Whether predictions are written as JSON.
    native
        Answers requests that were scanned; None: each is answered by what it says.
    aggregates
        Of the task, where it has some.
    """

    def __init__(
        self,
        context: TaskContext,
        server: Server,
        statistics: Statistics,
        *,
        json_records: bool = False,
        native: NativeServer | None = None,
        aggregates: AggregatesAgent | None = None,
    ) -> None:
        self.context, self.server, self.statistics = context, server, statistics
        self._json, self._native = json_records, native
        self._tallies = TallyCodec(context.codec)
        self._fingerprint = context.codec.fingerprints["Request"]
        self._aggregates = aggregates
        self.counter = EdgeCounter(self.context.task.features, self.context.slot)
        self.dead_letters: Counter[str] = Counter()
        """Dead letters of the batch at work, by reason; counted when it is committed."""
        self._arrived: Counter[int] = Counter()
        """Answered requests of the batch by the time at which they came (ms)."""
        self._headers = served_by(context.slot)
        self._portion = Portion(AT_ONCE)

    def process(self, items: Iterable[Inbound]) -> Iterator[list[OutRecord]]:
        """Return the outputs step by step: a prediction or a dead letter per request, and the tallies of all.

        The tallies lie in the transaction that answers: they are there if, and only if, the answers are.
        """
        counter = self.counter
        counter.drop()  # of a batch that was not committed
        self.dead_letters.clear()
        self._arrived.clear()
        if self._aggregates is not None:
            self._aggregates.begin()
        for partition, run in runs(items, self._most):
            native = None if run[0].scanned is None else self._native
            start, spent_s = 0, 0.0
            while start < len(run):
                began = time.perf_counter()
                records = None if native is None else self._answer(native, partition, run, start)
                if records is None:
                    native, records = None, []
                taken = len(records)
                if (at := start + taken) < len(run):
                    taken += 1
                    if (answer := self._one(partition, run[at])) is not None:
                        records.append(answer)
                spent_s += time.perf_counter() - began
                start += taken
                yield records
            self._portion.took(len(run), spent_s)
        if self._aggregates is not None:
            yield [*self._aggregates.outputs()]
        yield [*tally_records(self.context, counter, self._tallies)]

    def _most(self) -> int:
        """Return how many requests are answered in one step: a model's own code may take a second for each."""
        return RUN if self._native is not None and self._native.by_kernels else self._portion.count

    def _answer(
        self, native: NativeServer, partition: int, run: list[Inbound], start: int
    ) -> list[OutRecord] | None:
        """Answer scanned requests, from one of a run on, as far as the core does; None: it does none now."""
        scanned: list[Any] = [item.scanned for item in run]
        found = native.answer(scanned, start)
        if found is None:
            return None
        end = start + len(found)
        self.statistics.counts["predictions"] += len(found)
        self._arrived.update([item.arrived for item in run[start:end]])
        self.counter.answered_many(partition, scanned[start:end], self._fingerprint)
        topic, headers = self.context.topics.predictions, self._headers
        if (frame := self.context.frame) is not None:
            found = [(key, frame(value)) for key, value in found]
        if (events := self.context.events) is not None:
            return [
                OutRecord(topic, key, value, headers=[*headers, *events(key.decode(), each.ts)])
                for (key, value), each in zip(found, scanned[start:end], strict=True)
            ]
        return [OutRecord(topic, key, value, None, headers) for key, value in found]

    def _one(self, partition: int, item: Inbound) -> OutRecord | None:
        """Answer a request by what it says; None: it was answered before."""
        aggregates = self._aggregates
        if item.bad is not None:
            if aggregates is not None and not aggregates.passed(item):
                return None
            self.counter.rejected(partition, item.bad, item.arrived)
            return dead_letter(self.context, item, item.bad, self.dead_letters)
        request: Request = item.record
        found: Found = {}
        if aggregates is not None:
            taken = aggregates.take(request, item)
            if not isinstance(taken, dict):
                return taken
            found = taken
        try:
            request = self.server.complete(request, found)
            prediction = self.server.predict(request, item.at)
            value = self.context.codec.encode(prediction, json=self._json)
            if self.context.frame is not None:
                value = self.context.frame(value)
        except BadRecord as bad:
            self.counter.rejected(partition, bad, item.arrived)
            return dead_letter(self.context, item, bad, self.dead_letters)
        self.statistics.counts["predictions"] += 1
        self._arrived[item.arrived] += 1
        self.counter.answered(partition, request, written(item.value), item.remarks)
        key = request.request_id.encode()
        headers = self._headers
        if self.context.events is not None:
            headers = [*headers, *self.context.events(request.request_id, request.ts)]
        return OutRecord(self.context.topics.predictions, key, value, headers=headers)

    def commit(self) -> None:
        """Keep what the counter remembers of the batch: it is committed."""
        self.counter.commit()
        if self._aggregates is not None:
            self._aggregates.commit()
        now, answers = now_ms(), self.statistics.answers["topic"]
        for arrived, count in self._arrived.items():
            answers.add(max(0, now - arrived) / 1000, count)
        self.statistics.count_dead_letters(self.dead_letters)


def served_by(slot: str) -> Headers:
    """Return the headers of a prediction that this worker serves."""
    return [(SERVED, slot.encode())]


def tally_records(context: TaskContext, counter: EdgeCounter, tallies: TallyCodec) -> Iterator[OutRecord]:
    """Return what was counted since the last commit, for the one partition of its topic."""
    for tally in counter.tallies():
        yield OutRecord(context.topics.quality, context.slot.encode(), tallies.encode(tally), 0)


def written(value: bytes) -> str:
    """Say how a record is written: `json`, or the fingerprint of its Avro schema."""
    return value[len(AVRO_MARK) : HEADER_BYTES].hex() if value.startswith(AVRO_MARK) else "json"


def dead_letter(context: TaskContext, item: Inbound, bad: BadRecord, counts: Counter[str]) -> OutRecord:
    """Return the dead letter of a record, with its original bytes; counts it among the batch's."""
    counts[bad.reason] += 1
    key: Any = item.message.key()
    # The dead letter holds the original key as well: a huge one, twice, could make it too large for its topic.
    placed_by = key if key is None or len(key) <= MAX_KEY_BYTES else None
    return OutRecord(context.topics.dead_letters, placed_by, context.codec.encode(item.reject(bad)))
