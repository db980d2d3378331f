"""The layout of Feast's online store in Redis, bytes for bytes: keys, fields, values, times.

A hash for each entity, under its join keys and the project's name; a field of four bytes for each feature, and one
for each view's event time. Feast reads what is written so, and what Feast wrote is read.

References
----------
Feast 0.67, "Online Store Format", entity keys of version 3; `tests/unit/feast_golden.json` was made with it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from schemas.errors import BadRecord
from schemas.feature_row import RowKey
from schemas.records import FeatureValue

STRING, INT64 = 2, 4
"""Types of values in entity keys, as Feast's `ValueType` numbers them."""
MASK32, MASK64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""
INTEGERS: Final = frozenset({3, 4, 8})
"""Fields of Feast's `Value` that are whole numbers: int32, int64, unix_timestamp."""


class Time(NamedTuple):
    """An event time as protobuf's Timestamp has it."""

    seconds: int
    nanos: int

    @classmethod
    def of_ms(cls, ts: int) -> Time:
        """Make one of milliseconds since 1970."""
        return cls(ts // 1000, ts % 1000 * 1_000_000)

    @property
    def ms(self) -> int:
        """Milliseconds since 1970; what is finer is cut off."""
        return self.seconds * 1000 + self.nanos // 1_000_000


def hash_key(project: str, key: RowKey) -> bytes:
    """Return the key of an entity's hash.

    Examples
    --------
    >>> hash_key("shop", RowKey.of("customer", {"customer_id": "c-7"})).hex()
    '01000000020000000b000000637573746f6d65725f69640200000003000000632d3773686f70'
    """
    parts = [struct.pack("<I", len(key.entity))]
    for name, _ in key.entity:
        encoded = name.encode()
        parts.append(struct.pack("<II", STRING, len(encoded)) + encoded)
    for _, value in key.entity:
        if isinstance(value, str):
            encoded = value.encode()
            parts.append(struct.pack("<II", STRING, len(encoded)) + encoded)
        else:
            parts.append(struct.pack("<IIq", INT64, 8, value))
    return b"".join(parts) + project.encode()


def field(view: str, name: str) -> bytes:
    """Return the field of a feature.

    Examples
    --------
    >>> field("driver_hourly_stats", "conv_rate").hex()
    '6160e3da'
    """
    return struct.pack("<I", murmur3(f"{view}:{name}".encode()))


def time_field(view: str) -> bytes:
    """Return the field of a view's event time."""
    return f"_ts:{view}".encode()


def murmur3(data: bytes) -> int:
    """Return the 32-bit murmur3 hash with seed 0.

    Examples
    --------
    >>> murmur3(b"hello, world")
    345750399
    """
    h, whole = 0, len(data) & ~3
    for at in range(0, whole, 4):
        h ^= _mixed(int.from_bytes(data[at : at + 4], "little"))
        h = (((h << 13 | h >> 19) & MASK32) * 5 + 0xE6546B64) & MASK32
    if rest := data[whole:]:
        h ^= _mixed(int.from_bytes(rest, "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK32
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK32
    return h ^ h >> 16


def _mixed(k: int) -> int:
    k = k * 0xCC9E2D51 & MASK32
    return (k << 15 | k >> 17) * 0x1B873593 & MASK32


# ---------------------------------------------------------------------- protobuf


def encode_value(value: FeatureValue | None) -> bytes:
    """Write a value as Feast's `Value`: a bool, an int64, a double or a string; None has no bytes.

    Examples
    --------
    >>> encode_value(4).hex(), encode_value("no").hex(), encode_value(None)
    ('2004', '12026e6f', b'')
    """
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x38\x01" if value else b"\x38\x00"
    if isinstance(value, int):
        return b"\x20" + _varint(value & MASK64)
    if isinstance(value, float):
        return b"\x29" + struct.pack("<d", value)
    encoded = value.encode()
    return b"\x12" + _varint(len(encoded)) + encoded


def decode_value(data: bytes | None) -> FeatureValue | None:
    """Read a value that Feast or riverloop wrote; None where there is none.

    Raises
    ------
    BadRecord
        `wrong_type`, for bytes, lists, maps and what is no `Value`.
    """
    value: FeatureValue | None = None
    for number, wire, found in _fields(data or b""):
        if number in INTEGERS and wire == VARINT and isinstance(found, int):
            value = found - (1 << 64) if found >> 63 else found
        elif number == 7 and wire == VARINT:
            value = bool(found)
        elif number == 5 and isinstance(found, bytes) and wire == FIXED64:
            (value,) = struct.unpack("<d", found)
        elif number == 6 and isinstance(found, bytes) and wire == FIXED32:
            (value,) = struct.unpack("<f", found)
        elif number == 2 and isinstance(found, bytes) and wire == LENGTH:
            value = _text(found)
        elif number == 19 and wire == VARINT:
            value = None
        else:
            raise BadRecord("wrong_type", f"field {number} of a value is not supported")
    return value


def encode_time(time: Time) -> bytes:
    """Write an event time.

    Examples
    --------
    >>> encode_time(Time.of_ms(1_700_000_000_250)).hex()
    '0880e2cfaa061080e59a77'
    """
    seconds = b"\x08" + _varint(time.seconds & MASK64) if time.seconds else b""
    return seconds + (b"\x10" + _varint(time.nanos) if time.nanos else b"")


def decode_time(data: bytes) -> Time:
    """Read an event time.

    Raises
    ------
    BadRecord
        `wrong_type`, for other bytes.
    """
    found = {1: 0, 2: 0}
    for number, _, value in _fields(data):
        if number not in found or not isinstance(value, int):
            raise BadRecord("wrong_type", "an event time is no Timestamp")
        found[number] = value - (1 << 64) if value >> 63 else value
    return Time(found[1], found[2])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """Split a message in its fields: number, wire type, and a whole number or bytes."""
    found: list[tuple[int, int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            wire, value = tag & 7, b""
            if wire == VARINT:
                number, at = _read_varint(data, at)
                found.append((tag >> 3, wire, number))
                continue
            if wire == LENGTH:
                size, at = _read_varint(data, at)
            elif wire in (FIXED64, FIXED32):
                size = 8 if wire == FIXED64 else 4
            else:
                raise BadRecord("wrong_type", f"a value has the wire type {wire}")
            value = data[at : at + size]
            if len(value) != size:
                raise IndexError
            found.append((tag >> 3, wire, value))
            at += size
    except IndexError:
        raise BadRecord("wrong_type", "a value ends early") from None
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & MASK64, at
        shift += 7
        if shift > 63:
            raise BadRecord("wrong_type", "a value has a number of more than 64 bits")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRecord("wrong_type", "a text is not valid UTF-8") from None
