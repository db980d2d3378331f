"""One attempt at one webhook: signed, bounded in time, no redirects, private addresses only where allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from infra.clock import now_ms
from infra.notify.config import Webhook
from streams.notify.events import Event
from streams.notify.signature import headers

TIMEOUT_S: Final = 20.0
"""For connecting, sending and the answer's head together; the specification asks for 15 to 30 s."""
AGENT: Final = "riverloop-hooks"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt."""

    failure: str = ""
    """Why it failed, in words of ours: what a library says may quote the address. Empty: it was delivered."""
    asked_s: float = 0.0
    """How long the receiver asks to wait."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public network.

    Examples
    --------
    >>> [is_public(each) for each in ("8.8.8.8", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1")]
    [True, False, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped if mapped is not None else found
    return found.is_global and not found.is_multicast


class _Private(Exception):
    """The address is not a public one."""


class _Public(AbstractResolver):
    """Gives public addresses only; the connection goes to the address that was checked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await aiohttp.ThreadedResolver().resolve(host, port, family)
        if not all(is_public(each["host"]) for each in found):
            raise _Private
        return found

    async def close(self) -> None:
        """Nothing is held."""


def send(webhook: Webhook, event: Event, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Send an event once (blocks)."""
    return asyncio.run(_send(webhook, event, timeout_s))


async def _send(webhook: Webhook, event: Event, timeout_s: float) -> Outcome:
    body = event.body
    signed = headers(webhook.secrets, event.id, now_ms() // 1000, body) | {"user-agent": AGENT}
    if not webhook.private and _is_private(urlsplit(webhook.url).hostname or ""):
        return Outcome("its address is private, and private = true is not set")
    resolver = None if webhook.private else _Public()
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.TCPConnector(resolver=resolver) as connector,
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            session.post(webhook.url, data=body, headers=signed, allow_redirects=False) as answer,
        ):
            if 200 <= answer.status < 300:
                return Outcome()
            asked = answer.headers.get("retry-after", "")
            return Outcome(f"it answered {answer.status}", float(asked) if asked.isdecimal() else 0.0)
    except _Private:
        return Outcome("its address is private, and private = true is not set")
    except TimeoutError:
        return Outcome(f"no answer within {timeout_s:g} s")
    except aiohttp.ClientConnectorCertificateError:
        return Outcome("its certificate is not trusted")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(f"it cannot be reached ({type(error).__name__})")


def _is_private(host: str) -> bool:
    """Whether a host is written as an address that is not public; a name is looked at when it is resolved."""
    try:
        return not is_public(host)
    except ValueError:
        return False
