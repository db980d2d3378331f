"""The one attempt that each kind of destination makes."""

from __future__ import annotations

from functools import partial

from infra.notify.config import Destination, Webhook
from infra.notify.courier import Send
from infra.notify.webhook import send


def attempt(destination: Destination) -> Send:
    """Return what delivers an event to a destination once."""
    assert isinstance(destination, Webhook)
    return partial(send, destination)
