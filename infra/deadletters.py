"""Dead letters: read by what is wanted, and replayed once each, with a trace.

A replay is one Kafka transaction: the original bytes on their source topic, each with a header that names its
dead letter, and an audit on `T.control` that names them all. What an audit names is not replayed again. Two
replays at the same time have the same transactional id, so that the later one ends the earlier one before it
reads the audits.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from confluent_kafka import Message

from infra.kafka.admin import partition_count, topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, ProducerFenced, TransactionRunner
from infra.past import commands, learn
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError, TaskError, TransactionAborted, UsageError
from schemas.records import Command, Control, DeadLetter, Position
from schemas.topics import MAX_RECORD_BYTES, MAX_TOPIC_RECORD_BYTES, TaskTopics

Place = tuple[int, int]
"""Partition and offset on `T.dead-letters`."""

REPLAYED: Final = "riverloop.replayed-from"
"""Header of a replayed record: the place of its dead letter."""
AT_ONCE: Final = 200
AT_ONCE_BYTES: Final = 4 * 1024 * 1024
ROOM_BYTES: Final = 4096
"""What the header and the batch around a record may take of its topic's limit."""
NOTHING: Final[Mapping[Place, bytes]] = MappingProxyType({})
_PLACE: Final = re.compile(r"(?:.*\[)?(\d{1,9})\]?@(\d{1,18})\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant; an empty field means any."""

    reasons: Set[str] = frozenset()
    topics: Set[str] = frozenset()
    """Full names of source topics."""
    since: int | None = None
    """Arrived at this time or later, ms."""
    until: int | None = None
    """Arrived before this time, ms."""
    places: Set[Place] = frozenset()

    def takes(self, found: Found) -> bool:
        """Whether a letter is meant."""
        letter = found.letter
        return (
            (not self.places or found.place in self.places)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or (letter.source is not None and letter.source.topic in self.topics))
            and (self.since is None or letter.arrived >= self.since)
            and (self.until is None or letter.arrived < self.until)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter where it lies."""

    place: Place
    letter: DeadLetter
    replayed: bool
    """Whether an audit names it."""


@dataclass(slots=True)
class Replayed:
    """What a replay did."""

    count: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    """By the sentence that says why."""


class DeadLetters:
    """The dead letters of one task.

    Parameters
    ----------
    connection, codec
        Where they lie, and what reads them.

    Raises
    ------
    UsageError
        When the task has no topics there.
    """

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection, self._codec = connection, codec
        self.topics = TaskTopics(codec.task)
        self.unreadable = 0
        """Records on the topic that are no dead letters: somebody else wrote them."""
        self._partitions = partition_count(connection, self.topics.dead_letters)
        if not self._partitions:
            raise UsageError(
                f"there is no topic {self.topics.dead_letters} on {connection.bootstrap}; "
                "riverloop topics create makes it"
            )
        for command in commands(codec, self._audits()):
            # What cannot be read was not written by us; its records stay undecoded.
            with contextlib.suppress(BadRecord):
                learn(codec, command)

    def read(self, wanted: Wanted) -> Iterator[Found]:
        """Give the letters that are meant, as they lie; the ends are those of this call (blocks)."""
        topic, replayed = self.topics.dead_letters, self.replayed()
        ends = end_offsets(self._connection, [(topic, number) for number in range(self._partitions)])
        for number in sorted({place[0] for place in wanted.places} or range(self._partitions)):
            end = ends.get((topic, number), 0)
            for message in read_all(self._connection, topic, number, end=end) if end else ():
                place = (number, message.offset() or 0)
                try:
                    letter = self._codec.decode_dead_letter(message.value())
                except BadRecord:
                    self.unreadable += 1
                    continue
                found = Found(place, letter, place in replayed)
                if wanted.takes(found):
                    yield found

    def replayed(self) -> frozenset[Place]:
        """Give the places of the letters that were replayed, open transactions waited for (blocks)."""
        mark = self._mark()
        found: set[Place] = set()
        for message in self._audits():
            try:
                record = self._codec.decode_control(message.value())
            except BadRecord:
                continue
            told = record.command.arguments
            # A topic that was made anew counts its offsets from 0 again.
            if (record.kind, record.command.name) == ("audit", "replay") and told.get("topic_id") == mark:
                found.update(parse_place(each) for each in told.get("letters", "").split())
        return frozenset(found)

    def sendable(
        self, wanted: Wanted, skipped: Counter[str], mended: Mapping[Place, bytes] = NOTHING
    ) -> Iterator[Found]:
        """Give the letters that can be replayed; why not, for the others, is counted by sentence (blocks).

        Parameters
        ----------
        mended
            Corrected bytes to take in place of a letter's own.
        """
        for each in self.read(wanted):
            value = mended.get(each.place, each.letter.value)
            found = replace(each, letter=replace(each.letter, value=value))
            if why := self._why_not(found):
                skipped[why] += 1
            else:
                yield found

    def replay(
        self,
        wanted: Wanted,
        *,
        author: str,
        why: str,
        at: int,
        limit: int | None = None,
        mended: Mapping[Place, bytes] = NOTHING,
    ) -> Replayed:
        """Write the letters' records to their source topics again, each letter once for all time (blocks).

        Parameters
        ----------
        author, why
            For the audit.
        at
            Wall clock, ms.
        limit
            At most so many.
        mended
            Corrected bytes to take in place of a letter's own.

        Raises
        ------
        BrokerError
            When a transaction's end is not known, or another replay has begun. Running it again is safe.
        """
        done = Replayed()
        letters = self.sendable(wanted, done.skipped, mended)
        asyncio.run(self._replay(letters, done, author, why, at, limit))
        return done

    async def _replay(
        self, letters: Iterator[Found], done: Replayed, author: str, why: str, at: int, limit: int | None
    ) -> None:
        mark = self._mark()
        runner = TransactionRunner(self._connection, f"riverloop.{self._codec.task}.dead-letters")
        try:
            # First of all: this ends whoever else replays, and decides on what a dead one left open.
            await runner.start()
            for batch in _batches(letters, limit):
                places = " ".join(shown_place(each.place) for each in batch)
                command = Command("replay", "", {"topic_id": mark, "letters": places}, author, why)
                audit = self._codec.encode(Control("audit", command, at))
                records = [self._record(each) for each in batch]
                records.append(OutRecord(self.topics.control, self._codec.task.encode(), audit, 0))
                await runner.commit(records, {}, b"")
                done.count += len(batch)
                done.by_topic.update(record.topic for record in records[:-1])
        except ProducerFenced as error:
            raise BrokerError(
                f"{done.count:,} were replayed, then another replay of task {self._codec.task} began and ended "
                "this one"
            ) from error
        except TransactionAborted as error:
            raise BrokerError(
                f"{done.count:,} were replayed, then it is not known whether Kafka took the next ones: "
                f"{self._connection.hide(str(error))}; run it again, nothing is replayed twice"
            ) from error
        finally:
            await runner.close()

    def _why_not(self, found: Found) -> str:
        """Say why a letter is not replayed; empty when it is."""
        letter, topics = found.letter, self.topics
        if found.replayed:
            return "replayed before"
        decode = {
            topics.requests: self._codec.decode_request,
            topics.outcomes: self._codec.decode_outcome,
            topics.predictions: self._codec.decode_prediction,
        }
        if letter.source is None or letter.source.topic not in decode:
            # Whoever can write dead letters must not choose where we write.
            return "their source is no topic of this task"
        limit = MAX_TOPIC_RECORD_BYTES if letter.source.topic == topics.predictions else MAX_RECORD_BYTES
        if _size(letter) > MAX_TOPIC_RECORD_BYTES - ROOM_BYTES or len(letter.value or b"") > limit:
            return "too large still"
        try:
            decode[letter.source.topic](letter.value)
        except BadRecord as bad:
            return f"today's task refuses them, too: {bad.reason}"
        except TaskError:  # without the key of its tokens; a worker has it
            return ""
        return ""

    def _record(self, found: Found) -> OutRecord:
        letter, source = found.letter, found.letter.source
        assert source is not None
        # Where it lay: the join forwards what belongs elsewhere. All three topics have as many partitions.
        partition = source.partition if 0 <= source.partition < self._partitions else None
        at = Position(self.topics.dead_letters, *found.place)
        return OutRecord(source.topic, letter.key, letter.value, partition, [(REPLAYED, str(at).encode())])

    def _audits(self) -> Iterator[Message]:
        control = (self.topics.control, 0)
        end = end_offsets(self._connection, [control], committed=False)[control]
        return read_all(self._connection, *control, end=end) if end else iter(())

    def _mark(self) -> str:
        return topic_id(self._connection, self.topics.dead_letters)


def parse_place(text: str) -> Place:
    """Read a place as lists show it.

    Raises
    ------
    UsageError
        For anything else.

    Examples
    --------
    >>> parse_place("2@17"), parse_place("orders.dead-letters[2]@17")
    ((2, 17), (2, 17))
    """
    match = _PLACE.match(text)
    if match is None:
        raise UsageError(
            f"{text[:60]!r} is no place of a dead letter: write PARTITION@OFFSET, for example 0@17"
        )
    return int(match[1]), int(match[2])


def shown_place(place: Place) -> str:
    """Write a place."""
    return f"{place[0]}@{place[1]}"


def _size(letter: DeadLetter) -> int:
    return len(letter.key or b"") + len(letter.value or b"")


def _batches(letters: Iterable[Found], limit: int | None) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size, left = 0, limit
    for each in letters:
        if left == 0:
            break
        left = None if left is None else left - 1
        if batch and (len(batch) == AT_ONCE or size + _size(each.letter) > AT_ONCE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += _size(each.letter)
    if batch:
        yield batch
