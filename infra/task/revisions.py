"""Opening revisions: a worker asks for those of its models, and the log's owner opens them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from infra.clock import now_ms
from infra.kafka.log import read_all
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Writer
from infra.past import PREFIX, SPEC_TEXT
from infra.runtimes import PROOF
from infra.task.context import TaskContext
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness
from schemas.alert import Alert
from schemas.codec.compatibility import undocumented
from schemas.errors import BrokerError
from schemas.records import Command, Control
from streams.learning_alerts import alerts_of
from streams.learning_steps import FAMILY
from streams.model import ModelFold

SCHEMAS: Final = ("Request", "Entry", "Prediction")
ASK_AGAIN_S: Final = 10.0
LONGEST: Final = 20_000
"""Characters of a specification's text in a command."""
log = logging.getLogger(__name__)


class RevisionRequests:
    """Asks the log's owner to open a revision for each model of this worker of which the log has none.

    The worker has folded the log with it first. Until the revisions are open it takes no partitions and answers
    nothing: so all that it writes comes after the entry from which the others learn to read it.

    Parameters
    ----------
    context, readiness, fold
        The task in this worker.
    writer
        Writes the requests.
    """

    def __init__(self, context: TaskContext, readiness: Readiness, fold: LogFold, writer: Writer) -> None:
        self._context, self._readiness, self._fold, self._writer = context, readiness, fold, writer

    async def run(self) -> None:
        """Ask, and again after a while, until all revisions are open."""
        await self._fold.answering.wait_caught_up()
        while self._fold.answering.not_active and not self._readiness.stopping:
            with suppress(BrokerError):  # asked again below
                await asyncio.gather(*(self._writer.send(each) for each in self._records()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._opened(), ASK_AGAIN_S)

    async def _opened(self) -> None:
        async with self._readiness.progress:
            await self._readiness.progress.wait_for(
                lambda: not self._fold.answering.not_active or self._readiness.stopping
            )

    def _records(self) -> Iterator[OutRecord]:
        context = self._context
        for fold in self._fold.answering.not_active:
            request = Control("request", opening_request(context, fold), now_ms())
            log.info("%s: asks for a revision of %s", context.task.name, fold.model.name)
            yield OutRecord(
                context.topics.control, context.task.name.encode(), context.codec.encode(request), 0
            )


def opening_request(context: TaskContext, fold: ModelFold) -> Command:
    """Return the command that asks for a revision of a model's specification and runtime.

    Workers with the same task file ask under the same id, so it is opened once.
    """
    opening = fold.opening()
    arguments = {name: text for name, text in opening.arguments.items() if name != "revision"}
    # A later reader of the log, with whatever dictionary, learns here how its entries are written.
    arguments |= {
        f"{PREFIX}{name}": json.dumps(undocumented(context.codec.schemas[name])) for name in SCHEMAS
    }
    # For people, so it may be cut and escaped: a record has a bound, and is UTF-8.
    arguments[SPEC_TEXT] = fold.model.describe()[:LONGEST].encode("utf-8", "backslashreplace").decode()
    arguments[PROOF] = json.dumps(context.proofs.get(fold.model.name, {}))
    place = (context.log_topic_id, fold.model.name, fold.spec, fold.runtime, fold.leave_out.text)
    name = hashlib.sha256("\n".join(place).encode()).hexdigest()[:32]
    author = f"worker {context.slot}"
    return replace(opening, arguments=arguments, id=name, author=author, asked=now_ms())


def endings(context: TaskContext, names: Collection[str]) -> list[OutRecord]:
    """Return what closes the episodes of models whose revisions end, as the topic has them (blocks)."""
    last: dict[str, Alert] = {}
    for message in read_all(context.connection, context.topics.alerts) if names else ():
        if message.key() == FAMILY.encode():
            alert = context.codec.decode_alert(message.value())
            last[alert.episode] = alert
    found = []
    for alert in last.values():
        if alert.state != "closed" and alert.model in names:
            text = f"A new revision of {alert.model} is opened."
            ended = replace(alert, state="closed", request_id="", exception="", text=text)
            found.append(OutRecord(context.topics.alerts, FAMILY.encode(), context.codec.encode(ended), 0))
    return found


def learning_alerts(
    context: TaskContext, fold: ModelFold, below: int, since: int, revision: int
) -> Iterator[OutRecord]:
    """Return the alerts on entries between two log offsets that a revision of a model has not learned."""
    for alert in alerts_of(fold, revision, since):
        if alert.log_offset < below:
            yield OutRecord(context.topics.alerts, FAMILY.encode(), context.codec.encode(alert), 0)
