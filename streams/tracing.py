"""Spans of a request's way through the loop, made from the loop's records alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
"""W3C Trace Context, level 1; versions after 00 may go on behind another dash."""
MOST_BYTES: Final = 512
INTERNAL, SERVER, CONSUMER = 1, 2, 5
"""Kinds of spans of OTLP."""
NONE: Final[Mapping[str, str | int]] = MappingProxyType({})


class Caller(NamedTuple):
    """The span of the service that sent a request."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""


class Span(NamedTuple):
    """A step of a request's way."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    """Id of the span before; empty: there is none."""
    start_ms: int
    end_ms: int
    kind: int = INTERNAL
    attributes: Mapping[str, str | int] = NONE


def caller_of(header: bytes | None) -> Caller | None:
    """Read a header `traceparent`; None where there is none, or it is not valid.

    Examples
    --------
    >>> caller_of(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    Caller(trace_id='4bf92f3577b34da6a3ce929d0e0e4736', span_id='00f067aa0ba902b7')
    >>> caller_of(b"00-00000000000000000000000000000000-00f067aa0ba902b7-01") is None
    True
    """
    if header is None or len(header) > MOST_BYTES:
        return None
    found = TRACEPARENT.fullmatch(header.decode("ascii", "replace"))
    return None if found is None else Caller(found[1], found[2])


def is_sampled(request_id: bytes, share: float) -> bool:
    """Whether a request belongs to a share of all, by its id: every step and every process decides alike.

    Examples
    --------
    >>> sum(is_sampled(b"r-%d" % number, 0.01) for number in range(100_000))
    994
    """
    digest = hashlib.blake2b(request_id, digest_size=8, person=b"riverloop.sample").digest()
    return int.from_bytes(digest) < share * 2**64


def prediction_span(
    task: str,
    request_id: str,
    caller: Caller | None,
    start_ms: int,
    end_ms: int,
    version: str,
    kind: int = CONSUMER,
) -> Span:
    """Make the span from a request's arrival to its prediction's."""
    return Span(
        "riverloop.prediction",
        _trace(task, request_id, caller),
        _id(task, request_id, "prediction"),
        "" if caller is None else caller.span_id,
        start_ms,
        max(start_ms, end_ms),
        kind,
        {"riverloop.task": task, "riverloop.request_id": request_id, "riverloop.version": version},
    )


def learning_spans(
    task: str,
    request_id: str,
    caller: Caller | None,
    asked_ms: int,
    arrived_ms: int,
    logged_ms: int,
    offset: int,
) -> tuple[Span, Span]:
    """Make the spans of an outcome: from the request to the outcome's arrival, and on to the training log.

    Parameters
    ----------
    asked_ms
        Event time of the request.
    arrived_ms, logged_ms
        When the outcome was on its topic, and the entry on the log.
    offset
        Of the entry.
    """
    trace = _trace(task, request_id, caller)
    about: dict[str, str | int] = {"riverloop.task": task, "riverloop.request_id": request_id}
    waited = Span(
        "riverloop.outcome",
        trace,
        _id(task, request_id, f"outcome {offset}"),
        _id(task, request_id, "prediction"),
        asked_ms,
        max(asked_ms, arrived_ms),
        CONSUMER,
        about,
    )
    learned = Span(
        "riverloop.learned",
        trace,
        _id(task, request_id, f"learned {offset}"),
        waited.span_id,
        arrived_ms,
        max(arrived_ms, logged_ms),
        INTERNAL,
        about | {"riverloop.log_offset": offset},
    )
    return waited, learned


def otlp(spans: Iterable[Span], service: str) -> dict[str, Any]:
    """Return the body of an OTLP request in JSON; ids are hexadecimal, times in ns as text.

    Examples
    --------
    >>> span = Span("riverloop.prediction", "4b" * 16, "00f067aa0ba902b7", "", 1, 2)
    >>> otlp([span], "loop")["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["endTimeUnixNano"]
    '2000000'
    """
    made = [
        {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            **({"parentSpanId": span.parent} if span.parent else {}),
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": str(span.start_ms * 1_000_000),
            "endTimeUnixNano": str(span.end_ms * 1_000_000),
            "attributes": [_attribute(*each) for each in span.attributes.items()],
        }
        for span in spans
    ]
    resource = {"attributes": [_attribute("service.name", service)]}
    return {
        "resourceSpans": [
            {"resource": resource, "scopeSpans": [{"scope": {"name": "riverloop"}, "spans": made}]}
        ]
    }


def _attribute(key: str, value: str | int) -> dict[str, Any]:
    return {
        "key": key,
        "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
    }


def _trace(task: str, request_id: str, caller: Caller | None) -> str:
    return _digest(task, request_id, "trace", 16) if caller is None else caller.trace_id


def _id(task: str, request_id: str, step: str) -> str:
    return _digest(task, request_id, step, 8)


def _digest(task: str, request_id: str, what: str, size: int) -> str:
    return hashlib.blake2b(f"{task}\0{request_id}\0{what}".encode(), digest_size=size).hexdigest()
