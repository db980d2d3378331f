"""The schemas that a task's older records were written with: every revision command names its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from infra.inbound import Message
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.codec import Codec
from schemas.errors import BadRecord, TaskError
from schemas.records import Command, Control
from schemas.topics import TaskTopics

PREFIX = "schema."
SPEC_TEXT = "spec_text"
"""Argument of a revision command: the specification for people."""


def learn(codec: Codec, command: Command) -> None:
    """Let a codec read what was written under a revision.

    Parameters
    ----------
    command
        A revision command; others are skipped.
    """
    for schema in _schemas(command):
        codec.register(schema)


def learn_all(codec: Codec, connection: Connection, topics: TaskTopics) -> None:
    """Let a codec read what was written under any revision so far, as `T.control` tells (blocks).

    Raises
    ------
    TaskError
        When a feature has another type today: what was served with the old one would be no value of it.
    """
    for command in commands(codec, read_all(connection, topics.control)):
        try:
            learn(codec, command)
        except BadRecord:
            continue  # no audit of ours; the log's own commands decide
        for schema in _schemas(command):
            _check_types(codec, json.loads(schema), command)


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
