"""The trace of a call over HTTP, for the records that it leads to."""

from __future__ import annotations

from aiohttp import web

from infra.clock import now_ms
from infra.inbound import ARRIVED, TRACEPARENT
from infra.kafka.transaction import Headers


def traced(request: web.Request) -> Headers:
    """Return the headers of records that a call leads to; none without a valid `traceparent`."""
    given = request.headers.get("traceparent")
    if given is None:
        return []
    from streams.tracing import caller_of  # noqa: PLC0415  not imported where no call has a trace

    value = given.encode("ascii", "replace")
    if caller_of(value) is None:
        return []
    return [(TRACEPARENT, value), (ARRIVED, str(now_ms()).encode())]
