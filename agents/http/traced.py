"""The trace of a call over HTTP, for the records that it leads to."""

from __future__ import annotations

from aiohttp import web

from infra.clock import now_ms
from infra.inbound import ARRIVED, TRACEPARENT
from infra.kafka.transaction import Headers
from streams.tracing import caller_of


def traced(request: web.Request) -> Headers:
    """Return the headers of records that a call leads to; none without a valid `traceparent`."""
    given = request.headers.get("traceparent")
    if given is None:
        return []
    value = given.encode("ascii", "replace")
    if caller_of(value) is None:
        return []
    return [(TRACEPARENT, value), (ARRIVED, str(now_ms()).encode())]
