"""Messages into inbound records: the native core scans those that it can, the others are decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from infra.inbound import SERVED, Decode, Inbound, Message, Scanned, ScannedInbound
from schemas.cloudevents import EventFields
from schemas.codec.json_form import parse
from schemas.errors import BadRecord, SchemaPending
from schemas.event_time import TimeBounds
from schemas.formats import GUID_MARK, REGISTRY_MARK, detect
from schemas.framing import NEVER, framed
from schemas.records import Outcome, Request
from schemas.remarks import Remarks
from schemas.topics import MAX_RECORD_BYTES

ANY_TIME: Final = TimeBounds(-(2**63), 2**62)
"""Bounds that no time is outside of."""

Scan = Callable[[Sequence[Message], Sequence[Any], str, int, TimeBounds], Sequence[Scanned | None]]
"""Scans messages of one partition: (messages, their values, topic in positions, largest value in bytes, bounds of
their times); None for each that is to be decoded."""


class Decoder:
    """Reads the messages of a topic.

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
        Takes records instead of `decode`, where it can: those that `decode` would take, too.
    unframe
        Gives a value with Schema Registry framing in another encoding.
    fields
        Completes a record in JSON by the attributes of its CloudEvent.
    """

    def __init__(
        self,
        decode: Decode,
        limit: int = MAX_RECORD_BYTES,
        times: TimeBounds | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
        remarks: Remarks | None = None,
        scan: Scan | None = None,
        unframe: Callable[[bytes], bytes] | None = None,
        fields: EventFields | None = None,
    ) -> None:
        self._decode, self._limit, self._times, self._names = decode, limit, times, names
        self._remarks, self._scan, self._unframe, self._fields = remarks, scan, unframe, fields
        self._parses = remarks is not None or fields is not None

    def many(self, messages: Sequence[Message]) -> list[Inbound]:
        """Read messages of one partition."""
        if self._scan is None or not messages:
            return [self(message) for message in messages]
        topic, number = messages[0].topic() or "", messages[0].partition() or 0
        name = self._names.get(topic, "")
        if self._unframe is None:
            values = [message.value() for message in messages]
        else:
            values = [self._readable(message) for message in messages]
        found = self._scan(messages, values, name or topic, self._limit, self._times or ANY_TIME)
        decode = self._decode
        return [
            self(message)
            if scanned is None
            else ScannedInbound(message, scanned, value, number, name, decode)
            for message, scanned, value in zip(messages, found, values, strict=True)
        ]

    def __call__(self, message: Message) -> Inbound:
        """Read a message by its record."""
        name = self._names.get(message.topic() or "", "")
        try:
            value = self._plain(message)
            is_parsed = self._parses and detect(value) == "json"
            parsed = parse(value) if is_parsed else value
            if self._fields is not None and is_parsed:
                parsed = self._fields(parsed, message.headers())
            record = self._decode(parsed)
            if self._times is not None and isinstance(record, Outcome | Request):
                self._times.check(record.ts, message.timestamp()[1])
            made = Inbound(message, record, None, name)
            made.value = value
            if self._remarks is not None:
                made.remarks = self._remarks.unknown(parsed)
            return made
        except BadRecord as bad:
            # The frames of its traceback hold whatever was decoded so far, for as long as the batch lives.
            bad.__traceback__ = bad.__context__ = bad.__cause__ = None
            return Inbound(message, None, bad, name)
        except SchemaPending:
            made = Inbound(message, None, None, name)
            made.pending = True
            return made

    def _plain(self, message: Message) -> Any:
        """Return a message's value without Schema Registry framing."""
        value = message.value()
        if value is not None and len(value) > self._limit:
            raise BadRecord("too_large", f"the record has {len(value):,} bytes; the limit is {self._limit:,}")
        if value and value[0] not in NEVER:
            value = framed(value, message.headers())
            if self._unframe is not None and value.startswith((REGISTRY_MARK, GUID_MARK)):
                value = self._unframe(value)
        return value

    def _readable(self, message: Message) -> Any:
        try:
            return self._plain(message)
        except (BadRecord, SchemaPending):
            return None  # decoding says why


def scan_requests(scan: Any) -> Scan | None:
    """Return what scans messages with requests; nothing without a `RequestScan` of the core."""
    return None if scan is None else scan.requests


def scans(scan: Any) -> tuple[Scan | None, Scan | None]:
    """Return what scans messages with predictions and with outcomes; nothing without a `Scan` of the core.

    A prediction from outside is checked and stored like a request, so it is decoded.
    """
    return (None, None) if scan is None else (partial(scan.served, SERVED), scan.outcomes)
