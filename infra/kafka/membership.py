"""The consumer group's metadata, by which a transaction is fenced: which of it may be used."""

from __future__ import annotations

import sys

from schemas.errors import BrokerError

# librdkafka's serialised form: this, the generation as a native int32, then group id, member id and an instance
# id, each ended by a zero byte.
MAGIC = b"CGMDv2:"


def generation_and_member(metadata: bytes) -> tuple[int, str]:
    """Read the generation (or member epoch) and the member id.

    Raises
    ------
    BrokerError
        librdkafka writes another form: this version of confluent-kafka was not tested.

    Examples
    --------
    >>> generation_and_member(MAGIC + (7).to_bytes(4, sys.byteorder) + b"group" + bytes(1) + b"me" + bytes(2))
    (7, 'me')
    """
    head = len(MAGIC) + 4
    if not metadata.startswith(MAGIC) or metadata.count(b"\0", head) < 2:
        raise BrokerError(
            "this confluent-kafka writes the consumer group's metadata in an unknown form; install a version "
            "within the bounds of riverloop's requirements"
        )
    generation = int.from_bytes(metadata[len(MAGIC) : head], sys.byteorder, signed=True)
    return generation, metadata[head:].split(b"\0", 2)[1].decode()


def is_member(metadata: bytes) -> bool:
    """Whether the metadata names a member in a generation.

    Without both the broker checks nothing: measured on Apache Kafka 4.1, a transaction with generation -1 and no
    member id commits offsets into a group full of live members. librdkafka gives out such metadata from the
    moment it has lost its membership, before it reports this to the application.
    """
    generation, member = generation_and_member(metadata)
    return generation >= 0 and member != ""
