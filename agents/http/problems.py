"""Errors as `application/problem+json` (RFC 9457): what was wrong, where, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from schemas.errors import BadRecord, RiverloopError
from schemas.reasons import REASONS

CONTENT_TYPE: Final = "application/problem+json"
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
RETRY_S: Final = 1
"""What Retry-After says, in s."""
# Python's own phrases change with its version.
TITLES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
HTTP_REASONS: Final[dict[str, str]] = {
    "bad_request": "The HTTP message itself, such as its compression, cannot be read.",
    "bad_query": "A query parameter has a value that it cannot have.",
    "token_needed": "The call needs a token that this worker knows: `Authorization: Bearer TOKEN`.",
    "unknown_path": "There is nothing at this path.",
    "unknown_task": "This worker does not run the task.",
    "not_remembered": "The prediction is not, or no longer, remembered by this worker.",
    "wrong_method": "The path does not take this method; the header Allow has those it takes.",
    "slow_body": "The body did not arrive in time.",
    "slow_head": "The head of the HTTP message did not arrive in time.",
    "unknown_host": "The header Host has a name that this worker is not known by: setting `http_hosts`.",
    "foreign_origin": "A page of another site makes the call, and may not: setting `http_origins`.",
    "too_many_pages": "This worker's live pages are all in use by other callers.",
    "too_many_waits": "Too many calls wait for progress, of this caller or of all.",
    "too_many_connections": "The worker's connections are all in use.",
    "too_many": "The list has more records than one call may have.",
    "wrong_content_type": "The content type is none of those taken here.",
    "none_usable": "No record of the list could be used; `problems` says why, one by one.",
    "internal": "An error inside riverloop; the worker's log has more.",
    "held": "One step has held the worker for longer than any should: it hangs.",
    "not_ready": "The worker's models are not ready to answer; try again, or ask another worker.",
    "not_acknowledged": "Kafka did not acknowledge the record in time; nothing is promised. Repeat the call.",
    "time_out": "The call took too long. Repeat it: what it has done already is not done twice.",
}
"""Reasons beside those of `schemas.reasons`: those that only HTTP has."""
STATUS: Final = {"unreadable": 400, "malformed": 400, "registry_framing": 415, "too_large": 413}
"""Of `schemas.reasons`; the others are 422."""


class Problem(RiverloopError):
    """An answer that says no.

    Parameters
    ----------
    status
        HTTP status.
    reason
        Code from `schemas.reasons.REASONS` or `HTTP_REASONS`.
    detail
        A sentence for whoever called: what is wrong, and what to do.
    field
        The field at fault as a path, such as ``features.LeadTime``; empty when there is none.
    headers
        Further headers.
    more
        Further members of the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        field: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        assert reason in HTTP_REASONS or reason in REASONS, reason
        self.status, self.reason, self.detail, self.field = status, reason, detail, field
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_S))
        self.more = more

    @classmethod
    def of(cls, bad: BadRecord) -> Problem:
        """Make the problem of a record that cannot be used."""
        return cls(STATUS.get(bad.reason, 422), bad.reason, bad.message, bad.field)

    def data(self) -> dict[str, Any]:
        """Give the members, as RFC 9457 names them and with `reason` and `field`."""
        found = {
            "type": "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        if self.field:
            found["field"] = self.field
        return found | self.more

    def response(self) -> web.Response:
        """Give the HTTP response."""
        return web.Response(
            body=dump(self.data()),
            status=self.status,
            content_type=CONTENT_TYPE,
            headers=HEADERS | self.headers,
        )

    def message(self) -> bytes:
        """Give the answer as it goes over the wire, where there is no request to answer; then comes the end."""
        headers = self.headers | {"Content-Type": CONTENT_TYPE, "Connection": "close"}
        return message(self.status, dump(self.data()), headers)


def message(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Write an answer as it goes over the wire."""
    headers = {**HEADERS, **headers, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} {TITLES[status]}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def dump(data: Any) -> bytes:
    """Write JSON, compact; half surrogates, which a path may carry, are escaped as all beyond ASCII is."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def answer(body: bytes, status: int = 200) -> web.Response:
    """Give a response that says yes, with a body in JSON."""
    return web.Response(body=body, status=status, content_type="application/json", headers=HEADERS)
