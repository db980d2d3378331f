"""Reading the audit chain of a task from `T.control`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from infra.inbound import Message
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Control
from schemas.topics import TaskTopics
from streams.audit import AuditChain, Checkpoint, Line

AuditRecord = Control | Applied | AuditLink


class Linked(NamedTuple):
    """A record of `T.control` in the chain."""

    offset: int
    record: AuditRecord | None
    """None: it cannot be read."""
    line: Line


def read_record(codec: Codec, data: bytes | None) -> AuditRecord | None:
    """Read a record of `T.control`; None for what is none of ours."""
    try:
        return codec.decode_audit(data)
    except BadRecord:
        return None


class ChainReader:
    """The chain as far as it was read last; further reading goes on there.

    Parameters
    ----------
    connection, codec
        Where the task's topics are, and what reads them.
    """

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection, self._codec = connection, codec
        self.chain = AuditChain()
        self.next_offset = 0
        """Of `T.control`: after the last record taken."""

    def take(self, message: Message) -> Linked:
        """Take the next record of `T.control`."""
        offset, value = message.offset() or 0, message.value()
        record = read_record(self._codec, value)
        self.next_offset = offset + 1
        return Linked(offset, record, self.chain.take(record, value))

    def read(self) -> Iterator[Linked]:
        """Read what has come (blocks).

        Raises
        ------
        BrokerError
            It cannot be read.
        """
        topic = TaskTopics(self._codec.task).control
        return map(self.take, read_all(self._connection, topic, 0, self.next_offset or None))

    def head(self) -> tuple[int, str]:
        """Read what has come, and return the chain's size and head (blocks)."""
        for _ in self.read():
            pass
        return self.chain.top


def announced(connection: Connection, codec: Codec) -> Iterator[Checkpoint]:
    """Return what the manifests on `T.snapshots` say of the chain (blocks)."""
    for message in read_all(connection, TaskTopics(codec.task).snapshots):
        if message.value() is None:
            continue
        try:
            found = codec.decode_manifest(message.value())
        except BadRecord:
            continue
        if found.audit_head:
            about = (found.audit_size, found.audit_head, found.created_at)
            yield Checkpoint(codec.task, *about, origin=f"snapshot {found.version}")
