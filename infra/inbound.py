"""Records as they come in: decoded, or with the reason why not; nothing here raises on foreign bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from schemas.errors import BadRecord
from schemas.framing import NEVER, framed
from schemas.limits import NAME
from schemas.records import DeadLetter, Position
from schemas.remarks import Remark

SERVED: Final = "riverloop.served"
"""Header of a prediction that a worker has served: what is personal in it is stored as it must be."""
FORWARDED: Final = "riverloop.forwarded"
"""Header of an outcome that was forwarded to its partition: where the original lies."""
TRACEPARENT: Final = "traceparent"
"""Header with the trace that a record belongs to: W3C Trace Context."""
ARRIVED: Final = "riverloop.arrived"
"""Header of a traced prediction: when its call over HTTP came (ms)."""
CHAINED: Final = "riverloop.chained-from"
"""Header of a request that was made of another task's prediction: where that lies."""


class Message(Protocol):
    """What is used of a client's message."""

    def topic(self) -> str | None:
        """Give its topic."""

    def partition(self) -> int | None:
        """Give its partition."""

    def offset(self) -> int | None:
        """Give its offset."""

    def key(self) -> Any:
        """Give its key."""

    def value(self) -> Any:
        """Give its value."""

    def timestamp(self) -> tuple[int, int]:
        """Give the kind of its timestamp, and the timestamp in ms."""

    def headers(self) -> Any:
        """Give its headers."""


class Scanned(Protocol):
    """What the native core knows of a record."""

    @property
    def ts(self) -> int:
        """Give its event time (ms)."""

    @property
    def arrived(self) -> int:
        """Give Kafka's timestamp (ms)."""


Decode = Callable[[Any], Any]
"""Makes a record of bytes, or raises `BadRecord`."""


class Inbound:
    """A message with what its bytes say.

    Attributes
    ----------
    partition
        Of its topic.
    scanned
        What the native core knows of the record; None where it has not been scanned.
    bad
        Why not; None when it can.
    ts
        Event time; None when it cannot be used.
    topic
        How positions name its topic, where not by its name: see `streams.positions`.
    remarks
        What is odd about the names of its fields, where its decoder looks for that.
    value
        Its value without Schema Registry framing; None where that cannot be told.
    pending
        Whether it cannot be read before its schema is known.
    """

    __slots__ = (
        "_record",
        "bad",
        "message",
        "partition",
        "pending",
        "remarks",
        "scanned",
        "topic",
        "ts",
        "value",
    )

    def __init__(self, message: Message, record: Any, bad: BadRecord | None, topic: str = "") -> None:
        self.message, self._record, self.bad = message, record, bad
        self.partition = message.partition() or 0
        self.scanned: Scanned | None = None
        self.topic = topic
        self.ts: int | None = None if record is None else record.ts
        self.remarks: Sequence[Remark] = ()
        self.pending = False
        self.value: Any = None

    @property
    def record(self) -> Any:
        """The decoded record; None when it cannot be used."""
        return self._record

    def complete(self, record: Any) -> None:
        """Put a record with what was read for it in place of the decoded one."""
        self._record = record

    @property
    def at(self) -> Position:
        """Where it lies."""
        message = self.message
        topic = self.topic or message.topic() or ""
        return Position(topic, self.partition, message.offset() or 0)

    @property
    def arrived(self) -> int:
        """Kafka's timestamp: arrival, for the topics use LogAppendTime."""
        return self.message.timestamp()[1]

    def header(self, name: str) -> bytes | None:
        """Give the value of a header; None when it is not there."""
        return header(self.message, name)

    def reject(self, bad: BadRecord) -> DeadLetter:
        """Make the dead letter of it."""
        producer = self.header("client.id")
        return DeadLetter(
            reason=bad.reason,
            message=bad.message,
            field=bad.field,
            source=self.at,
            key=self.message.key(),
            value=original(self.message),
            arrived=self.arrived,
            producer=producer[: NAME.characters].decode(errors="replace") if producer else None,
        )


class ScannedInbound(Inbound):
    """One of a record that was scanned, and is decoded only if it is asked for."""

    __slots__ = ("_decode",)

    bad = None
    remarks = ()
    pending = False

    def __init__(
        self, message: Message, scanned: Scanned, value: bytes, partition: int, topic: str, decode: Decode
    ) -> None:
        self.message, self.scanned, self.value = message, scanned, value
        self.partition, self.topic, self.ts = partition, topic, scanned.ts
        self._decode, self._record = decode, None

    @property
    def record(self) -> Any:
        """The decoded record."""
        if self._record is None:
            self._record = self._decode(self.value)
        return self._record

    @property
    def arrived(self) -> int:
        """See `Inbound.arrived`."""
        assert self.scanned is not None
        return self.scanned.arrived


def original(message: Message) -> bytes | None:
    """Give the bytes of a message's value, with what its header says of its schema in front of them."""
    value: bytes | None = message.value()
    return framed(value, message.headers()) if value and value[0] not in NEVER else value


def header(message: Message, name: str) -> bytes | None:
    """Give the value of a message's header; None when it is not there."""
    for key, value in message.headers() or ():
        if key == name:
            return bytes(value or b"")
    return None
