"""What a process does with the registry that its settings name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from infra.kafka.connection import parse_properties
from infra.permissions import make_private
from infra.registry.client import RegistryClient
from infra.registry.registry import Registry
from schemas.codec import Codec
from schemas.errors import BrokerError, UsageError
from schemas.framing import Frame
from schemas.records import Prediction
from schemas.topics import TaskTopics


def client_of(url: str, properties: Iterable[str]) -> RegistryClient:
    """Make the client that settings describe.

    Raises
    ------
    UsageError
        For a wrong setting, or without the extra.
    """
    return RegistryClient(url, parse_properties([*properties]))


def subjects(codec: Codec) -> dict[str, str]:
    """Give the schema of each subject of a task, which is named by its topic."""
    names = TaskTopics(codec.task)
    by_topic = {names.requests: "Request", names.outcomes: "Outcome", names.predictions: "Prediction"}
    return {f"{topic}-value": json.dumps(codec.schemas[record]) for topic, record in by_topic.items()}


def register(client: RegistryClient, codec: Codec, level: str) -> dict[str, int]:
    """Register the task's schemas, each checked against its subject's compatibility (blocks); gives their ids."""
    return {subject: client.register(subject, schema, level) for subject, schema in subjects(codec).items()}


def prediction_frame(client: RegistryClient, codec: Codec, registry: Registry, folder: Path) -> Frame:
    """Give what frames predictions, and let the registry know its schema (blocks).

    Parameters
    ----------
    folder
        Keeps the id, so that a worker starts while the registry is away: an id stands for one schema for ever.

    Raises
    ------
    UsageError
        The schema is not registered.
    BrokerError
        The registry is away, and the id is not known here.
    """
    subject = f"{TaskTopics(codec.task).predictions}-value"
    mark = bytes.fromhex("c301" + codec.fingerprints["Prediction"])
    file = folder / "registry" / f"{codec.task}.json"
    place = f"{client.url} {subject} {mark.hex()}"
    try:
        found = client.id_of(subject, subjects(codec)[subject])
    except BrokerError:
        kept = json.loads(file.read_text()) if file.is_file() else {}
        if place not in kept:
            raise
        found = int(kept[place])
    if found is None:
        raise UsageError(
            f"the schema registry {client.url} lacks the current schema of {subject}: run riverloop schemas "
            "register"
        )
    make_private(file.parent)
    file.write_text(json.dumps({place: found}))
    registry.know(found, Prediction, mark)
    return Frame(mark, found)
