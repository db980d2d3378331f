"""The commands of a task while this worker owns its log: read from `T.control`, checked, and done or rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from infra.audit.chain import read_record
from infra.audit.checkpoints import Checkpoints
from infra.clock import now_ms
from infra.hooks import reached
from infra.kafka.buffers import Partition
from infra.kafka.log import LogReader
from infra.kafka.transaction import OutRecord
from infra.log_commands import log_commands
from infra.task.audit_links import AuditLinks
from infra.task.context import TaskContext
from infra.task.gate_desk import GateDesk
from schemas.errors import BrokerError, CommandRejected, RecordsGone
from schemas.records import Command, Control, Entry
from streams.command_queue import CommandQueue
from streams.commands import command_entry_id, decide_all, decide_revision, with_anchors
from streams.gate.lines import GateMonitor
from streams.model import ModelFold
from streams.roles import Roles
from streams.rollout_checks import Situation

log = logging.getLogger(__name__)


class CommandDesk:
    """Follows `T.control` and says what the next command writes.

    Parameters
    ----------
    context
        The task.
    wake
        Called when there is something to decide.
    newest
        The newest snapshots, by model.
    checkpoints
        Where checkpoints of the audit chain go.
    """

    def __init__(
        self,
        context: TaskContext,
        wake: Callable[[], None],
        newest: Mapping[str, str] = MappingProxyType({}),
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.context, self._wake, self._newest = context, wake, newest
        self.audit = AuditLinks(context, checkpoints)
        self.queue = CommandQueue(context.topics.log)
        self.gate_desk = GateDesk(context, wake)
        self.partition = Partition(context.topics.control, 0)
        self._reading: asyncio.Task[None] | None = None
        self._caught_up = False
        self._restoring: asyncio.Future[list[Control]] | None = None
        """The audits of the log's commands, where `T.control` has lost them."""
        self._is_whole = False

    def offsets(self, decided: Sequence[Decided]) -> dict[Partition, int]:
        """Return the offset that is committed with some decisions."""
        return {self.partition: self.queue.offset([each.request for each in decided])}

    def asked_s(self) -> float | None:
        """Return the age of the oldest request that is not decided, s.

        0 when there is none; None while `T.control` is read: the audit of a request may come yet.
        """
        if not self._caught_up:
            return None
        oldest = self.queue.oldest
        return 0.0 if oldest is None else max(0.0, (now_ms() - oldest) / 1000)

    def open(self) -> None:
        """Begin to read: this worker owns the log now, or it is unknown what became of the last transaction.

        Nothing is decided before all is read that was written until now. So it is seen what an owner before, or a
        transaction before, has decided.
        """
        self.close()
        self.gate_desk.open()
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="commands")

    def close(self) -> None:
        """Stop reading."""
        self._caught_up = self._is_whole = False
        self._restoring = None
        self.audit.close()
        self.gate_desk.close()
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
                        if self._caught_up or len(self.queue) or self.audit.chain.to_link:
                            self._wake()
            except RecordsGone as error:
                log.warning("%s: commands are read from the beginning: %s", self.context.task.name, error)
                self.queue = CommandQueue(self.context.topics.log)
                self._caught_up = self._is_whole = False
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

    def next(self, roles: Roles, *, ready: bool) -> list[Control]:
        """Return the requests to be decided now; see `CommandQueue.next`."""
        return self.queue.next(roles, ready=ready) if self._caught_up else []

    def links(self) -> list[OutRecord]:
        """Return the link of the audit chain that is to be written now; see `AuditLinks.next`."""
        return self.audit.next() if self._caught_up else []

    def decided(self, models: Sequence[ModelFold], gate: GateMonitor | None, *, ready: bool) -> list[Decided]:
        """Decide the next requests; without one, the owner's own next command, see `GateDesk.next`."""
        roles = models[0].roles
        if self._caught_up and not self._is_whole and not self._restored(roles):
            return self._audits()
        found = [one for each in self.next(roles, ready=ready) for one in self.decide(each, models, gate)]
        if found or not ready or not self._caught_up or not self.queue.settled(roles):
            return found
        own = self.gate_desk.next(roles, gate, self.queue.knows)
        return [] if own is None else self.decide(own, models, gate, own=True)

    def _restored(self, roles: Roles) -> bool:
        """Whether `T.control` has what the log has; otherwise the log is read for it."""
        if self._restoring is None:
            self._is_whole = not self.queue.lacks(roles)
            if not self._is_whole:
                log.warning("%s: the audits of commands are restored from the log", self.context.task.name)
                context, loop = self.context, asyncio.get_running_loop()
                reading = (log_commands, context.connection, context.codec, context.topics)
                self._restoring = loop.run_in_executor(None, _all, *reading)
                self._restoring.add_done_callback(lambda _: self._wake())
        return self._is_whole

    def _audits(self) -> list[Decided]:
        """Return the audits that are written again, in the log's order and in one transaction."""
        restoring = self._restoring
        if restoring is None or not restoring.done():
            return []
        if (error := restoring.exception()) is not None:
            log.warning("%s: the commands of the log cannot be read: %s", self.context.task.name, error)
            self._restoring = None  # read again
            return []
        self._is_whole, self._restoring = True, None
        return [Decided(self.context, each, each, None) for each in restoring.result()]

    def decide(
        self,
        request: Control,
        models: Sequence[ModelFold],
        gate: GateMonitor | None = None,
        *,
        own: bool = False,
    ) -> list[Decided]:
        """Check a request; gives what it sets off as well. Models and gate are at the end of the log.

        Parameters
        ----------
        own
            Whether the owner itself asks.
        """
        reached(decision_points(request)[0])
        name, command, now, roles = self.context.task.name, request.command, now_ms(), models[0].roles
        try:
            if command.name == "revision":
                commands = [with_anchors(decide_revision(command, roles), roles, self._newest)]
            else:
                folds = {fold.model.name: fold for fold in models}
                commands = decide_all(command, roles, folds, self._newest, Situation(now, gate, own))
        except CommandRejected as error:
            log.warning("%s: command %s of %s is rejected: %s", name, command.name, command.author, error)
            return [Decided(self.context, request, Control("audit", command, now, rejected=str(error)), None)]
        return [self._decided(request, each, now) for each in commands]

    def _decided(self, request: Control, command: Command, now: int) -> Decided:
        name = self.context.task.name
        entry = Entry(command_entry_id(name, command), "command", now, command=command)
        log.info("%s: %s does %s %s: %s", name, command.author, command.name, command.model, command.reason)
        return Decided(self.context, request, Control("audit", command, now, entry.entry_id), entry)

    def done(self, decided: Iterable[Decided]) -> None:
        """Take that decisions are committed."""
        for each in decided:
            self.queue.decided(each.audit.command.id, each.audit.entry_id)
            reached(decision_points(each.audit)[2])


def _all(read: Callable[..., Iterable[tuple[int, Control]]], *about: object) -> list[Control]:
    return [each for _, each in read(*about)]


def decision_points(record: Control) -> tuple[str, str, str]:
    """Return the points before, in and after a decision; see `infra.hooks`."""
    if record.command.name == "revision":
        return "before-revision", "in-revision", "after-revision"
    return "before-command", "in-command", "after-command"


class Decided:
    """What a decision writes: the audit, and the entry of the log where the command is done."""

    def __init__(self, context: TaskContext, request: Control, audit: Control, entry: Entry | None) -> None:
        self.request, self.audit, self.entry = request, audit, entry
        key, codec, topics = context.task.name.encode(), context.codec, context.topics
        self.records = [OutRecord(topics.control, key, codec.encode(audit), 0)]
        if entry is not None:
            # JSON, because the schema of an entry depends on the dictionary, and all are to read this one.
            self.records.insert(0, OutRecord(topics.log, key, codec.encode(entry, json=True), 0))

    @property
    def ends(self) -> list[str]:
        """The models whose revision ends with it."""
        command = self.audit.command
        return [command.model] if self.entry and int(command.arguments.get("revision", "1")) > 1 else []
