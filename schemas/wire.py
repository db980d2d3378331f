"""Avro's binary primitives, for the readers and writers that are generated from the schemas."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

INT64: Final = range(-(2**63), 2**63)
KEYS: Final = 4096
"""Keys of maps whose bytes are kept."""


class Malformed(ValueError):
    """Bytes that do not follow their schema; the message says in which way."""


def rest_of_long(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Read a variable-length number whose first byte had its high bit set.

    Returns
    -------
    tuple
        The number, still in zigzag form, and the position behind it.

    Raises
    ------
    Malformed
        For more than 64 bits.
    IndexError
        Where the data end.
    """
    number = first & 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise Malformed("a whole number has more than 64 bits")
    if number >> 64:
        raise Malformed("a whole number has more than 64 bits")
    return number, at


def no_length(number: int) -> None:
    """Refuse the length of a text, given in zigzag form."""
    raise Malformed("a length is negative" if number & 1 else "the record ends early")


def no_branch(number: int) -> None:
    """Refuse a union's branch or an enum's symbol that the schema does not have."""
    raise Malformed(f"a union or enum has no branch {number:#x}")


def block_count(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read how many items the next block of an array or map has; 0 at its end.

    Each item takes at least one byte, so a count beyond the data's end is refused before anything is made.
    """
    number = data[at]
    at += 1
    if number > 127:
        number, at = rest_of_long(data, at, number)
    count = (number >> 1) ^ -(number & 1)
    if count < 0:  # the block's size in bytes follows, for those who skip it
        count = -count
        size = data[at]
        at += 1
        if size > 127:
            size, at = rest_of_long(data, at, size)
    if count > end - at:
        raise Malformed("a list has more items than the record has bytes")
    return count, at


class Longs(dict[int, bytes]):
    """Whole numbers in Avro's variable-length zigzag form; the small ones are kept ready."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(-64, 8192):
            self[number] = self.__missing__(number)

    def __missing__(self, number: int) -> bytes:
        if number not in INT64:
            raise OverflowError(f"{number} is not a 64-bit whole number")
        zigzag = (number << 1) ^ (number >> 63)
        out = bytearray()
        while zigzag > 127:
            out.append((zigzag & 127) | 128)
            zigzag >>= 7
        out.append(zigzag)
        return bytes(out)


LONGS: Final = Longs()


def text(value: str) -> bytes:
    """Write a text: its length in bytes, then UTF-8."""
    data = value.encode()
    return LONGS[len(data)] + data


key = lru_cache(KEYS)(text)
"""Writes a map's key: the same few come again and again."""


def octets(value: bytes) -> bytes:
    """Write bytes: their length, then themselves."""
    return LONGS[len(value)] + value
