"""Asking for commands on `T.control`, and seeing what becomes of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from infra.kafka.connection import Connection
from infra.kafka.fencing import members
from infra.kafka.log import LogReader, read_all
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Writer
from infra.log_commands import lacks_revisions, log_commands
from infra.taskfile import LoadedTask
from schemas.applied import Applied
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError, UsageError
from schemas.records import Command, Control, Entry, Position
from schemas.topics import TaskTopics
from streams.commands import DECIDED
from streams.roles import Roles
from streams.shares import UNIT

MEMBERS_S: Final = 1.0
"""Time between two queries for the live workers."""
Live = Callable[[], frozenset[str]]
"""Returns the slots of the workers that are alive (blocks)."""


def new_id() -> str:
    """Return an id for a command."""
    return secrets.token_hex(8)


@dataclass(slots=True)
class Progress:
    """What has become of a command."""

    state: Literal["asked", "done", "rejected"] = "asked"
    why: str = ""
    """Why it was rejected."""
    command: Command | None = None
    """As it was done."""
    entry_id: str = ""
    log_offset: int | None = None
    """Of its entry, from which on it is active; None while no worker has reported it."""
    applied: dict[str, int] = field(default_factory=dict)
    """By slot: the newest log offset that a worker has reported."""
    waiting: list[str] = field(default_factory=list)
    """Slots of live workers that have not applied it."""

    @property
    def everywhere(self) -> bool:
        """Whether it is rejected, or every live worker has applied it."""
        if self.state == "rejected":
            return True
        return self.state == "done" and self.log_offset is not None and not self.waiting

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        found: dict[str, Any] = {"state": self.state}
        if self.state == "rejected":
            return found | {"why": self.why}
        offset = self.log_offset
        active = sorted(each for each, at in self.applied.items() if offset is not None and at >= offset)
        if self.state == "done":
            found |= {"entry_id": self.entry_id, "log_offset": offset}
            found |= {"active": active, "waiting": self.waiting}
        return found


class Commands:
    """The commands of one task.

    Parameters
    ----------
    connection
        The cluster.
    codec
        Of the task.
    group
        The workers' consumer group.
    """

    def __init__(self, connection: Connection, codec: Codec, group: str) -> None:
        self.connection, self.codec, self._group = connection, codec, group
        self._topics = TaskTopics(codec.task)

    def live(self) -> frozenset[str]:
        """Return the slots of the live workers that have read the task's log (blocks)."""
        return members(self.connection, f"{self._group}.{self.codec.task}.log")

    def record(self, command: Command) -> OutRecord:
        """Return the request for a command."""
        value = self.codec.encode(Control("request", command, command.asked))
        return OutRecord(self._topics.control, self._topics.task.encode(), value, 0)

    async def ask(self, command: Command) -> Position:
        """Write the request for a command with a producer of its own; returns its place.

        Raises
        ------
        BrokerError
            It is not acknowledged.
        """
        writer = Writer(self.connection)
        try:
            return await writer.send(self.record(command))
        finally:
            await writer.close()

    async def follow(
        self, command: Command, start: int, timeout_s: float, *, everywhere: bool = False
    ) -> Progress:
        """Wait until a command is decided, or rather active everywhere.

        Parameters
        ----------
        start
            Offset of the request on `T.control`.
        timeout_s
            How long to wait; what is known then is returned.
        everywhere
            Whether to wait until every live worker has applied it.

        Raises
        ------
        BrokerError
            The cluster does not answer.
        """
        progress, changed = Progress(), asyncio.Event()
        reading = asyncio.create_task(self._read(command.id, start, progress, changed))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (progress.everywhere if everywhere else progress.state != "asked"):
                    if reading.done():
                        reading.result()
                    changed.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), MEMBERS_S)
                    if everywhere and progress.state == "done":
                        await self._update(progress)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return progress

    async def _update(self, progress: Progress) -> None:
        with suppress(BrokerError):  # asked again at once
            live = await asyncio.get_running_loop().run_in_executor(None, self.live)
            offset = progress.log_offset
            progress.waiting = sorted(
                each for each in live if offset is None or progress.applied.get(each, -1) < offset
            )

    async def _read(self, command_id: str, start: int, progress: Progress, changed: asyncio.Event) -> None:
        reader = LogReader(self.connection, self._topics.control, 0, start)
        async with reader:
            async for batch in reader:
                for message in batch.messages:
                    with suppress(BadRecord):
                        record = self.codec.decode_from_control(message.value())
                        _take(progress, command_id, record)
                changed.set()

    def history(self) -> tuple[Roles, list[Control], dict[str, int]]:
        """Read the whole of `T.control` (blocks).

        Returns
        -------
        tuple
            The roles after all commands that are done, with offsets of `T.control`; the audits of commands for
            models, rejected ones as well; by entry id the log offset, where a worker has reported it. Where
            `T.control` was made again and lacks what the log has, roles, offsets and audits are those of the log.

        Raises
        ------
        BrokerError
            It cannot be read.
        """
        audits, offsets = list[tuple[int, Control]](), dict[str, int]()
        for message in read_all(self.connection, self._topics.control):
            try:
                record = self.codec.decode_from_control(message.value())
            except BadRecord:
                continue
            if isinstance(record, Applied):
                offsets.update(record.commands)
            elif record.kind == "audit" and record.command.name in {"revision", *DECIDED}:
                audits.append((message.offset() or 0, record))
        try:
            roles = self._roles(audits)
        except ValueError:
            roles = None
        if roles is None or lacks_revisions(each for _, each in audits):
            # The log's owner has not restored it yet.
            rejected = [(0, each) for _, each in audits if each.rejected]
            audits = [*log_commands(self.connection, self.codec, self._topics)]
            roles = self._roles(audits)
            audits += rejected
        return roles, [each for _, each in audits], offsets

    def _roles(self, audits: Iterable[tuple[int, Control]]) -> Roles:
        """Fold audits; raises ValueError where some are missing."""
        roles = Roles(self.codec.task)
        for offset, each in audits:
            if each.entry_id:
                roles.apply(offset, Entry(each.entry_id, "command", each.ts, command=each.command))
        return roles


def check_answering(roles: Roles, loaded: LoadedTask) -> None:
    """Reject a task file without a model that answers.

    Raises
    ------
    UsageError
        Says which command comes first.
    """
    names = [model.name for model in loaded.task.models]
    for name, share in roles.answering.items():
        if name not in names:
            other = next((each for each in names if each in roles.models), names[0])
            raise UsageError(
                f"task {loaded.task.name}: model {name} answers {share / UNIT:.4g} of the requests, and the task "
                f"file has no such model; it has {', '.join(names)}. Put {name} back and run a worker, then let "
                f"another model answer: riverloop models promote {loaded.reference} {other} --reason …"
            )


def _take(progress: Progress, command_id: str, record: Control | Applied) -> None:
    if isinstance(record, Applied):
        progress.applied[record.slot] = max(record.log_offset, progress.applied.get(record.slot, -1))
        progress.log_offset = record.commands.get(progress.entry_id, progress.log_offset)
    elif record.kind == "audit" and record.command.id == command_id and progress.state == "asked":
        progress.state = "rejected" if record.rejected else "done"
        progress.why, progress.command, progress.entry_id = record.rejected, record.command, record.entry_id
