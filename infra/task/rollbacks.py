"""Unfinished rollbacks: their state is prepared beside the loop, then their second command is asked for."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from infra.clock import now_ms
from infra.hooks import reached
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Writer
from infra.snapshots.models import stored_manifests
from infra.task.aside import Job
from infra.task.context import TaskContext
from infra.task.log_fold import NEAR, LogFold
from infra.task.readiness import Readiness, TaskStopped
from infra.task.revisions import opening_request
from schemas.errors import BrokerError, SnapshotError
from schemas.records import Command, Control, Manifest
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.revisions import ANCHORS, ROLLBACK, Rollback
from streams.version import Version

POLL_S: Final = 0.25
GRACE_S: Final = 0.5
"""After the owner has the state at hand, the other workers get this long to load it as well."""
ASK_AGAIN_S: Final = 10.0
ATTEMPTS: Final = 3
RETRY_S: Final = 5.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Preparation:
    """How far one rollback is in this worker."""

    rollback: Rollback
    anchor: Manifest | None = None
    """The snapshot of the prepared state."""
    ready_at: float | None = None
    """Since when the state is at hand (s, monotonic)."""
    process: asyncio.subprocess.Process | None = None
    working: asyncio.Task[None] | None = None
    attempts: int = 0
    not_before: float = 0.0
    """When the next attempt, or the next request, may be made (s, monotonic)."""


class Rollbacks:
    """Prepares what a rollback needs, in every worker of its specification.

    The log's owner has a process beside the loop make the state, and its snapshot. Every worker loads that; for a
    rebuild it lets the second fold follow the log. The owner then asks for the command that finishes the rollback.
    A worker that is late loads the state when it applies that command.

    Parameters
    ----------
    context, readiness, fold
        The task in this worker.
    is_owner
        Whether this worker owns the log.
    job
        Makes the job of a process.
    writer
        Writes the requests.
    """

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        fold: LogFold,
        is_owner: Callable[[], bool],
        job: Callable[..., Job],
        writer: Writer,
    ) -> None:
        self._context, self._readiness, self._fold = context, readiness, fold
        self._is_owner, self._job, self._writer = is_owner, job, writer
        self._under_way: dict[str, _Preparation] = {}
        """By model."""
        self._prepared = asyncio.Event()
        """A process has made a state."""

    async def run(self) -> None:
        """Attend to rollbacks until the worker stops."""
        await self._fold.answering.wait_caught_up()
        try:
            while not self._readiness.stopping:
                for fold in self._fold.models:
                    try:
                        await self._attend(fold)
                    except (BrokerError, SnapshotError, OSError, TaskStopped) as error:
                        log.warning("%s: a rollback of %s waits: %s", self._name, fold.model.name, error)
                self._prepared.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._prepared.wait(), POLL_S)
        finally:
            for each in self._under_way.values():
                if each.process is not None and each.process.returncode is None:
                    each.process.kill()

    @property
    def _name(self) -> str:
        return self._context.task.name

    async def _attend(self, fold: ModelFold) -> None:
        model = fold.model.name
        wanted = fold.roles.revisions.rollbacks.get(model)
        ours = wanted is not None and wanted.spec == fold.spec and wanted.runtime in fold.runtimes
        known = self._under_way.get(model)
        if known is not None and (not ours or known.rollback != wanted):
            await self._drop(model)
        if wanted is None or not ours:
            return
        found = self._under_way.setdefault(model, _Preparation(wanted))
        if found.anchor is None:
            found.anchor = await self._in_thread(partial(self._find, fold, wanted))
        if found.anchor is None:
            if self._is_owner() and found.working is None and time.monotonic() >= found.not_before:
                found.working = asyncio.create_task(self._prepare(fold, found))
            return
        if found.ready_at is None:
            await self._load(fold, found, found.anchor)
        elif self._is_owner() and time.monotonic() >= max(found.ready_at + GRACE_S, found.not_before):
            found.not_before = time.monotonic() + ASK_AGAIN_S
            await self._ask(self._finishing(fold, wanted, found.anchor))

    async def _drop(self, model: str) -> None:
        """Forget a rollback: it is finished, or ended."""
        found = self._under_way.pop(model)
        if found.process is not None and found.process.returncode is None:
            found.process.kill()
        if found.working is not None:
            found.working.cancel()
        async with self._fold.lock:
            self._fold.others.folds.pop(model, None)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function)

    # ------------------------------------------------------------------ the state

    def _find(self, fold: ModelFold, wanted: Rollback) -> Manifest | None:
        """Return the snapshot of the prepared state, if it is in the store."""
        for manifest in stored_manifests(self._fold.store, self._name):
            if (manifest.kind, manifest.model, manifest.spec) != ("model", fold.model.name, fold.spec):
                continue
            if manifest.log_topic_id != self._context.log_topic_id:
                continue
            if wanted.mode == "freeze" and manifest.version == wanted.version:
                return manifest
            mine = manifest.leave_out == wanted.left_out and manifest.runtime in fold.runtimes
            if wanted.mode == "rebuild" and mine and manifest.next_offset > wanted.offset:
                return manifest
        return None

    async def _load(self, fold: ModelFold, found: _Preparation, anchor: Manifest) -> None:
        wanted, past = found.rollback, self._fold.others.past
        if wanted.mode == "freeze":
            if not await self._in_thread(partial(past.prepare, fold, Version.parse(wanted.version))):
                found.anchor = None  # it cannot be used: made again
                return
        elif not await self._follow(fold, wanted):
            found.anchor = None
            return
        found.ready_at = time.monotonic()
        log.info("%s: %s is ready for the rollback of %s", self._name, anchor.version, fold.model.name)

    async def _follow(self, fold: ModelFold, wanted: Rollback) -> bool:
        """Bring a second fold to where the models are; from then on it follows the log."""
        log_fold, others = self._fold, self._fold.others
        aside = await self._in_thread(partial(others.restored, fold, LeaveOut.read(wanted.left_out)))
        if aside is None:
            return False
        aside.learner.puts_off = False
        while log_fold.next_offset - aside.next_offset > NEAR:
            await self._readiness.retry(lambda end: others.fold_to(aside, end), log_fold.next_offset)
        async with log_fold.lock:
            await self._readiness.retry(lambda end: others.fold_to(aside, end), log_fold.next_offset)
            if fold.roles.revisions.rollbacks.get(fold.model.name) == wanted:
                aside.learner.puts_off = True
                others.folds[fold.model.name] = aside
        return True

    # ------------------------------------------------------------------ the process

    async def _prepare(self, fold: ModelFold, found: _Preparation) -> None:
        """Run the process that makes the state; a failure that no attempt can mend ends the rollback."""
        wanted, model = found.rollback, fold.model.name
        job = self._job(model=model, left_out=wanted.left_out, version=wanted.version)
        log.info("%s: a process prepares the rollback %s of %s", self._name, wanted.id, model)
        found.attempts += 1
        reached("before-aside")
        try:
            report = await self._run(job, found)
        finally:
            found.working = found.process = None
            found.not_before = time.monotonic() + RETRY_S
        if "error" not in report:
            reached("after-aside")
            found.not_before = 0.0
            self._prepared.set()
            log.info(
                "%s: %s is made for the rollback of %s: %d entries in %.2f s",
                *(self._name, report["version"], model, report["entries"], report["seconds"]),
            )
            return
        log.error("%s: the rollback %s of %s: %s", self._name, wanted.id, model, report["error"])
        if report["final"] or found.attempts >= ATTEMPTS:
            arguments, text = {"mode": "abandon"}, f"it cannot be done: {report['error']}"[:400]
            about = (self._author, text, f"{wanted.id}-abandon", "", now_ms())
            with suppress(BrokerError):
                await self._ask(Command("rollback", model, arguments, *about))

    async def _run(self, job: Job, found: _Preparation) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        found.process = process = await asyncio.create_subprocess_exec(
            *job.command(), stdin=pipe, stdout=pipe, stderr=pipe, env=job.environment()
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(job.text().encode())
            await process.stdin.drain()
            # Its input stays open: the process ends with this one.
            said, complaint = await asyncio.gather(process.stdout.read(), process.stderr.read())
            await process.wait()
        except (ConnectionError, asyncio.CancelledError) as error:
            with suppress(ProcessLookupError):
                process.kill()
            if isinstance(error, asyncio.CancelledError):
                raise
            return {"error": f"the process ended early: {error}", "final": False}
        finally:
            process.stdin.close()
        try:
            report: dict[str, Any] = json.loads(said)
        except ValueError:
            last = (complaint.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            report = {"error": f"the process ended with {process.returncode}: {last:.300}", "final": False}
        return report

    # ------------------------------------------------------------------ the command

    @property
    def _author(self) -> str:
        return f"worker {self._context.slot}"

    def _finishing(self, fold: ModelFold, wanted: Rollback, anchor: Manifest) -> Command:
        """Return the command that finishes a rollback; its id follows from the rollback's."""
        why = next((each.reason for each in fold.roles.decisions if each.offset == wanted.offset), "")
        if wanted.mode == "freeze":
            arguments = {ROLLBACK: wanted.id, "digest": anchor.state_digest}
            command = Command("freeze", fold.model.name, arguments, asked=now_ms())
        else:
            aside = self._fold.others.folds[fold.model.name]
            command = opening_request(self._context, aside)
            more = {ROLLBACK: wanted.id, ANCHORS: anchor.version, "digest": anchor.state_digest}
            command = replace(command, arguments=dict(command.arguments) | more)
        reason = f"rollback {wanted.id}: {why}"
        return replace(command, id=f"{wanted.id}-done", author=self._author, reason=reason)

    async def _ask(self, command: Command) -> None:
        context = self._context
        value = context.codec.encode(Control("request", command, command.asked))
        log.info("%s: asks for %s of %s: %s", self._name, command.name, command.model, command.reason)
        await self._writer.send(OutRecord(context.topics.control, self._name.encode(), value, 0))
