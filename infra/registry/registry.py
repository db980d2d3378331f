"""Records with Confluent's framing become records with a fingerprint: one way in for both."""

from __future__ import annotations

import logging
import time
from typing import Any, Final, Protocol

from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError, SchemaPending
from schemas.framing import SchemaKey, avro_of, split

MISSING_S: Final = 30.0
"""A schema that the registry does not have is asked for again after this time."""
SAID_S: Final = 60.0
"""Time between two log lines about a registry that is away."""
log = logging.getLogger(__name__)


class Schemas(Protocol):
    """What is used of a registry."""

    def schema(self, key: SchemaKey) -> tuple[str, str] | None:
        """See `RegistryClient.schema`."""


class Registry:
    """Translates framed values, and remembers every schema for as long as the process lives.

    Parameters
    ----------
    blocks
        Whether an unknown schema is asked for at once. Else it is noted, and `fetch` asks.

    Notes
    -----
    In a registry an id never gets another schema, so what is known needs no registry any more.
    """

    def __init__(self, client: Schemas, codec: Codec, *, blocks: bool) -> None:
        self._client, self._codec, self._blocks = client, codec, blocks
        self._known: dict[tuple[SchemaKey, type[Any]], bytes | BadRecord] = {}
        """By schema and record: the mark that its values get, empty for JSON; or why they are rejected."""
        self._missing: dict[tuple[SchemaKey, type[Any]], float] = {}
        self._wanted: set[tuple[SchemaKey, type[Any]]] = set()
        self._said = -SAID_S

    def know(self, key: SchemaKey, record: type[Any], mark: bytes) -> None:
        """Take a schema's mark, without asking for it."""
        self._known[key, record] = mark

    def unframe(self, data: bytes, record: type[Any]) -> bytes:
        """Give a framed value as Avro single-object encoding, or as JSON.

        Parameters
        ----------
        record
            What the topic carries.

        Raises
        ------
        BadRecord
            The registry says that the schema does not exist, or it cannot be read.
        SchemaPending
            The schema is not known yet.
        BrokerError
            The registry is away; only where it is asked at once.
        """
        key, body = split(data)
        place = (key, record)
        found = self._known.get(place)
        if found is None and self._missing.get(place, 0.0) > time.monotonic():
            raise BadRecord("unknown_schema", f"the schema registry has no schema {key}")
        if found is None and self._blocks:
            self._fetch(place)
            return self.unframe(data, record)
        if found is None:
            self._wanted.add(place)
            raise SchemaPending(f"schema {key} is not known yet")
        if isinstance(found, BadRecord):
            raise BadRecord(found.reason, found.message)
        return found + body

    def fetch(self) -> bool:
        """Ask for the schemas that were noted (blocks); gives whether the registry answered."""
        for place in [*self._wanted]:
            try:
                self._fetch(place)
            except BrokerError as error:
                if time.monotonic() > self._said + SAID_S:
                    self._said = time.monotonic()
                    log.warning(
                        "%s: records wait for schema %s: %s; set right what is wrong, they are read then",
                        *(self._codec.task, place[0], error),
                    )
                return False
            self._wanted.discard(place)
        return True

    def _fetch(self, place: tuple[SchemaKey, type[Any]]) -> None:
        found = self._client.schema(place[0])
        if found is None:
            self._missing[place] = time.monotonic() + MISSING_S
            return
        kind, text = found
        try:
            self._known[place] = self._mark(kind, text, place[1])
        except BadRecord as bad:
            bad.__traceback__ = None
            self._known[place] = BadRecord(bad.reason, f"schema {place[0]}: {bad.message}")

    def _mark(self, kind: str, text: str, record: type[Any]) -> bytes:
        if kind == "JSON":
            return b""
        if kind != "AVRO":
            raise BadRecord("unknown_schema", f"its type is {kind}; send Avro or JSON")
        return self._codec.reader.register_writer(avro_of(text), record)
