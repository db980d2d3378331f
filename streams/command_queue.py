"""The commands that were asked for on `T.control` and are not decided yet: what the log's owner works through."""

from __future__ import annotations

from collections.abc import Collection

from schemas.records import Control
from streams.positions import ACCEPTED
from streams.roles import Roles


class CommandQueue:
    """Requests and audits of `T.control`, in order.

    A request is decided once: the audit of its id is written in the transaction that does it.

    Parameters
    ----------
    log
        The log's topic. Where it was made again, and that was accepted, no decision from before is in it.
    """

    def __init__(self, log: str = "") -> None:
        self._log = log
        self.next_offset = 0
        """Of `T.control`: after the last record taken."""
        self._decided: set[str] = set()
        self.opened: set[tuple[str, int]] = set()
        """Model and number of the revisions whose audits were taken."""
        self._waiting: dict[str, tuple[int, Control]] = {}
        self._last = ""
        """The entry of the newest command that is done."""

    def take(self, offset: int, record: Control) -> None:
        """Take a record of `T.control`; one that was taken before changes nothing."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        wanted = record.command.id
        if record.kind == "audit":
            if record.command.name == ACCEPTED and record.command.arguments.get("topic") == self._log:
                self._last = ""
            if record.entry_id and "revision" in record.command.arguments:
                self.opened.add((record.command.model, int(record.command.arguments["revision"])))
            self.decided(wanted, record.entry_id)
        elif wanted not in self._decided:
            self._waiting.setdefault(wanted, (offset, record))

    def decided(self, command_id: str, entry_id: str) -> None:
        """Take that a command is done, by its entry, or rejected; empty ids are of what nobody asked for."""
        if command_id:
            self._decided.add(command_id)
            self._waiting.pop(command_id, None)
        self._last = entry_id or self._last

    def skip(self, offset: int) -> None:
        """Take a record that is no request and no audit."""
        self.next_offset = max(self.next_offset, offset + 1)

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self, roles: Roles, *, ready: bool) -> list[Control]:
        """Return the requests to be decided next, in one transaction.

        Parameters
        ----------
        roles
            At the end of the log.
        ready
            Whether other commands than new revisions can be decided: an owner whose own revision is not open yet
            has no models that answer.

        Returns
        -------
        list
            A new revision of each model that asks for one, or else the first request. Empty when there is none, or
            when the roles do not contain the newest command that is done: a decision rests on all before it.
        """
        if not self._waiting or not self.settled(roles):
            return []
        waiting = [record for _, record in self._waiting.values()]
        opening: dict[str, Control] = {}
        for record in waiting:
            if record.command.name == "revision":
                opening.setdefault(record.command.model, record)
        return [*opening.values()] or (waiting[:1] if ready else [])

    def settled(self, roles: Roles) -> bool:
        """Whether the roles contain the newest command that is done."""
        return not self._last or roles.done(self._last)

    def lacks(self, roles: Roles) -> bool:
        """Whether a revision of the log has no audit: `T.control` was made again, and has lost what it had."""
        opened = roles.revisions.opened.items()
        return any((model, each.number) not in self.opened for model, known in opened for each in known)

    def knows(self, command_id: str) -> bool:
        """Whether a command is done or rejected."""
        return command_id in self._decided

    @property
    def oldest(self) -> int | None:
        """When the request was made that has waited longest, ms; None when there is none."""
        return min((record.ts for _, record in self._waiting.values()), default=None)

    def offset(self, decided: Collection[Control]) -> int:
        """Return the offset of `T.control` below which all is decided once some requests are."""
        ids = {each.command.id for each in decided}
        further = [offset for offset, record in self._waiting.values() if record.command.id not in ids]
        return min(further, default=self.next_offset)
