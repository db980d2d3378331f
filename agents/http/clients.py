"""Who calls, by address, and what each may hold of what there is little of."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from agents.http.listeners import Listener
from agents.http.problems import Problem

MOST_WAITS: Final = 256
WAITS_PER_CLIENT: Final = 64
"""Calls that wait for progress at once, of one client."""


def client_of(request: web.BaseRequest) -> str:
    """Return whose call it is: an address; of IPv6 the network of 64 bits that one machine may have for its own."""
    return network_of(request.remote or "")


def network_of(address: str) -> str:
    """Return what stands for an address.

    Examples
    --------
    >>> [network_of(each) for each in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1:2:3:4", "?")]
    ['10.1.2.3', '10.1.2.3', '2001:db8::/64', '?']
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class Streams:
    """The open live pages of a worker, each with its client.

    A client that wants more than its share loses its own oldest one. When all are in use, whoever has most of
    them loses one to a client with fewer, so that nobody locks others out by holding pages that nobody reads.

    Parameters
    ----------
    most
        Of all clients.
    per_client
        Of one.
    """

    def __init__(self, most: int, per_client: int) -> None:
        self._most, self._per_client = most, per_client
        self._open: dict[Listener, str] = {}  # the oldest one first

    def __len__(self) -> int:
        return len(self._open)

    def make_room(self, client: str) -> None:
        """Make room for one more of a client, which `add` then takes without waiting for anything.

        Raises
        ------
        Problem
            503, when every client has as few as this one would.
        """
        open_calls = Counter(self._open.values())
        if open_calls[client] >= self._per_client:
            self._end_oldest(client)
        elif len(self._open) >= self._most:
            other, most = open_calls.most_common(1)[0]
            if most <= open_calls[client] + 1:
                raise Problem(
                    503,
                    "too_many_pages",
                    f"all {self._most} live pages of this worker are in use: close one, or use another worker",
                )
            self._end_oldest(other)

    def add(self, listener: Listener, client: str) -> None:
        """Count a stream in."""
        self._open[listener] = client

    def discard(self, listener: Listener) -> None:
        """Count a stream out."""
        self._open.pop(listener, None)

    def _end_oldest(self, client: str) -> None:
        oldest = next(each for each, of in self._open.items() if of == client)
        self.discard(oldest)
        oldest.replace()


class Waits:
    """Counts the calls that wait for progress."""

    def __init__(self, most: int = MOST_WAITS, per_client: int = WAITS_PER_CLIENT) -> None:
        self._most, self._per_client = most, per_client
        self._in_use: Counter[str] = Counter()

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Take a place for as long as a call waits.

        Raises
        ------
        Problem
            503, when there is none.
        """
        if self._in_use[client] >= self._per_client or self._in_use.total() >= self._most:
            raise Problem(503, "too_many_waits", "too many calls wait for progress: retry without wait_s")
        self._in_use[client] += 1
        try:
            yield
        finally:
            self._in_use[client] -= 1
            if not self._in_use[client]:
                del self._in_use[client]
