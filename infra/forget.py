"""Forgetting a person: the key of their tokens is destroyed, and what names them in plain is deleted.

In this order, so that a run that is killed anywhere is completed by the next one:

1. Records that services wrote in plain are deleted from `T.requests` and `T.outcomes` as far as the loop has
   processed them, from `T.dead-letters` whole, and from `T.predictions` up to the newest one from outside that
   names the person.
2. One transaction rewrites `T.keys` without the person's salt, and writes the audit on `T.control`.
3. What lies on `T.keys` below that is deleted. Rows of the person on `T.features` get tombstones.
4. Step 1 again, for what was processed meanwhile; then all is read, to say what is left.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Message

from infra.features.forget import FeatureRows
from infra.inbound import SERVED, header
from infra.kafka.aborted import ProducerFenced
from infra.kafka.admin import delete_records, partition_count
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets, end_offsets, first_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from infra.subjects import Subjects
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError, TransactionAborted, UsageError
from schemas.limits import REASON
from schemas.records import Command, Control
from schemas.subject_keys import BEGIN, END, LOOKUP_BYTES
from schemas.topics import TaskTopics
from streams.lookup import Lookup
from streams.positions import Place

TIMEOUT_MS: Final = 20_000
"""A run that was killed holds up who reads `T.keys` from its beginning for so long, or until the next run."""
MAX_SUBJECT: Final = 10_000


@dataclass(slots=True)
class Forgotten:
    """What forgetting did, or would do."""

    key: bool = False
    """Whether the person had a key."""
    deleted: Counter[str] = field(default_factory=Counter)
    """By topic: offsets of which the records were deleted, commit markers included."""
    rows: int = 0
    """Rows of `T.features` that were deleted."""
    left: Counter[str] = field(default_factory=Counter)
    """By topic: records that name the person in plain still."""
    back: bool = False
    """Whether the person has a new key: a request came while they were forgotten."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return not self.left and not self.back


class Forgetting:
    """Forgets one person in one task.

    Parameters
    ----------
    group
        The workers' consumer group: what it has committed is processed.
    subject
        An entity key as services send it; or a value of a tokenised feature, or a reporter.
    lookups
        Of the task: what they read of the person on `T.features` is deleted.

    Raises
    ------
    UsageError
        When the task has no topics, or its dictionary keeps entity keys in plain.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        subjects: Subjects,
        group: str,
        subject: str,
        lookups: Sequence[Lookup] = (),
    ) -> None:
        if not 0 < len(subject) <= MAX_SUBJECT:
            raise UsageError(f"an entity must have 1 to {MAX_SUBJECT:,} characters, not {len(subject):,}")
        dictionary = codec.dictionary
        if dictionary.entity_key == "none":
            raise UsageError(
                f'the dictionary of task {codec.task} stores entity keys unchanged (entity_key="none"): '
                "they are in the training log in plain text and cannot be removed"
            )
        self._connection, self._codec, self._subjects = connection, codec, subjects
        self._group, self._subject = group, subject
        self.topics = names = TaskTopics(codec.task)
        self._partitions = {
            topic: partition_count(connection, topic)
            for topic in (
                *(names.requests, names.predictions, names.outcomes, names.dead_letters),
                *(names.log, names.join_state, names.keys, names.control),
            )
        }
        missing = sorted(topic for topic, count in self._partitions.items() if not count)
        if missing:
            raise UsageError(
                f"topic {missing[0]} does not exist on {connection.bootstrap}; run: riverloop topics create"
            )
        self._personal = {"entity_key", "reporter"} | {
            each.name for each in dictionary if each.personal_data != "none"
        }
        count = partition_count(connection, names.features) if lookups else 0
        self._rows = FeatureRows(connection, names.features, count, lookups, self._personal)
        # A text lies in Avro as it is, in JSON perhaps escaped.
        self._needles = {subject.encode(), json.dumps(subject)[1:-1].encode()}

    def check_said(self, *texts: str) -> None:
        """Reject texts for the audit that name the person: the audit is kept for ever.

        Raises
        ------
        UsageError
            For one that does, or is too long.
        """
        if any(len(text) > REASON.characters for text in texts):
            raise UsageError(
                f"the reason and the author must have at most {REASON.characters:,} characters each"
            )
        named = re.compile(rf"(?<!\w){re.escape(self._subject)}(?!\w)", re.IGNORECASE)
        if any(named.search(text) for text in texts):
            raise UsageError("the reason and the author must not contain the entity, since the audit is kept")

    def preview(self) -> Forgotten:
        """Say what `run` would do, and change nothing (blocks)."""
        done = Forgotten()
        self._subjects.load()
        done.key = self._subjects.keys is not None and self._subjects.keys.knows(self._subject)
        firsts = first_offsets(self._connection, self._places())
        for place, offset in self._deletable().items():
            done.deleted[place[0]] += max(0, offset - firsts[place])
        done.rows = len(self._rows.of(self._subject))
        done.deleted = +done.deleted
        return done

    def run(self, *, author: str, reason: str, at: int) -> Forgotten:
        """Forget the person (blocks). To be run again after a failure: it completes what was begun.

        Parameters
        ----------
        at
            Wall clock, ms.

        Raises
        ------
        UsageError
            When the author or the reason names the person.
        BrokerError
            When the cluster does not do what is asked, or another run for this task has begun.
        """
        self.check_said(author, reason)
        done = Forgotten()
        self._delete(done)
        below = " ".join(
            f"{topic}[{number}]@{offset}"
            for (topic, number), offset in sorted(first_offsets(self._connection, self._places()).items())
            if offset
        )
        asyncio.run(self._destroy(done, below, author, reason, at))
        self._delete(done)
        rows = self._rows.of(self._subject)
        self._rows.delete(rows)
        done.rows = len(rows)
        self._subjects.load()
        done.back = self._subjects.keys is not None and self._subjects.keys.knows(self._subject)
        places = [
            (topic, number)
            for topic in self._partitions.keys() - {self.topics.keys, self.topics.control}
            for number in range(self._partitions[topic])
        ]
        for message in self._read(end_offsets(self._connection, places, committed=False)):
            done.left[message.topic() or ""] += self._names(message)
        done.left[self.topics.features] = len(self._rows.of(self._subject))
        done.left = +done.left
        return done

    # ------------------------------------------------------------------ records in plain

    def _places(self) -> list[Place]:
        names = self.topics
        plain = (names.requests, names.predictions, names.outcomes, names.dead_letters)
        return [(topic, number) for topic in plain for number in range(self._partitions[topic])]

    def _delete(self, done: Forgotten) -> None:
        firsts = first_offsets(self._connection, self._places())
        wanted = {place: offset for place, offset in self._deletable().items() if offset > firsts[place]}
        for place, first in delete_records(self._connection, wanted).items():
            done.deleted[place[0]] += first - firsts[place]

    def _deletable(self) -> dict[Place, int]:
        """Give the offsets below which records can go: nothing that the loop has yet to read."""
        names, places = self.topics, self._places()
        dead_letters = [place for place in places if place[0] == names.dead_letters]
        processed = committed_offsets(
            self._connection, self._group, [place for place in places if place not in dead_letters]
        )
        found = {place: offset for place, offset in processed.items() if place[0] != names.predictions}
        for place, offset in processed.items():
            if place[0] == names.predictions and (last := self._last_from_outside(place, offset)) is not None:
                found[place] = last + 1
        # Letters are for people, and their bytes may name the person in a way that nobody can read.
        return found | end_offsets(self._connection, dead_letters)

    def _last_from_outside(self, place: Place, end: int) -> int | None:
        """Give the offset of the newest processed prediction from outside that names the person."""
        last = None
        for message in self._read({place: end}):
            if header(message, SERVED) is None and self._names(message):
                last = message.offset()
        return last

    def _read(self, ends: Mapping[Place, int]) -> Iterator[Message]:
        firsts = first_offsets(self._connection, ends)
        for place, end in sorted(ends.items()):
            if firsts[place] < end:
                yield from read_all(self._connection, *place, end=end)

    def _names(self, message: Message) -> bool:
        """Whether a record names the person in plain."""
        return any(self._found(each) for each in (message.key(), message.value()))

    def _found(self, data: Any) -> bool:
        if not isinstance(data, bytes) or not any(needle in data for needle in self._needles):
            return False
        try:
            return self._names_in(self._codec.reader.peek(data)[1])
        except BadRecord:
            return True  # it cannot be read, and the name is in it

    def _names_in(self, fields: Mapping[str, Any]) -> bool:
        for name, value in fields.items():
            if name in self._personal and value == self._subject:
                return True
            for each in value if isinstance(value, list) else [value]:
                if self._names_in(each) if isinstance(each, dict) else self._found(each):
                    return True
        return False

    # ------------------------------------------------------------------ the key

    async def _destroy(self, done: Forgotten, below: str, author: str, reason: str, at: int) -> None:
        names, task = self.topics, self._codec.task
        runner = TransactionRunner(self._connection, f"riverloop.{task}.forget", timeout_ms=TIMEOUT_MS)
        try:
            # First of all: this ends whoever else forgets, and decides on what a dead one left open.
            await runner.start()
            self._subjects.load()
            keys = self._subjects.keys
            done.key = keys is not None and keys.knows(self._subject)
            arguments = {"key": "destroyed" if done.key else "none", "deleted_below": below}
            command = Command("forget", "", arguments, author, reason)
            audit = self._codec.encode(Control("audit", command, at))
            records = [OutRecord(names.control, task.encode(), audit, 0)]
            salts = {} if keys is None else keys.without(self._subject)
            read = self._end()
            while keys is not None:
                rewritten = [(BEGIN, b""), *salts.items(), (END, b"")]
                records += [OutRecord(names.keys, key, value, 0) for key, value in rewritten]
                await runner.commit(records, {}, b"")
                # Keys that workers have written between our reading and our writing.
                begin, more = self._since(read)
                more = {key: salt for key, salt in more.items() if key not in salts}
                more.pop(keys.lookup(self._subject), None)
                if not more:
                    delete_records(self._connection, {(names.keys, 0): begin})
                    return
                salts, records, read = salts | more, [], begin
            await runner.commit(records, {}, b"")
        except ProducerFenced as error:
            raise BrokerError(f"another run of forget for task {task} has replaced this one") from error
        except TransactionAborted as error:
            raise BrokerError(
                f"it is unknown whether Kafka accepted it ({self._connection.hide(str(error))}); run the "
                "command again"
            ) from error
        finally:
            await runner.close()

    def _end(self) -> int:
        place = (self.topics.keys, 0)
        return end_offsets(self._connection, [place], committed=False)[place]

    def _since(self, start: int) -> tuple[int, dict[bytes, bytes]]:
        """Give where our rewriting begins, and the salts that lie between an offset and that."""
        found: dict[bytes, bytes] = {}
        begin, before = start, dict(found)
        for message in read_all(self._connection, self.topics.keys, 0, start, self._end()):
            key, value = message.key(), message.value()
            if key == BEGIN:
                begin, before = message.offset() or 0, dict(found)
            elif isinstance(key, bytes) and len(key) == LOOKUP_BYTES and value is not None:
                found[key] = value
        return begin, before
