"""How commands reach the cluster: `--bootstrap`, `--property`, the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from agents.settings import from_environment
from infra.kafka.connection import Connection, check_command_line, parse_properties
from infra.kafka.reachable import check_reachable
from infra.subjects import Subjects
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.topics import TaskTopics

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """Add `--bootstrap` and `--property` to a command."""
    command = click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_no_secrets,
        help="A further librdkafka property. Repeatable. Secrets only in RIVERLOOP_KAFKA or its file.",
    )(command)
    return click.option(
        "--bootstrap", metavar="HOST:PORT", help="The Kafka cluster; or RIVERLOOP_BOOTSTRAP."
    )(command)


def _no_secrets(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    check_command_line(texts)
    return texts


def connect(bootstrap: str | None, properties: Sequence[str]) -> Connection:
    """Make the connection that the options or the environment describe, and ask whether anybody answers.

    Raises
    ------
    UsageError
        When no address is given.
    BrokerError
        When the cluster does not answer, or refuses TLS or login.
    """
    address = bootstrap or from_environment("bootstrap")
    if not address:
        raise UsageError(
            "give the Kafka cluster's address with --bootstrap HOST:PORT or in RIVERLOOP_BOOTSTRAP; "
            "riverloop demo brings its own"
        )
    connection = connection_to(address, properties)
    check_reachable(connection)
    return connection


def connection_to(address: str, properties: Sequence[str]) -> Connection:
    """Make the connection to a cluster, with the properties of the environment and those of the options."""
    told = from_environment("kafka").splitlines()
    return Connection(address, parse_properties([line for line in told if line.strip()] + list(properties)))


def codec_of(loaded: LoadedTask) -> Codec:
    """Make a task's codec, with the token key of the environment: for reading, not for what is stored."""
    key = from_environment("token_key").encode() or None
    task = loaded.task
    return Codec(task.name, task.kind, task.features, key)


def writing_codec(loaded: LoadedTask, connection: Connection) -> tuple[Codec, Subjects]:
    """Make a task's codec for what is stored, with the keys of its tokens, which are yet to be loaded.

    Raises
    ------
    TaskError
        Without the token key that the dictionary needs.
    """
    task = loaded.task
    token_key = from_environment("token_key").encode()
    subjects = Subjects.of(connection, TaskTopics(task.name), task.features, token_key)
    return Codec(task.name, task.kind, task.features, subjects.keys, serving=True), subjects
