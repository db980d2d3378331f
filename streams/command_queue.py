"""The commands that were asked for on `T.control` and are not decided yet: what the log's owner works through."""

from __future__ import annotations

from schemas.records import Control
from streams.roles import Roles


class CommandQueue:
    """Requests and audits of `T.control`, in order.

    A request is decided once: the audit of its id is written in the transaction that does it.
    """

    def __init__(self) -> None:
        self.next_offset = 0
        """Of `T.control`: after the last record taken."""
        self._decided: set[str] = set()
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

    def first(self, roles: Roles) -> Control | None:
        """Return the request to be decided next.

        Returns
        -------
        Control or None
            None when there is none, or when the roles do not contain the newest command that is done: a decision
            rests on all before it.
        """
        if not self._waiting or (self._last and not roles.done(self._last)):
            return None
        return next(iter(self._waiting.values()))[1]

    @property
    def oldest(self) -> int | None:
        """When the request was made that has waited longest, ms; None when there is none."""
        return min((record.ts for _, record in self._waiting.values()), default=None)

    def offset(self) -> int:
        """Return the offset of `T.control` below which all is decided once the first request is."""
        further = [offset for offset, _ in self._waiting.values()][1:]
        return min(further, default=self.next_offset)
