"""Whether HTTP can listen where the settings say, asked before anything else is started."""

from __future__ import annotations

import socket

from schemas.errors import UsageError


def check_listening(host: str, port: int) -> None:
    """Refuse an address that is none of this machine, and a port that is taken or may not be used.

    Parameters
    ----------
    port
        0 asks about the address only.

    Raises
    ------
    UsageError
        With the system's reason, and what to do.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--http-host {host[:100]!r} is no address: {getattr(error, 'strerror', error)}"
        ) from error
    for family, kind, protocol, _, address in found:
        try:
            probe = socket.socket(family, kind, protocol)
        except OSError:  # a family that this machine lacks: asyncio passes it over, too
            continue
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise UsageError(
                    f"HTTP cannot listen on {host or 'every address'}, port {port or 'any'}: {error.strerror}; "
                    "give another one with --http-port (0: any free one) or --http-host"
                ) from error
