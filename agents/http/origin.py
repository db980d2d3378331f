"""From where a call may come: under which names this worker is called, and from which pages in a browser.

A page that somebody opens in a browser can make that browser call a port of the same machine (by a name of its own
which it lets point to 127.0.0.1, "DNS rebinding"), where a worker asks for no token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from agents.http.access import is_loopback
from agents.http.problems import Problem
from agents.settings import Settings

FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})
HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?")
MOST_TAKEN: Final = 64
PREFLIGHT_S: Final = 600
"""A browser may remember so long what a preflight allows."""


class Origins:
    """Decides under which names and from which pages a worker is called.

    Parameters
    ----------
    settings
        `http_host`: on a loopback address only names of the loopback interface are taken. `http_hosts`: further
        names; where it is set, others are taken nowhere. `http_origins`: pages elsewhere that may call.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = frozenset(each.lower() for each in settings.http_hosts.split())
        self._loopback = is_loopback(settings.http_host)
        self._guarded = bool(self._names) or self._loopback
        self._taken: set[str] = set()
        """Hosts that were found to be known, as they are said: reading an address takes time."""
        self._allowed = frozenset(each.lower() for each in settings.http_origins.split())

    def check(self, request: web.BaseRequest) -> None:
        """Let a call pass, or not.

        Raises
        ------
        Problem
            400 without one `Host`, 421 for a name that is not this worker's, 403 for a page that may not call.
        """
        hosts = request.headers.getall("Host", [])
        if len(hosts) > 1 or (not hosts and request.version >= (1, 1)):
            raise Problem(
                400, "bad_request", f"the message has {len(hosts)} Host headers; it must have exactly one"
            )
        target = request.raw_path
        if "://" in target.partition("?")[0] and not target.startswith("/"):
            hosts = [*hosts, urlsplit(target).netloc]  # the absolute form says it, too
        for host in hosts:
            if not self.knows(host):
                detail = (
                    f"the host {host[:100]!r} is not accepted: use the address on which the worker listens, or "
                    "add the host to its setting http_hosts"
                )
                raise Problem(421, "unknown_host", detail)
        origin = request.headers.get("Origin", "")
        if origin:
            foreign = not (self.allows(origin) or any(_is_own(origin, host) for host in hosts[:1]))
        else:
            # Without an origin a browser asks for an image, say; but somebody may follow a link to a page.
            site, mode = (request.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Mode"))
            foreign = site in FOREIGN_SITES and mode != "navigate"
        if foreign:
            detail = (
                f"the page at {origin[:100] or 'another site'} is not allowed to call this worker: add its "
                "origin to the setting http_origins"
            )
            raise Problem(403, "foreign_origin", detail)

    def knows(self, host: str) -> bool:
        """Whether this worker is known by the name of a header `Host`."""
        return not self._guarded or host in self._taken or self._is_known(host)

    def allows(self, origin: str) -> bool:
        """Whether a page of another origin may call."""
        return origin.lower() in self._allowed

    def shared(self, request: web.BaseRequest) -> Mapping[str, str]:
        """Return the headers that let such a page read the answer (CORS)."""
        if not self._allowed:
            return {}
        headers = {"Vary": "Origin"}
        origin = request.headers.get("Origin", "")
        if self.allows(origin):
            headers |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": "Retry-After, Allow, WWW-Authenticate",
                "Cross-Origin-Resource-Policy": "cross-origin",
            }
        return headers

    def preflight(self, request: web.BaseRequest, methods: str) -> web.Response | None:
        """Answer a browser that asks what such a page may send; None when it asks for nothing like it."""
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or not asked or not self.allows(request.headers.get("Origin", "")):
            return None
        headers = {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    def _is_known(self, host: str) -> bool:
        name = _name(host)
        # A page cannot let an address point elsewhere, as it can a name.
        known = name in self._names or is_loopback(name) or (not self._loopback and _is_address(name))
        if known and len(self._taken) < MOST_TAKEN:
            self._taken.add(host)
        return known


def _name(host: str) -> str:
    """Return the name of `NAME:PORT`, in lower case and without the brackets of IPv6.

    Examples
    --------
    >>> [_name(host) for host in ("127.0.0.1:8080", "[::1]:8080", "LocalHost.", "[::1", "a@127.0.0.1")]
    ['127.0.0.1', '::1', 'localhost', '', '']
    """
    found = HOST.fullmatch(host)
    return found[1].strip("[]").removesuffix(".").lower() if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own(origin: str, host: str) -> bool:
    """Whether a page comes from the worker itself, as the same call names it.

    Examples
    --------
    >>> _is_own("http://localhost:80", "LOCALHOST"), _is_own("https://a.example", "a.example")
    (True, True)
    >>> _is_own("http://localhost:3000", "localhost:8080"), _is_own("null", "localhost")
    (False, False)
    """
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(page.scheme)
        same = page.hostname == here.hostname and (page.port or usual) == (here.port or usual)
    except ValueError:
        return False
    return usual is not None and same
