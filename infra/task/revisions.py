"""Opening revisions: the commands that make this worker's models the newest ones of the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from infra.clock import now_ms
from infra.kafka.log import read_all
from infra.kafka.transaction import OutRecord
from infra.past import PREFIX, SPEC_TEXT
from infra.task.context import TaskContext
from schemas.alert import Alert
from schemas.codec.compatibility import undocumented
from schemas.records import Control, Entry
from streams.learning_steps import FAMILY
from streams.model import ModelFold

SCHEMAS = ("Request", "Entry", "Prediction")
LONGEST = 20_000
"""Characters of a specification's text in a command."""
log = logging.getLogger(__name__)


def openings(context: TaskContext, opened: Sequence[ModelFold]) -> Iterator[OutRecord]:
    """Return the commands that open a revision for each of some models."""
    key = context.task.name.encode()
    for fold in opened:
        command = fold.opening()
        # A later reader of the log, with whatever dictionary, learns here how its entries are written.
        schemas = {
            f"{PREFIX}{name}": json.dumps(undocumented(context.codec.schemas[name])) for name in SCHEMAS
        }
        # For people, so it may be cut and escaped: a record has a bound, and is UTF-8.
        text = {SPEC_TEXT: fold.model.describe()[:LONGEST].encode("utf-8", "backslashreplace").decode()}
        command = replace(command, arguments={**command.arguments, **text, **schemas})
        number = command.arguments["revision"]
        entry = Entry(
            f"{context.task.name}/{fold.model.name}/revision/{number}",
            "command",
            now_ms(),
            command=command,
        )
        log.info(
            "%s: opens revision %s of %s: %s", context.task.name, number, fold.model.name, command.reason
        )
        audit = Control("audit", command, entry.ts, entry.entry_id)
        # JSON, because the schema of an entry depends on the dictionary, and all are to read this one.
        yield OutRecord(context.topics.log, None, context.codec.encode(entry, json=True), 0)
        yield OutRecord(context.topics.control, key, context.codec.encode(audit), 0)


def learning_alerts(
    context: TaskContext, fold: ModelFold, below: int, since: int, revision: int
) -> Iterator[OutRecord]:
    """Return the alerts on entries between two log offsets that a revision of a model has not learned."""
    for alert in fold.alerts(revision, since):
        if alert.log_offset < below:
            yield OutRecord(context.topics.alerts, FAMILY.encode(), context.codec.encode(alert), 0)


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
