"""The one attempt that each kind of destination makes."""

from __future__ import annotations

from functools import partial

from infra.notify.config import Destination, People, Webhook
from infra.notify.courier import Send
from infra.notify.people import Messenger
from infra.notify.webhook import send


def attempt(destination: Destination, reference: str) -> Send:
    """Return what delivers an event to a destination once.

    Parameters
    ----------
    reference
        The task as commands name it, for people.

    Raises
    ------
    UsageError
        Apprise is missing, or does not know an address.
    """
    if isinstance(destination, People):
        return Messenger(destination, reference).send
    assert isinstance(destination, Webhook)
    return partial(send, destination)
