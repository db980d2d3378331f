"""Access control: tokens, and the addresses on which HTTP may listen without one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
from typing import Final, Literal

from aiohttp import web

from agents.http.problems import Problem
from agents.settings import Settings
from schemas.errors import UsageError

Needs = Literal["", "http_token", "serve_token", "any_token"]
"""Setting with the tokens that a call requires; empty: none."""

MIN_TOKEN: Final = 16
"""Characters below which a token could be guessed over the network."""
LOGGED_AT: Final = frozenset(10**power for power in range(9))
"""Counts of rejections that are logged, so that a caller cannot fill the disk."""
SCHEME: Final = "bearer "
NAMED: Final = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<secret>.+)\Z")
"""A token with a name."""
NOBODY: Final = "anonymous"
"""The author of a call that needs no token."""
AUTHOR: Final = web.RequestKey("author", str)
"""Of a call: the name of its token, empty where it has none."""
log = logging.getLogger(__name__)


class Access:
    """Checks the tokens of calls, in constant time.

    Parameters
    ----------
    settings
        `http_token` and `serve_token`: one or several each, separated by white space, so that a token can be
        replaced without a gap. An `http_token` is also valid for predictions. `NAME:TOKEN` gives a token a name.
    """

    def __init__(self, settings: Settings) -> None:
        changes = _digests(settings.http_token)
        serves = _digests(settings.serve_token)
        self._known: dict[str, tuple[tuple[bytes, str], ...]] = {
            "http_token": changes,
            # Without a serve_token, predictions require no token.
            "serve_token": serves + changes if serves else (),
            "any_token": serves + changes,
        }
        self._rejected = 0

    def check(self, request: web.Request, needs: Needs) -> str:
        """Check the token of a call; returns its name, empty where it has none.

        Raises
        ------
        Problem
            401, without a valid token.
        """
        known = self._known.get(needs, ())
        if not known:
            return NOBODY
        header = request.headers.get("Authorization", "")
        bearer = header[: len(SCHEME)].lower() == SCHEME
        digest = _digest(header[len(SCHEME) :].strip())
        # Compare with all of them: an early exit would leak timing.
        names = [name for each, name in known if hmac.compare_digest(digest, each)]
        if names and bearer:
            return names[0]
        self._rejected += 1
        if self._rejected in LOGGED_AT:
            log.warning(
                "rejected %d calls without a valid token, the last one from %s",
                self._rejected,
                request.remote,
            )
        if bearer:
            detail = "the token is not valid for this worker"
        else:
            detail = "this call requires a token: send the header Authorization: Bearer TOKEN"
        raise Problem(401, "token_needed", detail, headers={"WWW-Authenticate": 'Bearer realm="riverloop"'})


def check_exposure(settings: Settings) -> None:
    """Reject an address beyond this machine without a token.

    Raises
    ------
    UsageError
        For such an address, unless `allow_unauthenticated_http` is set; for tokens that can be guessed.
    """
    for name in ("http_token", "serve_token"):
        if any(len(secret_of(each)[0]) < MIN_TOKEN for each in getattr(settings, name).split()):
            raise UsageError(
                f"a {name} is shorter than {MIN_TOKEN} characters and could be guessed; make one with: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    if not (
        settings.http_token.split() or settings.allow_unauthenticated_http or is_loopback(settings.http_host)
    ):
        raise UsageError(
            f"HTTP would listen on {settings.http_host or 'every address'} without a token, and any caller could "
            "report outcomes: set RIVERLOOP_HTTP_TOKEN or RIVERLOOP_HTTP_TOKEN_FILE, listen on 127.0.0.1, or set "
            "--allow-unauthenticated-http"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only; of names only localhost is.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", "worker-1", "[::1]")]
    [True, True, True, False, False, False, True]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def secret_of(token: str) -> tuple[str, str]:
    """Return the secret that a caller sends, and the name of a token.

    Examples
    --------
    >>> secret_of("ada:0123456789abcdef"), secret_of("0123456789abcdef")
    (('0123456789abcdef', 'ada'), ('0123456789abcdef', ''))
    """
    named = NAMED.match(token)
    return (named["secret"], named["name"]) if named else (token, "")


def _digests(text: str) -> tuple[tuple[bytes, str], ...]:
    found = (secret_of(each) for each in text.split())
    return tuple((_digest(secret), name) for secret, name in found)


def _digest(token: str) -> bytes:
    # Equal length for any input; half surrogates stand for bytes that are not UTF-8.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
