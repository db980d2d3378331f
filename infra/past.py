"""The schemas that a task's older records were written with: every revision command names its own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from infra.inbound import Message
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.log_commands import lacks_revisions, log_commands
from schemas.codec import Codec
from schemas.errors import BadRecord, RecordsGone, TaskError
from schemas.records import Command, Control
from schemas.topics import TaskTopics

PREFIX: Final = "schema."
SPEC_TEXT: Final = "spec_text"
"""Argument of a revision command: the specification for people."""
ASK_AGAIN_S: Final = 1.0
PAUSE: Final = 9.0
"""Between two look-ups, in units of what the last one took: together they take a tenth of the time at most."""
MOST_ASKED: Final = 1_000


def learn(codec: Codec, command: Command) -> None:
    """Let a codec read what was written under a revision.

    Parameters
    ----------
    command
        A revision command; others are skipped.
    """
    for schema in _schemas(command):
        codec.reader.register(schema)


class PastSchemas:
    """Lets a codec read what was written under any revision, as `T.control` tells; also revisions opened later.

    A worker may get a record of another worker's revision before it has read of it in the log.

    Parameters
    ----------
    codec
        Learns the schemas. Later it calls `learn_later` for a fingerprint that it does not know.
    """

    def __init__(self, codec: Codec, connection: Connection, topics: TaskTopics) -> None:
        self._codec, self._connection, self._topic = codec, connection, topics.control
        self._next: int | None = None
        self._asked: dict[bytes, float] = {}
        """By fingerprint: when it was not found (s, monotonic)."""
        self._pause_ends = -math.inf

    def learn_all(self) -> None:
        """Learn all that `T.control` has now (blocks).

        Raises
        ------
        TaskError
            When a feature has another type today: what was served with the old one would be no value of it.
        """
        found = [*self._new()]
        if lacks_revisions(found):  # it was made again
            topics = TaskTopics(self._codec.task)
            found += [each for _, each in log_commands(self._connection, self._codec, topics)]
        for command in (each.command for each in found):
            with suppress(BadRecord):  # no audit of ours; the log's own commands decide
                learn(self._codec, command)
                for schema in _schemas(command):
                    _check_types(self._codec, json.loads(schema), command)
        self._codec.reader.learn_later = self.learn_later

    def learn_later(self, fingerprint: bytes, ours: bool) -> None:
        """Learn what is new on `T.control` (blocks); at most once a second for the same fingerprint.

        Parameters
        ----------
        ours
            Whether only workers write such records. Others may have invented fingerprints, a new one each: they are
            looked up only so often that the worker goes on. Meanwhile their records are dead letters.

        Raises
        ------
        BrokerError
            The cluster does not answer.
        """
        now = time.monotonic()
        if now < self._asked.get(fingerprint, -math.inf) + ASK_AGAIN_S or (
            not ours and now < self._pause_ends
        ):
            return
        for each in self._new():
            with suppress(BadRecord):
                learn(self._codec, each.command)
        if len(self._asked) > MOST_ASKED:
            self._asked.clear()
        self._asked[fingerprint] = ended = time.monotonic()
        self._pause_ends = ended + PAUSE * (ended - now)

    def _new(self) -> Iterator[Control]:
        try:
            messages = [*read_all(self._connection, self._topic, start=self._next)]
        except RecordsGone:  # the topic was made again
            messages = [*read_all(self._connection, self._topic)]
        for message in messages:
            self._next = (message.offset() or 0) + 1
        return controls(self._codec, messages)


def commands(codec: Codec, messages: Iterable[Message]) -> Iterator[Command]:
    """Give the commands that lie on `T.control`; what cannot be read opened no revision."""
    return (each.command for each in controls(codec, messages))


def controls(codec: Codec, messages: Iterable[Message]) -> Iterator[Control]:
    """Give the requests and audits that lie on `T.control`."""
    for message in messages:
        with suppress(BadRecord):
            yield codec.decode_control(message.value())


def _schemas(command: Command) -> Iterator[str]:
    return (schema for name, schema in command.arguments.items() if name.startswith(PREFIX))


def _check_types(codec: Codec, schema: Any, command: Command) -> None:
    if schema["name"] != "Prediction":
        return
    fields = {each["name"]: each["type"] for each in schema["fields"]}
    for each in fields["features"]["fields"]:
        feature = codec.dictionary.by_name.get(each["name"])
        before = each["type"][-1] if isinstance(each["type"], list) else each["type"]
        if feature is None or feature.avro == before or (before, feature.avro) == ("long", "double"):
            continue
        revision = f"{command.model}.{command.arguments.get('revision', '?')}"
        raise TaskError(
            f"task {codec.task}: feature {feature.name} is a {feature.word}, but was stored as {before} "
            f"under {revision}: rename the new feature (column= keeps its name in data files)"
        )
