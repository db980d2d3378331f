"""Plain health checks, as orchestrators and load balancers send them: read without the web server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

MOST_BYTES: Final = 2048
"""Of a plain health check."""
PATHS: Final = ("/live", "/livez", "/ready", "/readyz", "/healthz")
LINE: Final = re.compile(rb"(GET|HEAD) (/live|/livez|/ready|/readyz|/healthz) HTTP/1\.([01])\r\n")
BEGINNINGS: Final = tuple(
    f"{method} {path} HTTP/1.{minor}\r\n".encode()
    for method in ("GET", "HEAD")
    for path in PATHS
    for minor in (0, 1)
)
FIELD: Final = re.compile(rb"([0-9A-Za-z!#$%&'*+.^_`|~-]+):[ \t]*([\t\x20-\x7e]*)\r\n")
END: Final = b"\r\n\r\n"
DECIDE: Final = frozenset(
    {"content-length", "transfer-encoding", "expect", "upgrade", "origin", "te", "trailer"}
)
"""Fields that change how a message is read or answered: the web server takes those."""
DECIDE_PREFIXES: Final = ("sec-", "access-control-")


@dataclass(frozen=True, slots=True)
class Probe:
    """A health check.

    Parameters
    ----------
    path
        One of `PATHS`.
    host
        The header `Host`.
    body
        Whether the answer has a body; not for HEAD.
    close
        Whether the connection ends with the answer.
    """

    path: str
    host: str
    body: bool
    close: bool


def read_probe(data: bytes) -> Probe | Literal["partial"] | None:
    r"""Read what a connection has brought so far.

    Returns
    -------
    Probe, "partial" or None
        The check, when the bytes are one whole plain check and nothing else. "partial" when they may become one.
        None for everything else, from pipelined calls to malformed ones, which the web server answers.

    Examples
    --------
    >>> read_probe(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    Probe(path='/livez', host='a', body=True, close=False)
    >>> read_probe(b"GET /livez HTTP/1.1\r\nHos"), read_probe(b"GE"), read_probe(b"GET /tasks HTTP/1.1\r\n")
    ('partial', 'partial', None)
    """
    line = LINE.match(data)
    if line is None:
        return "partial" if any(each.startswith(data) for each in BEGINNINGS) else None
    if len(data) > MOST_BYTES:
        return None
    end = data.find(END)
    if end < 0:
        return "partial"
    if end + len(END) != len(data):
        return None
    return _whole(line, data)


def _whole(line: re.Match[bytes], data: bytes) -> Probe | None:
    fields: dict[str, str] = {}
    at = line.end()
    while at < len(data) - 2:
        found = FIELD.match(data, at)
        if found is None:
            return None
        name = found[1].decode("ascii").lower()
        if (
            name in DECIDE
            or name.startswith(DECIDE_PREFIXES)
            or (name in fields and name in {"host", "connection"})
        ):
            return None
        fields[name] = found[2].decode("ascii").strip()
        at = found.end()
    old = line[3] == b"0"
    connection = fields.get("connection", "close" if old else "keep-alive").lower()
    if connection not in {"close", "keep-alive"} or "host" not in fields:
        return None
    return Probe(line[2].decode("ascii"), fields["host"], line[1] == b"GET", connection == "close" or old)
