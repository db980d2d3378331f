"""Ports on the loopback interface for the embedded broker."""

from __future__ import annotations

import random
import socket

from schemas.errors import BrokerError

# Below Linux's ephemeral range (32768 and up): inside it, a client that retries while the broker is down can
# be given the very port it connects to, meet itself (TCP's simultaneous open), and so keep the broker from
# ever taking its port again.
LOWEST, HIGHEST = 15_000, 32_000


def free_pair() -> tuple[int, int]:
    """Return two neighbouring ports that nobody uses now; somebody may take them a moment later."""
    for _ in range(1000):
        first = random.randrange(LOWEST, HIGHEST)  # noqa: S311 - no secret
        if are_free((first, first + 1)):
            return first, first + 1
    raise BrokerError(f"no two free neighbouring ports between {LOWEST} and {HIGHEST} on 127.0.0.1")


def are_free(ports: tuple[int, ...]) -> bool:
    """Whether a server could listen on each of them."""
    for port in ports:
        with socket.socket() as probe:
            # As Java does: connections of an earlier run that are still winding down are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def listens(address: str) -> bool:
    """Whether a connection to ``HOST:PORT`` is accepted."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False
