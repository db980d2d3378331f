"""Events that leave the loop: made from a record of `T.control` or `T.alerts`, the same each time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from schemas.alert import Alert
from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.records import Control, Entry, Position
from streams.audit import Line
from streams.commands import DECIDED
from streams.notify.runbooks import episode
from streams.roles import Roles
from streams.rollout import VALIDATION, VERDICT
from streams.shares import UNIT

KINDS: Final = ("decision", "alert", "validation")
"""First parts of the types."""
OF_MODELS: Final = frozenset({"revision", *DECIDED})
"""Commands whose arguments are sent; those of others may name a subject or a topic."""
LONG: Final = 1_000
"""Characters above which an argument is not sent: schemas and specifications."""
RUNBOOKS: Final = "docs/operations/runbooks"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event's record lies."""

    position: Position
    topic_id: str
    """A topic that was deleted and created again has another."""
    arrived: int
    """Kafka's time of the record, ms."""

    @property
    def event_id(self) -> str:
        """The stable id: equal for each attempt and replay of a record, by any process.

        It is a digest, since an id must not contain the full stop that topics' names have.
        """
        text = f"{self.topic_id} {self.position}"
        return f"evt_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, to be sent."""

    id: str
    type: str
    """`decision.promote`, `alert.opened`, `validation.failed`."""
    ts: int
    """Kafka's time of the record, ms."""
    data: Mapping[str, Any]
    feature: str = ""
    """The feature that it is about; empty when it is about none."""

    @property
    def kind(self) -> str:
        """The first part of the type."""
        return self.type.partition(".")[0]

    @property
    def body(self) -> bytes:
        """The body of its webhook, as the specification recommends it; the same at each attempt."""
        when = datetime.fromtimestamp(self.ts / 1000, UTC).isoformat(timespec="milliseconds")
        found = {"type": self.type, "timestamp": when.replace("+00:00", "Z"), "data": self.data}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Decided:
    """Makes events of the records of `T.control`, read from the topic's beginning.

    Parameters
    ----------
    task
        The task's name.
    """

    def __init__(self, task: str) -> None:
        self._task, self._number = task, 0
        self._roles: Roles | None = Roles(task)
        """None from a record on that cannot be applied."""

    def take(self, place: Place, record: Control | Applied | AuditLink | None, line: Line) -> Event | None:
        """Take the next record; None where it is no audit of a command."""
        if not isinstance(record, Control) or record.kind != "audit":
            return None
        command, done = record.command, not record.rejected
        before = self._answering
        if done and record.entry_id and command.name in OF_MODELS:
            self._apply(Entry(record.entry_id, "command", record.ts, command=command))
        after = self._answering
        data: dict[str, Any] = {
            "task": self._task,
            "at": str(place.position),
            "command": command.name,
            "model": command.model,
            "result": "done" if done else f"rejected: {record.rejected}",
            "actor": command.author or "riverloop",
            "authentication": command.authentication,
            "reason": command.reason,
            "from": before,
            "to": after,
            "arguments": {
                name: text
                for name, text in command.arguments.items()
                if command.name in OF_MODELS and len(text) <= LONG
            },
            "evidence": _evidence(command.evidence),
            "id": command.id,
            "entry_id": record.entry_id,
            "audit_number": line.number,
            "audit_hash": line.hash,
        }
        if command.name == VALIDATION:
            return Event(
                place.event_id,
                f"validation.{command.arguments.get(VERDICT, 'rejected')}",
                place.arrived,
                data,
            )
        return Event(place.event_id, f"decision.{command.name}", place.arrived, data)

    def _apply(self, entry: Entry) -> None:
        if self._roles is None:
            return
        try:
            self._roles.apply(self._number, entry)
        except (KeyError, ValueError):
            self._roles = None
        self._number += 1

    @property
    def _answering(self) -> dict[str, float] | None:
        if self._roles is None:
            return None
        return {model: share / UNIT for model, share in self._roles.answering.items()}


def of_alert(task: str, place: Place, alert: Alert) -> Event:
    """Make the event of an alert. What a model's code raised is left out: it may quote a request."""
    data = asdict(alert)
    del data["exception"]
    title, runbook = episode(alert.family)
    about = {"task": task, "at": str(place.position), "title": title, "runbook": f"{RUNBOOKS}/{runbook}.md"}
    return Event(place.event_id, f"alert.{alert.state}", place.arrived, about | data, alert.feature)


def trial(task: str, ts: int) -> Event:
    """Make an event by which a person tests a destination.

    Parameters
    ----------
    ts
        Wall clock, ms.
    """
    place = Place(Position(f"{task}.hooks-test", 0, ts), "", ts)
    return Event(place.event_id, "hook.test", ts, {"task": task})


def _evidence(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
