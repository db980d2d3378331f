"""Errors as `application/problem+json` (RFC 9457)."""

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
"""Value of Retry-After, in s."""
# Python's own phrases change with its version.
TITLES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
HTTP_REASONS: Final[dict[str, str]] = {
    "bad_request": "The HTTP message or its encoding is invalid.",
    "bad_query": "A query parameter is invalid.",
    "token_needed": "The call requires a valid token: `Authorization: Bearer TOKEN`.",
    "token_without_name": "The call requires a token with a name: `NAME:TOKEN` in the setting http_token.",
    "command_rejected": "The command cannot be done now; see `detail`.",
    "unknown_path": "The path does not exist.",
    "unknown_task": "This worker does not run the task.",
    "unknown_request": "No topic of the task has a record of the request.",
    "index_not_ready": "The index of requests is being made, or Kafka does not answer; retry.",
    "not_cached": "No prediction of the request is in this worker's cache or in Redis.",
    "wrong_method": "The path does not allow this method; see the header Allow.",
    "slow_body": "The body did not arrive in time.",
    "slow_head": "The HTTP headers did not arrive in time.",
    "unknown_host": "The header Host is not accepted; see setting `http_hosts`.",
    "foreign_origin": "The calling page's origin is not accepted; see setting `http_origins`.",
    "too_many_pages": "The worker has no free live page.",
    "too_many_waits": "Too many calls wait for progress.",
    "too_many_connections": "The worker has no free connection.",
    "too_many": "The list exceeds the maximum of records per call.",
    "wrong_content_type": "The content type is not supported.",
    "none_usable": "All records of the list were rejected; see `problems`.",
    "internal": "An internal error; see the worker's log.",
    "blocked": "The worker hangs in one step.",
    "not_ready": "The models are not ready; retry, or call another worker.",
    "not_acknowledged": "Kafka did not acknowledge the record in time; retry.",
    "time_out": "The call timed out; retry. Completed work is not repeated.",
}
"""Reasons of HTTP, beside those of `schemas.reasons`."""
STATUS: Final = {
    "unreadable": 400,
    "malformed": 400,
    "registry_framing": 415,
    "too_large": 413,
    "lookup_failed": 503,  # the store may be back, or have the row, at the next try
}
"""Of `schemas.reasons`; the others are 422."""


class Problem(RiverloopError):
    """An error response.

    Parameters
    ----------
    status
        HTTP status.
    reason
        Code from `schemas.reasons.REASONS` or `HTTP_REASONS`.
    detail
        What is wrong and what to do, for the caller.
    field
        Path of the invalid field, such as ``features.LeadTime``; empty when there is none.
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
        """Return the problem of a rejected record."""
        return cls(STATUS.get(bad.reason, 422), bad.reason, bad.message, bad.field)

    def data(self) -> dict[str, Any]:
        """Return the members of RFC 9457, with `reason` and `field`."""
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
        """Return the HTTP response."""
        return web.Response(
            body=dump(self.data()),
            status=self.status,
            content_type=CONTENT_TYPE,
            headers=HEADERS | self.headers,
        )

    def message(self) -> bytes:
        """Return the bytes of the response, for a connection without a request; it is then closed."""
        headers = self.headers | {"Content-Type": CONTENT_TYPE, "Connection": "close"}
        return message(self.status, dump(self.data()), headers)


def message(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a response."""
    headers = {**HEADERS, **headers, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} {TITLES[status]}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def dump(data: Any) -> bytes:
    """Return compact JSON in ASCII; half surrogates, which a path may contain, are escaped."""
    return _ENCODER.encode(data).encode()


def answer(body: bytes, status: int = 200) -> web.Response:
    """Return a successful response with a JSON body."""
    return web.Response(body=body, status=status, content_type="application/json", headers=HEADERS)
