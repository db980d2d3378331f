"""A client of a schema registry with Confluent's interface: it is away, says no, or has an answer."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from schemas.errors import BrokerError, UsageError
from schemas.framing import SchemaKey

TIMEOUT_S: Final = 10.0
ABSENT: Final = 404
LEVELS: Final = tuple(
    f"{name}{suffix}" for name in ("BACKWARD", "FORWARD", "FULL") for suffix in ("", "_TRANSITIVE")
)
"""Levels of compatibility, beside NONE."""


class RegistryClient:
    """Asks a registry; everything blocks.

    Parameters
    ----------
    url
        Its URL, or several separated by commas.
    properties
        Further ones of Confluent's client, such as ``basic.auth.user.info``.

    Raises
    ------
    UsageError
        Without the package's extra `registry`, or for a wrong URL or property.
    """

    def __init__(self, url: str, properties: Mapping[str, str]) -> None:
        try:
            from confluent_kafka import schema_registry as module  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(
                f"a schema registry needs the extra `registry` ({error.name} is missing): pip install "
                "'riverloop[registry]'"
            ) from None
        # Its client writes a line for each call.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self.url, self._module = url, module
        try:
            config = {"url": url, "timeout": TIMEOUT_S, "max.retries": 0, **properties}
            self._client: Any = module.SchemaRegistryClient.new_client(config)
            # A command ends with it, a worker keeps it: whoever drops it drops its connections.
            weakref.finalize(self, self._client.close)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the schema registry {url} cannot be used: {error}") from None

    def schema(self, key: SchemaKey) -> tuple[str, str] | None:
        """Give the type and the text of a schema; None when the registry has none.

        Raises
        ------
        BrokerError
            It is away, or refuses to say.
        """
        if isinstance(key, UUID):
            found = self._ask(self._client.get_schema_by_guid, str(key))
        else:
            found = self._ask(self._client.get_schema, key)
        return None if found is None else (found.schema_type or "AVRO", found.schema_str)

    def id_of(self, subject: str, schema: str) -> int | None:
        """Give the id of a schema under a subject; None when it is not registered there."""
        found = self._ask(self._client.lookup_schema, subject, self._avro(schema))
        return None if found is None else int(found.schema_id)

    def register(self, subject: str, schema: str, level: str) -> int:
        """Set a subject's compatibility, check a schema against it, and register it; gives its id.

        Raises
        ------
        UsageError
            The schema is not compatible with the subject's earlier ones.
        BrokerError
            The registry is away, or refuses.
        """
        made = self._avro(schema)
        known = self.id_of(subject, schema)
        if known is None and self._ask(self._client.get_versions, subject):
            # Under its present level: who lowers it does so in the registry.
            if not self._ask(self._client.test_compatibility, subject, made):
                raise UsageError(
                    f"the schema of subject {subject} is incompatible with its latest version in {self.url}: "
                    "keep removed features as optional ones, or change the subject's compatibility in the registry"
                )
        elif known is None:
            self._set(self._client.set_compatibility, subject, level)
        return int(self._set(self._client.register_schema, subject, made))

    def compatibility(self, subject: str) -> str:
        """Give a subject's level; empty when it has none of its own."""
        return str(self._ask(self._client.get_compatibility, subject) or "")

    def _avro(self, schema: str) -> Any:
        return self._module.Schema(schema, "AVRO")

    def _ask(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._module.SchemaRegistryError as error:
            if error.http_status_code == ABSENT:
                return None
            raise BrokerError(f"the schema registry {self.url} does not answer: {error}") from error
        except Exception as error:  # the client's transport has errors of its own
            raise BrokerError(f"the schema registry {self.url} does not answer: {error!r}") from error

    def _set(self, call: Any, *arguments: Any) -> Any:
        found = self._ask(call, *arguments)
        if found is None:
            raise BrokerError(f"the schema registry {self.url} has no subject {arguments[0]}")
        return found
