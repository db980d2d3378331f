"""Dead letters: read by what is wanted, with what the audits on `T.control` say of their replays."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from confluent_kafka import Message

from infra.kafka.admin import partition_count, topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.past import commands, learn
from schemas.codec import Codec
from schemas.errors import BadRecord, TaskError, UsageError
from schemas.records import DeadLetter
from schemas.topics import MAX_RECORD_BYTES, MAX_TOPIC_RECORD_BYTES, TaskTopics
from streams.positions import plain

DeadLetterPosition = tuple[int, int]
"""Partition and offset on `T.dead-letters`."""

ROOM_BYTES: Final = 4096
"""What the header and the batch around a record may take of its topic's limit."""
NOTHING: Final[Mapping[DeadLetterPosition, bytes]] = MappingProxyType({})
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
    places: Set[DeadLetterPosition] = frozenset()

    def takes(self, found: Found) -> bool:
        """Whether a dead letter is meant."""
        dead_letter = found.dead_letter
        return (
            (not self.places or found.place in self.places)
            and (not self.reasons or dead_letter.reason in self.reasons)
            and (
                not self.topics
                or (dead_letter.source is not None and plain(dead_letter.source.topic) in self.topics)
            )
            and (self.since is None or dead_letter.arrived >= self.since)
            and (self.until is None or dead_letter.arrived < self.until)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter where it lies."""

    place: DeadLetterPosition
    dead_letter: DeadLetter
    replayed: bool
    """Whether an audit names it."""


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
        self.connection, self.codec = connection, codec
        self.topics = TaskTopics(codec.task)
        self.unreadable = 0
        """Records on the topic that are not dead letters."""
        self.partitions = partition_count(connection, self.topics.dead_letters)
        if not self.partitions:
            raise UsageError(
                f"topic {self.topics.dead_letters} does not exist on {connection.bootstrap}; run: riverloop "
                "topics create"
            )
        for command in commands(codec, self._audits()):
            # What cannot be read was not written by us; its records stay undecoded.
            with contextlib.suppress(BadRecord):
                learn(codec, command)

    def read(self, wanted: Wanted) -> Iterator[Found]:
        """Give the dead letters that are meant, as they lie; the ends are those of this call (blocks)."""
        topic, replayed = self.topics.dead_letters, self.replayed()
        ends = end_offsets(
            self.connection, [(topic, number) for number in range(self.partitions)], committed=False
        )
        for number in sorted({place[0] for place in wanted.places} or range(self.partitions)):
            end = ends.get((topic, number), 0)
            for message in read_all(self.connection, topic, number, end=end) if end else ():
                place = (number, message.offset() or 0)
                try:
                    dead_letter = self.codec.decode_dead_letter(message.value())
                except BadRecord:
                    self.unreadable += 1
                    continue
                found = Found(place, dead_letter, place in replayed)
                if wanted.takes(found):
                    yield found

    def replayed(self) -> frozenset[DeadLetterPosition]:
        """Return the places of the dead letters that were replayed, open transactions waited for (blocks)."""
        mark = self.mark()
        found: set[DeadLetterPosition] = set()
        for message in self._audits():
            try:
                record = self.codec.decode_control(message.value())
            except BadRecord:
                continue
            arguments = record.command.arguments
            if (record.kind, record.command.name) == ("audit", "replay") and arguments.get(
                "topic_id"
            ) == mark:
                found.update(parse_place(each) for each in arguments.get("dead_letters", "").split())
        return frozenset(found)

    def sendable(
        self, wanted: Wanted, skipped: Counter[str], mended: Mapping[DeadLetterPosition, bytes] = NOTHING
    ) -> Iterator[Found]:
        """Return the dead letters that can be replayed; why not, for the others, is counted by sentence (blocks).

        Parameters
        ----------
        mended
            Corrected bytes to take in place of a dead letter's own.
        """
        for each in self.read(wanted):
            value = mended.get(each.place, each.dead_letter.value)
            found = replace(each, dead_letter=replace(each.dead_letter, value=value))
            if why := self._why_not(found):
                skipped[why] += 1
            else:
                yield found

    def _why_not(self, found: Found) -> str:
        """Say why a dead letter is not replayed; empty when it is."""
        dead_letter, topics = found.dead_letter, self.topics
        if found.replayed:
            return "replayed before"
        decode = {
            topics.requests: self.codec.decode_request,
            topics.outcomes: self.codec.decode_outcome,
            topics.predictions: self.codec.decode_prediction,
        }
        if dead_letter.source is None or plain(dead_letter.source.topic) not in decode:
            # Whoever can write dead letters must not choose where we write.
            return "their source is not a topic of this task"
        limit = (
            MAX_TOPIC_RECORD_BYTES
            if plain(dead_letter.source.topic) == topics.predictions
            else MAX_RECORD_BYTES
        )
        if (
            original_size(dead_letter) > MAX_TOPIC_RECORD_BYTES - ROOM_BYTES
            or len(dead_letter.value or b"") > limit
        ):
            return "still too large"
        try:
            decode[plain(dead_letter.source.topic)](dead_letter.value)
        except BadRecord as bad:
            return f"the task still rejects them: {bad.reason}"
        except TaskError:  # without the key of its tokens; a worker has it
            return ""
        return ""

    def _audits(self) -> Iterator[Message]:
        control = (self.topics.control, 0)
        end = end_offsets(self.connection, [control], committed=False)[control]
        return read_all(self.connection, *control, end=end) if end else iter(())

    def mark(self) -> str:
        """Give what audits know the topic by: made anew, it counts its offsets from 0 again (blocks)."""
        return topic_id(self.connection, self.topics.dead_letters)


def parse_place(text: str) -> DeadLetterPosition:
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
            f"{text[:60]!r} is not a place of a dead letter; write PARTITION@OFFSET, for example 0@17"
        )
    return int(match[1]), int(match[2])


def shown_place(place: DeadLetterPosition) -> str:
    """Write a place."""
    return f"{place[0]}@{place[1]}"


def original_size(dead_letter: DeadLetter) -> int:
    """Return the size of a dead letter's original record (bytes)."""
    return len(dead_letter.key or b"") + len(dead_letter.value or b"")
