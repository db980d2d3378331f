"""Topics outside a task whose records become records of the task, in a consumer group of the task."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar, Final

from confluent_kafka import Message

from infra.inbound import Inbound
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import stamped_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from infra.kafka.watching import seen_topics
from infra.task.context import TaskContext
from infra.task.readiness import Readiness, TaskStopped
from infra.task.serve import dead_letter
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.errors import BadRecord, BrokerError, TransactionAborted
from schemas.topics import MAX_TOPIC_RECORD_BYTES

PACE_S: Final = 0.1
"""Records wait up to this long for more of them."""
AWAY_S: Final = 1.0
"""Records that cannot be read while the cluster or a schema registry is away are read again after this time."""
log = logging.getLogger(__name__)


def foreign_group(context: TaskContext, role: str) -> str:
    """Return the consumer group of a processor that reads topics outside the task."""
    return f"{context.group}.{context.task.name}.{role}"


class ForeignTopics(ABC):
    """Writes what the records of topics outside the task give: each once, with the offsets in its transaction.

    The group is the task's own, so that two tasks may read one topic, and a foreign topic moves no other partition.

    Parameters
    ----------
    topics
        Their names.
    max_batch
        Most records of a transaction.
    """

    role: ClassVar[str]
    """The processor's name, which ends those of the group, the transactional id and the channel."""
    made: ClassVar[str]
    """Counter of the records that were made."""
    ignored: ClassVar[str]
    """Counter of the records that give none."""

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        turns: Turns,
        statistics: Statistics,
        topics: Collection[str],
        max_batch: int,
    ) -> None:
        self._context, self._readiness, self._turns = context, readiness, turns
        self._statistics = statistics
        self.topics = tuple(topics)
        self.group = foreign_group(context, self.role)
        self.stamps: dict[str, str] = {}
        """By topic: its id, which is written with offsets of it."""
        self._taken: dict[str, str] = {}
        """By topic: the id that it had when the client began. It does not read on in another topic of that name."""
        self._gone: dict[Partition, str] = {}
        self._dead_letters: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        """Of the batch at work."""
        self.runner = TransactionRunner(
            context.connection,
            self.transactional_id(context.slot),
            last_point="between-map-and-commit",
            stamps=self.stamps,
        )
        self.channel = Channel(
            name=f"{context.task.name}.{self.role}",
            topics=self.topics,
            may=readiness.may_work,
            max_batch=max_batch,
            pace_s=PACE_S,
        )

    def transactional_id(self, slot: str) -> str:
        """Return the transactional id of the worker of a slot."""
        return f"{self._context.group}.{self._context.task.name}.{self.role}.{slot}"

    # ------------------------------------------------------------------ batches

    async def on_batch(self, consumer: BatchConsumer, batch: Batch[Message]) -> None:
        """Write what a batch of records gives, and how far their topics are read."""
        try:
            records = await self._turns.run(self.process(batch.items))
        except BrokerError as error:
            log.info("%s: the records cannot be read yet: %s", batch.channel.name, error)
            consumer.batches.rewind(batch)
            await asyncio.sleep(AWAY_S)
            return
        try:
            await consumer.batches.commit(batch, self.runner, [each for each in records if each is not None])
        except TransactionAborted as error:
            log.warning("%s: %s", batch.channel.name, error)
            return
        self._statistics.counts.update(self._counts)
        self._statistics.count_dead_letters(self._dead_letters)

    def process(self, messages: Iterable[Message]) -> Iterator[OutRecord | None]:
        """Return what each record gives, or its dead letter; None for one that is ignored."""
        self._counts.clear()
        self._dead_letters.clear()
        for message in messages:
            try:
                made = self.record(message)
            except BadRecord as bad:
                made = self._rejected(message, bad)
            else:
                self._counts[self.ignored if made is None else self.made] += 1
            yield made

    @abstractmethod
    def record(self, message: Message) -> OutRecord | None:
        """Return what a record gives; None: nothing.

        Raises
        ------
        BadRecord
            It becomes a dead letter.
        BrokerError
            It cannot be told now.
        """

    def _rejected(self, message: Message, bad: BadRecord) -> OutRecord:
        bad.__traceback__ = None  # its frames hold what was parsed
        found: Any = message
        if len(message.value() or b"") + len(message.key() or b"") > MAX_TOPIC_RECORD_BYTES:
            found = _Without(message)  # its dead letter must fit, whatever its topic allows
        return dead_letter(self._context, Inbound(found, None, bad), bad, self._dead_letters)

    # ------------------------------------------------------------------ topics

    async def assigned(self, consumer: BatchConsumer, partitions: Iterable[Partition]) -> None:
        """Take partitions up: where the group stands, or at the beginning of a topic that was made again."""
        places = [(each.topic, each.number) for each in partitions]
        try:
            ids = await self._readiness.retry(self._ids)
            committed = await self._readiness.retry(
                lambda: stamped_offsets(self._context.connection, self.group, places)
            )
        except TaskStopped:
            return
        for place, each in committed.items():
            if each.stamp and each.stamp != ids.get(place[0], each.stamp):  # of another topic of that name
                consumer.start_at(Partition(*place), 0)
        self._taken = ids | self._taken
        self.stamps.clear()
        self.stamps.update(ids)

    def gone(self, partition: Partition, text: str) -> None:
        """Take note that a partition cannot be read on: the next look says why."""
        self._gone[partition] = text

    async def look(self, consumer: BatchConsumer) -> None:
        """Read a topic that was made again from its beginning; stop the task where records were deleted unread."""
        gone, self._gone = self._gone, {}
        try:
            ids = await asyncio.get_running_loop().run_in_executor(None, self._ids)
        except BrokerError as error:
            log.info("%s: the topics cannot be described: %s", self._context.task.name, error)
            self._gone = gone
            return
        if changed := sorted(topic for topic in ids if self._taken.get(topic, ids[topic]) != ids[topic]):
            log.warning("%s: %s was recreated; it is read anew", self._context.task.name, ", ".join(changed))
            self._taken |= ids
            consumer.rejoin()
            return
        for partition, text in gone.items():
            self._readiness.reject(
                str(partition),
                f"records on {partition} were deleted before they were read ({text}). Stop the workers, let group "
                f"{self.group} continue with: kafka-consumer-groups --group {self.group} --topic {partition.topic} "
                "--reset-offsets --to-earliest --execute, and start them again",
            )

    def _ids(self) -> dict[str, str]:
        seen = seen_topics(self._context.connection, [*self.topics])
        return {name: each.topic_id for name, each in seen.items()}


class _Without:
    """A message without its bytes, which are too many for a dead letter."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def key(self) -> None:
        """Give nothing."""

    def value(self) -> None:
        """Give nothing."""
