"""The file of a stored state: one Avro record of plain columns, in an object container file.

Any Avro tool reads the file. The reader here accepts exactly one header, so the schema in a file is compared and
never parsed, and no codec but `null` is possible.
"""

from __future__ import annotations

import io
from array import array
from typing import Any, Final, NamedTuple

from fastavro import parse_schema, schemaless_reader, schemaless_writer, writer

from schemas.errors import SnapshotError

FORMAT: Final = "1"
"""Version of what the columns mean; a file of another one is rejected, and the log is folded again."""

_SCHEMA: Final[Any] = parse_schema(
    {
        "type": "record",
        "name": "State",
        "namespace": "riverloop",
        "doc": "A state as plain data: objects by number, the first one is the root.",
        "fields": [
            {"name": "objects", "type": "long", "doc": "How many objects `cells` describes."},
            {
                "name": "texts",
                "type": {"type": "array", "items": "string"},
                "doc": "Texts, class names and field names, each once.",
            },
            {
                "name": "shapes",
                "type": {"type": "array", "items": "long"},
                "doc": "Per shape: count of fields, class, fields; class and fields are indices into texts.",
            },
            {"name": "floats", "type": "bytes", "doc": "IEEE 754 doubles, little endian, in order of use."},
            {"name": "blobs", "type": {"type": "array", "items": "bytes"}, "doc": "Bytes and arrays."},
            {
                "name": "cells",
                "type": {"type": "array", "items": "long"},
                "doc": "Per object: kind, shape, count of further values, values. A value is index*8 + tag.",
            },
        ],
    }
)
_SYNC: Final = b"riverloop.State."


def _header() -> bytes:
    file = io.BytesIO()
    writer(file, _SCHEMA, [], codec="null", sync_marker=_SYNC, metadata={"riverloop.state": FORMAT})
    return file.getvalue()


HEADER: Final = _header()


class StateTable(NamedTuple):
    """A state in columns; see the schema's fields."""

    objects: int
    texts: list[str]
    shapes: list[int]
    floats: array[float]
    blobs: list[bytes]
    cells: list[int]


def encode(table: StateTable) -> bytes:
    """Give the bytes of a state's file."""
    body = io.BytesIO()
    schemaless_writer(body, _SCHEMA, table._asdict() | {"floats": _swapped(table.floats).tobytes()})
    payload = body.getvalue()
    return b"".join((HEADER, _long(1), _long(len(payload)), payload, _SYNC))


def decode(data: bytes) -> StateTable:
    """Read a state's file.

    Raises
    ------
    SnapshotError
        When it is not a file of this format, or is cut off or damaged.
    """
    if not data.startswith(HEADER):
        raise SnapshotError(f"the snapshot is not a riverloop state of format {FORMAT}")
    body = io.BytesIO(data)
    body.seek(len(HEADER))
    try:
        count, size = _read_long(body), _read_long(body)
        start = body.tell()
        if count != 1 or start + size + len(_SYNC) != len(data) or not data.endswith(_SYNC):
            raise ValueError("its length differs from the stated one")
        found: Any = schemaless_reader(body, _SCHEMA, None)
        if body.tell() != start + size:
            raise ValueError("it has bytes outside its columns")
        floats = array("d")
        floats.frombytes(found["floats"])
        return StateTable(**found | {"floats": _swapped(floats)})
    except Exception as error:  # whatever damaged bytes make of the decoder
        raise SnapshotError(f"the snapshot is damaged: {type(error).__name__}: {error}") from error


def _swapped(floats: array[float]) -> array[float]:
    """Give the floats in little endian, from native order and back."""
    if array("H", [1]).tobytes()[0] == 1:
        return floats
    out = array("d", floats)
    out.byteswap()
    return out


def _long(value: int) -> bytes:
    file = io.BytesIO()
    schemaless_writer(file, "long", value)
    return file.getvalue()


def _read_long(file: io.BytesIO) -> int:
    found: Any = schemaless_reader(file, "long", None)
    return int(found)
