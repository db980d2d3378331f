"""Records as they come in: decoded, or with the reason why not; nothing here raises on foreign bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from schemas.cloudevents import EventFields
from schemas.codec.json_form import parse
from schemas.errors import BadRecord, SchemaPending
from schemas.event_time import TimeBounds
from schemas.formats import GUID_MARK, REGISTRY_MARK, detect
from schemas.framing import NEVER, framed
from schemas.limits import NAME
from schemas.records import DeadLetter, Outcome, Position, Request
from schemas.remarks import Remark, Remarks
from schemas.topics import MAX_RECORD_BYTES

SERVED: Final = "riverloop.served"
"""Header of a prediction that a worker has served: what is personal in it is stored as it must be."""
FORWARDED: Final = "riverloop.forwarded"
"""Header of an outcome that was forwarded to its partition: where the original lies."""
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
        """Give its event time."""


Scan = Callable[[Message, bytes, str], Scanned | None]
"""Scans (message, value, topic in positions); None where the record is to be decoded."""


class Inbound:
    """A message with what its bytes say.

    Attributes
    ----------
    record
        The decoded record; None when it cannot be used. One that was scanned is decoded when it is asked for.
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
        "_decode",
        "_record",
        "bad",
        "message",
        "pending",
        "remarks",
        "scanned",
        "topic",
        "ts",
        "value",
    )

    def __init__(self, message: Message, record: Any, bad: BadRecord | None, topic: str = "") -> None:
        self.message, self._record, self.bad = message, record, bad
        self.scanned: Scanned | None = None
        self._decode: Callable[[Any], Any] | None = None
        self.topic = topic
        self.ts: int | None = None if record is None else record.ts
        self.remarks: Sequence[Remark] = ()
        self.pending = False
        self.value: Any = None

    @classmethod
    def of_scanned(
        cls, message: Message, scanned: Scanned, decode: Callable[[Any], Any], topic: str = ""
    ) -> Inbound:
        """Make one of a record that was scanned, and is decoded only if it is asked for."""
        made = cls(message, None, None, topic)
        made.scanned, made._decode, made.ts = scanned, decode, scanned.ts
        return made

    @property
    def record(self) -> Any:
        """The decoded record; None when it cannot be used."""
        if self._record is None and self._decode is not None:
            self._record = self._decode(self.value)
        return self._record

    def complete(self, record: Any) -> None:
        """Put a record with what was read for it in place of the decoded one."""
        self._record = record

    @property
    def at(self) -> Position:
        """Where it lies."""
        message = self.message
        topic = self.topic or message.topic() or ""
        return Position(topic, message.partition() or 0, message.offset() or 0)

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


def decoder(
    decode: Callable[[Any], Any],
    limit: int = MAX_RECORD_BYTES,
    times: TimeBounds | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
    remarks: Remarks | None = None,
    scan: Scan | None = None,
    unframe: Callable[[bytes], bytes] | None = None,
    fields: EventFields | None = None,
) -> Callable[[Any], Inbound]:
    """Make a channel's `decode`.

    Parameters
    ----------
    decode
        Makes a record of bytes, or raises `BadRecord`; with `remarks`, of parsed JSON as well.
    limit
        Largest value in bytes.
    times
        Which times a request or an outcome may have; None: any. At the head of its partition an outcome from the
        future would hold back all behind it, and a request from the distant past all outcomes.
    names
        How positions name topics, where not by their names; it may change.
    remarks
        Finds the unknown fields of requests in JSON. Such a request is parsed once, for its record and for the
        names of its fields; Avro has the fields of its schema.
    scan
        Takes a record instead of `decode`, where it can: one that `decode` would take, too.
    unframe
        Gives a value with Schema Registry framing in another encoding.
    fields
        Completes a record in JSON by the attributes of its CloudEvent.
    """

    def inbound(message: Message) -> Inbound:
        value = message.value()
        name = names.get(message.topic() or "", "") if names else ""
        try:
            if value is not None and len(value) > limit:
                raise BadRecord("too_large", f"the record has {len(value):,} bytes; the limit is {limit:,}")
            if value and value[0] not in NEVER:
                value = framed(value, message.headers())
                if unframe is not None and value.startswith((REGISTRY_MARK, GUID_MARK)):
                    value = unframe(value)
            if scan is not None and value is not None:
                scanned = scan(message, value, name or message.topic() or "")
                if scanned is not None:
                    if times is not None:
                        times.check(scanned.ts, message.timestamp()[1])
                    made = Inbound.of_scanned(message, scanned, decode, name)
                    made.value = value
                    return made
            is_parsed = (remarks is not None or fields is not None) and detect(value) == "json"
            parsed = parse(value) if is_parsed else value
            if fields is not None and is_parsed:
                parsed = fields(parsed, message.headers())
            record = decode(parsed)
            if times is not None and isinstance(record, Outcome | Request):
                times.check(record.ts, message.timestamp()[1])
            made = Inbound(message, record, None, name)
            made.value = value
            if remarks is not None:
                made.remarks = remarks.unknown(parsed)
            return made
        except BadRecord as bad:
            # The frames of its traceback hold whatever was decoded so far, for as long as the batch lives.
            bad.__traceback__ = bad.__context__ = bad.__cause__ = None
            return Inbound(message, None, bad, name)
        except SchemaPending:
            made = Inbound(message, None, None, name)
            made.pending = True
            return made

    return inbound


def scan_requests(scan: Any) -> Scan | None:
    """Return what scans messages with requests; nothing without a `RequestScan` of the core."""
    if scan is None:
        return None

    def request(message: Message, value: bytes, topic: str) -> Scanned | None:
        found: Scanned | None = scan.request(value, topic, message.partition() or 0, message.offset() or 0)
        return found

    return request


def scans(scan: Any) -> tuple[Scan | None, Scan | None]:
    """Return what scans messages with predictions and with outcomes; nothing without a `Scan` of the core."""
    if scan is None:
        return None, None

    def prediction(message: Message, value: bytes, topic: str) -> Scanned | None:
        if header(message, SERVED) is None:
            return None  # from outside: it is checked and stored like a request
        return _scanned(scan.prediction, message, value, topic)

    def outcome(message: Message, value: bytes, topic: str) -> Scanned | None:
        return _scanned(scan.outcome, message, value, topic)

    return prediction, outcome


def _scanned(scan: Any, message: Message, value: bytes, topic: str) -> Scanned | None:
    place = message.partition() or 0, message.offset() or 0, message.timestamp()[1]
    found: Scanned | None = scan(value, topic, *place)
    return found
