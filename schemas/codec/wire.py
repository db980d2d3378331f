"""Avro's binary primitives, for the readers and writers that are generated from the schemas."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

LEAST, MOST = -(2**63), 2**63 - 1
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
    # Unrolled as far as a time in ms goes, six bytes; each high bit is counted, and taken off again at the end.
    one = data[at]
    if one < 128:
        return first + (one << 7) - 0x80, at + 1
    two = data[at + 1]
    if two < 128:
        return first + (one << 7) + (two << 14) - 0x4080, at + 2
    three = data[at + 2]
    if three < 128:
        return first + (one << 7) + (two << 14) + (three << 21) - 0x204080, at + 3
    low = first + (one << 7) + (two << 14) - 0x204080
    four = data[at + 3]
    if four < 128:
        return low + ((three - 128 + (four << 7)) << 21), at + 4
    five = data[at + 4]
    if five < 128:
        return low + ((three + (four << 7) + (five << 14) - 0x4080) << 21), at + 5
    number = low + ((three + (four << 7) + ((five & 127) << 14) - 0x4080) << 21)
    at, shift = at + 5, 42
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


def after_text(data: bytes, at: int) -> int:
    """Return the position behind a text."""
    number, at = data[at], at + 1
    if number > 127:
        number, at = rest_of_long(data, at, number)
    return at + (number >> 1)


def no_length(number: int) -> None:
    """Reject the length of a text, given in zigzag form."""
    raise Malformed("a length is negative" if number & 1 else "the record ends early")


def no_branch(number: int) -> None:
    """Reject a union's branch or an enum's symbol that the schema does not have."""
    raise Malformed(f"a union or enum has no branch {number:#x}")


def block_count(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read how many items the next block of an array or map has; 0 at its end.

    Each item takes at least one byte, so a count beyond the data's end is rejected before anything is made.
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


PAIR: Final = 1 << 14
"""So many values have two groups of seven bits."""
MORE: Final = [bytes((number & 127 | 128, number >> 7 | 128)) for number in range(PAIR)]
"""Two groups, and more behind them."""
LAST: Final = [
    bytes((number & 127 | 128, number >> 7) if number > 127 else (number,)) for number in range(PAIR)
]
"""The last group or two."""


class Longs(dict[int, bytes]):
    """Whole numbers in Avro's variable-length zigzag form; the small ones are kept ready."""

    def __init__(self) -> None:
        super().__init__(((zigzag >> 1) ^ -(zigzag & 1), data) for zigzag, data in enumerate(LAST))

    def __missing__(self, number: int) -> bytes:
        if not LEAST <= number <= MOST:  # a range would be searched for a float, for ever
            raise OverflowError(f"{number} is not a 64-bit whole number")
        zigzag = (number << 1) ^ (number >> 63)
        out = b""
        while zigzag >= PAIR:
            out += MORE[zigzag & 16383]
            zigzag >>= 14
        return out + LAST[zigzag]


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
