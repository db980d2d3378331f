"""The commands of a task while this worker owns its log: read from `T.control`, checked, and done or rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from infra.audit.chain import read_record
from infra.audit.checkpoints import Checkpoints
from infra.clock import now_ms
from infra.hooks import reached
from infra.kafka.buffers import Partition
from infra.kafka.log import LogReader
from infra.kafka.transaction import OutRecord
from infra.task.audit_links import AuditLinks
from infra.task.context import TaskContext
from schemas.errors import BrokerError, CommandRejected, RecordsGone
from schemas.records import Command, Control, Entry
from streams.command_queue import CommandQueue
from streams.commands import command_entry_id, decide
from streams.model import ModelFold
from streams.roles import Roles

log = logging.getLogger(__name__)


class CommandDesk:
    """Follows `T.control` and says what the next command writes.

    Parameters
    ----------
    context
        The task.
    wake
        Called when there is something to decide.
    checkpoints
        Where checkpoints of the audit chain go.
    """

    def __init__(
        self, context: TaskContext, wake: Callable[[], None], checkpoints: Checkpoints | None = None
    ) -> None:
        self.context, self._wake = context, wake
        self.audit = AuditLinks(context, checkpoints)
        self.queue = CommandQueue()
        self.partition = Partition(context.topics.control, 0)
        self._reading: asyncio.Task[None] | None = None
        self._caught_up = False

    @property
    def offsets(self) -> dict[Partition, int]:
        """The offset that is committed with the first request."""
        return {self.partition: self.queue.offset()}

    def open(self) -> None:
        """Begin to read: this worker owns the log now, or it is unknown what became of the last transaction.

        Nothing is decided before all is read that was written until now. So it is seen what an owner before, or a
        transaction before, has decided.
        """
        self.close()
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="commands")

    def close(self) -> None:
        """Stop reading."""
        self._caught_up = False
        self.audit.close()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> None:
        while True:
            try:
                reader = LogReader(self.context.connection, *self.partition, self.queue.next_offset or None)
                async with reader:
                    async for batch in reader:
                        for message in batch.messages:
                            self.take(message.offset() or 0, message.value())
                        self._caught_up = self._caught_up or batch.caught_up
                        if self._caught_up:
                            self.audit.keep()
                        if len(self.queue) or self.audit.chain.to_link:
                            self._wake()
            except RecordsGone as error:
                log.warning("%s: commands are read from the beginning: %s", self.context.task.name, error)
                self.queue = CommandQueue()
                self.audit.reset()
            except BrokerError as error:
                log.warning("%s: commands cannot be read: %s", self.context.task.name, error)
            await asyncio.sleep(1.0)

    def take(self, offset: int, value: bytes | None) -> None:
        """Take a record of `T.control`."""
        record = read_record(self.context.codec, value)
        if offset >= self.queue.next_offset:
            self.audit.take(record, value)
        if isinstance(record, Control):
            self.queue.take(offset, record)
        else:
            self.queue.skip(offset)

    def next(self, roles: Roles) -> Control | None:
        """Return the request to be decided now; see `CommandQueue.first`."""
        return self.queue.first(roles) if self._caught_up else None

    def links(self) -> list[OutRecord]:
        """Return the link of the audit chain that is to be written now; see `AuditLinks.next`."""
        return self.audit.next() if self._caught_up else []

    def decide(self, request: Control, models: Sequence[ModelFold]) -> Decided:
        """Check a request; the models are at the end of the log."""
        reached("before-command")
        name, command, now = self.context.task.name, request.command, now_ms()
        try:
            command = decide(command, models[0].roles, {fold.model.name: fold for fold in models})
        except CommandRejected as error:
            log.warning("%s: command %s of %s is rejected: %s", name, command.name, command.author, error)
            return Decided(self.context, command, Control("audit", command, now, rejected=str(error)), None)
        entry = Entry(command_entry_id(name, command), "command", now, command=command)
        log.info("%s: %s does %s %s: %s", name, command.author, command.name, command.model, command.reason)
        return Decided(self.context, command, Control("audit", command, now, entry.entry_id), entry)

    def done(self, decided: Decided) -> None:
        """Take that a decision is committed."""
        self.queue.decided(decided.command.id, decided.audit.entry_id)
        reached("after-command")


class Decided:
    """What a decision writes: the audit, and the entry of the log where the command is done."""

    def __init__(self, context: TaskContext, command: Command, audit: Control, entry: Entry | None) -> None:
        self.command, self.audit, self.entry = command, audit, entry
        key, codec, topics = context.task.name.encode(), context.codec, context.topics
        self.records = [OutRecord(topics.control, key, codec.encode(audit), 0)]
        if entry is not None:
            # JSON, because the schema of an entry depends on the dictionary, and all are to read this one.
            self.records.insert(0, OutRecord(topics.log, key, codec.encode(entry, json=True), 0))

    @property
    def ends(self) -> list[str]:
        """The models whose revision ends with it."""
        return [self.command.model] if self.entry and "revision" in self.command.arguments else []
