"""Sockets for the address of HTTP, and its form in a URL."""

from __future__ import annotations

import contextlib
import socket

from schemas.errors import UsageError


def authority(host: str, port: int | str) -> str:
    """Write `HOST:PORT` as a URL has it.

    Examples
    --------
    >>> authority("127.0.0.1", 8080), authority("::1", 8080), authority("", 8080)
    ('127.0.0.1:8080', '[::1]:8080', '*:8080')
    """
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind an address, without listening yet.

    Parameters
    ----------
    host
        An address or a name, which may stand for several; empty for every address of this machine. `::` is every
        address, too, those of IPv4 among them. An address of IPv6 may have the brackets that it has in a URL.
    port
        0 for any free one; all sockets then have the same.

    Raises
    ------
    UsageError
        When the port is taken, or the address is not this machine's.
    """
    bound: list[socket.socket] = []
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in dict.fromkeys(found):
            if not _is_there(family):
                continue
            made = socket.socket(family, socket.SOCK_STREAM)
            bound.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            made.bind((place[0], port or bound[0].getsockname()[1], *place[2:]))
        if not bound:
            raise OSError(0, "the address family is not supported")
    except (OSError, ValueError) as error:
        for each in bound:
            each.close()
        raise UsageError(
            f"HTTP cannot listen on {authority(host[:100], port)}: {getattr(error, 'strerror', error)}; "
            "choose another --http-host or --http-port"
        ) from None
    return bound


def _is_there(family: int) -> bool:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM):
        return True
    return False
