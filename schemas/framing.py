"""Confluent's wire format: a schema's id or GUID in front of the value, or its GUID in a header."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from schemas.errors import BadRecord
from schemas.formats import GUID_MARK, REGISTRY_MARK

SchemaKey = int | UUID
"""What names a schema in a registry."""
SchemaType = Literal["AVRO", "JSON", "PROTOBUF"]
HEADER: Final = "__value_schema_id"
"""Kafka header with the schema of a record's value."""
NEVER: Final = frozenset(b"\xc3{ \t\r\n")
"""First bytes of a value that says itself what it is: it needs no header."""


def framed(data: bytes, headers: Iterable[tuple[str, Any]] | None) -> bytes:
    r"""Put the schema of a header in front of its value, where it is the same as if it had been sent there.

    Examples
    --------
    >>> framed(b"body", [("__value_schema_id", bytes(5))])
    b'\x00\x00\x00\x00\x00body'
    """
    if data[0] in NEVER:
        return data
    for name, value in headers or ():
        if name == HEADER and value:
            return bytes(value) + data
    return data


def split(data: bytes) -> tuple[SchemaKey, bytes]:
    r"""Give the schema and the body of a framed value.

    Raises
    ------
    BadRecord
        `malformed`, where it ends early.

    Examples
    --------
    >>> split(b"\x00\x00\x00\x00\x07body")
    (7, b'body')
    """
    try:
        if data.startswith(REGISTRY_MARK):
            return struct.unpack_from(">I", data, 1)[0], data[5:]
        if data.startswith(GUID_MARK):
            return UUID(bytes=data[1:17]), data[17:]
    except (struct.error, ValueError):
        pass
    raise BadRecord("malformed", "the record ends before its schema's id does")


def prefix(schema_id: int) -> bytes:
    """Give what stands in front of a value whose schema has an id."""
    return struct.pack(">bI", 0, schema_id)


@dataclass(frozen=True, slots=True)
class Frame:
    r"""Puts a schema's id where its fingerprint was.

    Parameters
    ----------
    mark
        First bytes of single-object encoding with that schema; what begins otherwise is left as it is.
    schema_id
        The id of the schema in the registry.

    Examples
    --------
    >>> Frame(b"0123456789", 7)(b"0123456789body")
    b'\x00\x00\x00\x00\x07body'
    """

    mark: bytes
    schema_id: int

    def __call__(self, value: bytes) -> bytes:
        """Frame a value."""
        return prefix(self.schema_id) + value[len(self.mark) :] if value.startswith(self.mark) else value

    def without(self, value: bytes) -> bytes:
        r"""Take the frame of a value away again.

        Examples
        --------
        >>> Frame(b"0123456789", 7).without(b"\x00\x00\x00\x00\x07body")
        b'0123456789body'
        """
        frame = prefix(self.schema_id)
        return self.mark + value[len(frame) :] if value.startswith(frame) else value


def avro_of(text: str) -> Any:
    """Parse a registered Avro schema.

    Raises
    ------
    BadRecord
        `unknown_schema`, when it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("type") != "record" or not isinstance(found.get("name"), str):
        raise BadRecord("unknown_schema", "the registry's schema is no Avro record")
    return found
