"""The options and environment with which commands reach the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agents.settings import from_environment
from infra.kafka.connection import Connection, check_command_line, parse_properties
from infra.kafka.reachable import check_reachable
from infra.subjects import Subjects
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.subject_keys import SubjectKeys
from schemas.topics import TaskTopics

if TYPE_CHECKING:
    from infra.registry.client import RegistryClient

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """Add `--bootstrap` and `--property` to a command."""
    command = click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_no_secrets,
        help="Further librdkafka property; repeatable. Secrets: RIVERLOOP_KAFKA_PROPERTIES.",
    )(command)
    return click.option(
        "--bootstrap", metavar="HOST:PORT", help="Kafka bootstrap servers. [RIVERLOOP_BOOTSTRAP]"
    )(command)


def _no_secrets(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    check_command_line(texts)
    return texts


def connect(bootstrap: str | None, properties: Sequence[str]) -> Connection:
    """Connect as the options or the environment say, and check that the cluster answers.

    Raises
    ------
    UsageError
        When no address is given.
    BrokerError
        When the cluster does not answer, or rejects TLS or the login.
    """
    address = bootstrap or from_environment("bootstrap")
    if not address:
        raise UsageError(
            "no Kafka cluster: set --bootstrap HOST:PORT or RIVERLOOP_BOOTSTRAP; riverloop demo starts its own"
        )
    connection = connection_to(address, properties)
    check_reachable(connection)
    return connection


def connection_to(address: str, properties: Sequence[str]) -> Connection:
    """Return the connection to a cluster, with the properties of the environment and the options."""
    lines = from_environment("kafka_properties").splitlines()
    return Connection(address, parse_properties([line for line in lines if line.strip()] + list(properties)))


def with_registry(codec: Codec) -> Codec:
    """Let a codec read records with the framing of the registry that is set."""
    if from_environment("schema_registry"):
        # Not imported without one.
        from infra.registry.registry import Registry  # noqa: PLC0415

        codec.reader.unframe = Registry(registry_client(), codec, blocks=True).unframe
    return codec


def registry_client() -> RegistryClient:
    """Return the client of the registry that is set.

    Raises
    ------
    UsageError
        None is set.
    """
    url = from_environment("schema_registry")
    if not url:
        raise UsageError("no schema registry is set: set RIVERLOOP_SCHEMA_REGISTRY to its URL")
    from infra.registry.setup import client_of  # noqa: PLC0415  not imported without one

    return client_of(url, from_environment("registry_properties").splitlines())


def codec_of(loaded: LoadedTask) -> Codec:
    """Return a task's codec for reading, with the token key of the environment."""
    key = from_environment("token_key").encode() or None
    task = loaded.task
    return with_registry(task.codec(key))


def reading_codec(loaded: LoadedTask, connection: Connection, *, serving: bool) -> Codec:
    """Return a task's codec with the keys of its tokens as they lie on `T.keys`; nothing is written there.

    Parameters
    ----------
    serving
        Whether requests from outside will be read, which needs the token key.

    Raises
    ------
    TaskError
        Without the token key that the dictionary needs.
    """
    task, token_key = loaded.task, from_environment("token_key").encode()
    keys = SubjectKeys(token_key) if task.features.tokenised and token_key else None
    codec = with_registry(task.codec(keys, serving=serving))
    Subjects(keys, connection, TaskTopics(task.name).keys).load()
    return codec


def writing_codec(loaded: LoadedTask, connection: Connection) -> tuple[Codec, Subjects]:
    """Return a task's codec for writing, and the keys of its tokens, not loaded yet.

    Raises
    ------
    TaskError
        Without the token key that the dictionary needs.
    """
    task = loaded.task
    token_key = from_environment("token_key").encode()
    subjects = Subjects.of(connection, TaskTopics(task.name), task.features, token_key)
    return with_registry(task.codec(subjects.keys, serving=True)), subjects
