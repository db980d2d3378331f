"""Messages to people, through Apprise: chats, mail, and what else it knows."""

from __future__ import annotations

import logging
from typing import Any

from infra.notify.config import People
from infra.notify.webhook import Outcome
from schemas.errors import UsageError
from streams.notify.events import Event
from streams.notify.people import text, title


class Messenger:
    """Sends events to the addresses of one route.

    Parameters
    ----------
    reference
        The task as commands name it.

    Raises
    ------
    UsageError
        Apprise is not installed, or does not know an address; the address is not repeated.
    """

    def __init__(self, people: People, reference: str) -> None:
        try:
            import apprise  # noqa: PLC0415  an extra
        except ImportError:
            raise UsageError("messages to people need the extra: pip install 'riverloop[people]'") from None
        # Its lines name addresses and what services have answered.
        logging.getLogger("apprise").disabled = True
        self._apprise: Any = apprise
        self._reference, self._services = reference, list[Any]()
        for number, address in enumerate(people.addresses, start=1):
            service = apprise.Apprise.instantiate(address)
            if service is None:
                raise UsageError(f"{people.name}: Apprise does not know its address {number}")
            self._services.append(service)
        self._accepted = ("", set[int]())
        """The event under way, and the addresses that have it: the others alone are tried again."""

    def send(self, event: Event) -> Outcome:
        """Send an event to the addresses that have not accepted it yet (blocks)."""
        if self._accepted[0] != event.id:
            self._accepted = (event.id, set())
        accepted = self._accepted[1]
        for number, service in enumerate(self._services):
            if number not in accepted and self._notify(service, event):
                accepted.add(number)
        missing = len(self._services) - len(accepted)
        return Outcome(f"{missing} of {len(self._services)} addresses failed" if missing else "")

    def _notify(self, service: Any, event: Event) -> bool:
        said, kind = text(event, self._reference), self._apprise.NotifyType.INFO
        try:
            plain = self._apprise.NotifyFormat.TEXT
            return bool(service.notify(body=said, title=title(event), notify_type=kind, body_format=plain))
        except Exception:  # a plugin's; what it says may have the address
            return False
