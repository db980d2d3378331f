"""Signatures of webhooks after the Standard Webhooks specification: symmetric, `v1`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from schemas.errors import UsageError

PREFIX: Final = "whsec_"
LEAST, MOST = 24, 64
"""Bytes of a secret, as the specification bounds them."""


def secrets_of(text: str, where: str) -> tuple[bytes, ...]:
    """Read secrets that are separated by white space: all of them sign, so that a receiver can change to a new one.

    Parameters
    ----------
    where
        Names their place in an error; a secret is never repeated.

    Raises
    ------
    UsageError
        There is none, or one is not `whsec_` and 24 to 64 bytes in base64.
    """
    found = []
    for word in text.split():
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not word.startswith(PREFIX) or not LEAST <= len(key) <= MOST:
            raise UsageError(
                f"{where}: a webhook's secret is {PREFIX} and {LEAST} to {MOST} random bytes in base64"
            )
        found.append(key)
    if not found:
        raise UsageError(f"{where} has no secret")
    return tuple(found)


def signature(secrets: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`.

    Parameters
    ----------
    timestamp
        Of the attempt, s.

    Examples
    --------
    The specification's example.

    >>> keys = secrets_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "example")
    >>> body = b'{"test": 2432232314}'
    >>> signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    made = (hmac.new(key, signed, hashlib.sha256).digest() for key in secrets)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made)


def headers(secrets: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook."""
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, event_id, timestamp, body),
    }
