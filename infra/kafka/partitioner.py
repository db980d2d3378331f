"""Where a key belongs: murmur2, as Java's producer and librdkafka's `murmur2_random` have it."""

from __future__ import annotations


def partition_of(key: bytes, partitions: int) -> int:
    """Give the partition of a key.

    Source: `org.apache.kafka.common.utils.Utils.murmur2`, and `toPositive(murmur2(key)) % partitions`.

    Examples
    --------
    >>> partition_of(b"21", 1000), partition_of(b"a-little-bit-long-string", 1000)
    (340, 112)
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Give the unsigned 32-bit murmur2 hash with Kafka's seed.

    Examples
    --------
    >>> murmur2(b"21") - 2**32, murmur2(b"foobar") - 2**32
    (-973932308, -790332482)
    """
    m = 0x5BD1E995
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ k >> 24) * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return h ^ h >> 15
