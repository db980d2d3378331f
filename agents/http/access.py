"""Who may call: tokens for what changes something, and where HTTP may listen without one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from typing import Final, Literal

from aiohttp import web

from agents.http.problems import Problem
from agents.settings import Settings
from schemas.errors import UsageError

Needs = Literal["", "http_token", "serve_token"]
"""What a call needs: nothing, the token for changes, or that for predictions; by the name of its setting."""

MIN_TOKEN: Final = 16
"""Characters below which a token could be guessed over the network."""
TOLD_AT: Final = frozenset(10**power for power in range(9))
"""So many refusals are worth a line in the log: whoever tries tokens must not fill the disk with it."""
SCHEME: Final = "bearer "
log = logging.getLogger(__name__)


class Access:
    """Decides who may call; a token is compared in a time that tells nothing about it.

    Parameters
    ----------
    settings
        `http_token` and `serve_token`: one or several each, separated by white space, so that a token can be
        replaced without a gap. Whoever has an `http_token` may ask for predictions, too.
    """

    def __init__(self, settings: Settings) -> None:
        changes = _digests(settings.http_token)
        serves = _digests(settings.serve_token)
        self._known: dict[str, tuple[bytes, ...]] = {
            "http_token": changes,
            # Without a token of its own, serving is open to whoever reaches the port.
            "serve_token": serves + changes if serves else (),
        }
        self._refused = 0

    def check(self, request: web.Request, needs: Needs) -> None:
        """Let a call pass, or not.

        Raises
        ------
        Problem
            401, without a token that is known here.
        """
        known = self._known.get(needs, ())
        if not known:
            return
        told = request.headers.get("Authorization", "")
        bearer = told[: len(SCHEME)].lower() == SCHEME
        digest = _digest(told[len(SCHEME) :].strip())
        # All of them, always: an early end would tell which one was nearly right.
        if sum([hmac.compare_digest(digest, each) for each in known]) and bearer:
            return
        self._refused += 1
        if self._refused in TOLD_AT:
            log.warning(
                "%d calls without a known token were refused, the last one from %s",
                self._refused,
                request.remote,
            )
        if bearer:
            detail = "the token is not one that this worker knows"
        else:
            detail = "this call needs a token: send the header Authorization: Bearer TOKEN"
        raise Problem(401, "token_needed", detail, headers={"WWW-Authenticate": 'Bearer realm="riverloop"'})


def check_exposure(settings: Settings) -> None:
    """Refuse to listen where others reach the port while no token keeps them from changing anything.

    Raises
    ------
    UsageError
        For an address beyond this machine without a token, unless `http_open` says that this is meant; for
        tokens that can be guessed.
    """
    for name in ("http_token", "serve_token"):
        if any(len(each) < MIN_TOKEN for each in getattr(settings, name).split()):
            raise UsageError(
                f"a {name} is shorter than {MIN_TOKEN} characters and could be guessed; make one with: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    if not (settings.http_token.split() or settings.http_open or is_loopback(settings.http_host)):
        raise UsageError(
            f"HTTP would listen on {settings.http_host or 'every address'}, where others could report outcomes: "
            "give a token in RIVERLOOP_HTTP_TOKEN or RIVERLOOP_HTTP_TOKEN_FILE, listen on 127.0.0.1, or say "
            "--http-open if whoever reaches the port may do so"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only; a name other than localhost is not known to be.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", "worker-1", "[::1]")]
    [True, True, True, False, False, False, True]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _digests(text: str) -> tuple[bytes, ...]:
    return tuple(_digest(each) for each in text.split())


def _digest(token: str) -> bytes:
    # Of equal length whatever was sent; half surrogates stand for bytes that were no UTF-8.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
