"""The serve agent: requests from the topic in, predictions out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from agents.loop import TaskLoop
from infra.clock import now_ms
from infra.inbound import SERVED, Inbound
from infra.kafka.transaction import Headers, OutRecord
from schemas.errors import BadRecord
from schemas.formats import AVRO_MARK, HEADER_BYTES
from schemas.records import Request
from streams.quality.edge import EdgeCounter

MAX_KEY_BYTES: Final = 1024
"""A dead letter is placed by its original key up to this length, else anywhere."""


class Serve:
    """Answers the requests of a batch with the models in force.

    Parameters
    ----------
    loop
        The task's.
    """

    def __init__(self, loop: TaskLoop) -> None:
        self.loop = loop
        self.counter = EdgeCounter(loop.context.task.features, loop.context.slot)
        self.letters: Counter[str] = Counter()
        """Dead letters of the batch at work, by reason; counted when it is committed."""
        self._arrived: list[int] = []
        """When the batch's answered requests came (ms)."""
        self._headers = served_by(loop)

    def process(self, items: Iterable[Inbound]) -> Iterator[OutRecord]:
        """Give the batch's outputs: a prediction or a dead letter per request, and the tallies of all.

        The tallies lie in the transaction that answers: they are there if, and only if, the answers are.
        """
        loop, counter = self.loop, self.counter
        counter.drop()  # of a batch that was not committed
        self.letters.clear()
        self._arrived.clear()
        for item in items:
            partition = item.message.partition() or 0
            if item.bad is not None:
                counter.refused(partition, item.bad, item.arrived)
                yield dead_letter(loop, item, item.bad, self.letters)
                continue
            request: Request = item.record
            try:
                loop.server.times.check(request.ts, item.arrived)
                prediction = loop.server.predict(request, item.at)
                value = loop.context.codec.encode(prediction, json=loop.context.settings.json_records)
            except BadRecord as bad:
                counter.refused(partition, bad, item.arrived)
                yield dead_letter(loop, item, bad, self.letters)
                continue
            loop.statistics.counts["predictions"] += 1
            self._arrived.append(item.arrived)
            counter.answered(partition, request, written(item.message.value()), item.remarks)
            key = request.request_id.encode()
            yield OutRecord(loop.context.topics.predictions, key, value, headers=self._headers)
        yield from tally_records(loop, counter)
        yield from loop.subjects.records("serve")

    def commit(self) -> None:
        """Keep what the counter remembers of the batch: it is committed."""
        self.counter.commit()
        self.loop.subjects.commit("serve")
        now, answers = now_ms(), self.loop.statistics.answers["topic"]
        for arrived in self._arrived:
            answers.add(max(0, now - arrived) / 1000)
        self.loop.statistics.count_dead_letters(self.letters)


def served_by(loop: TaskLoop) -> Headers:
    """Give the headers of a prediction that this worker serves."""
    return [(SERVED, loop.context.slot.encode())]


def tally_records(loop: TaskLoop, counter: EdgeCounter) -> Iterator[OutRecord]:
    """Give what was counted since the last commit, for the one partition of its topic."""
    for tally in counter.tallies():
        yield OutRecord(
            loop.context.topics.quality, loop.context.slot.encode(), loop.context.codec.encode(tally), 0
        )


def written(value: bytes) -> str:
    """Say how a record is written: `json`, or the fingerprint of its Avro schema."""
    return value[len(AVRO_MARK) : HEADER_BYTES].hex() if value.startswith(AVRO_MARK) else "json"


def dead_letter(loop: TaskLoop, item: Inbound, bad: BadRecord, letters: Counter[str]) -> OutRecord:
    """Give the dead letter of a record, with its original bytes; counts it among the batch's."""
    letters[bad.reason] += 1
    key: Any = item.message.key()
    # The original key is in the letter, too: a huge one, twice, could make it too large for its topic.
    placed_by = key if key is None or len(key) <= MAX_KEY_BYTES else None
    return OutRecord(loop.context.topics.dead_letters, placed_by, loop.context.codec.encode(item.refuse(bad)))
