"""What the audits of a task say, in order: its decisions, and which models answered at a time or a log offset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.records import Control, Entry
from streams.audit import Line
from streams.commands import DECIDED
from streams.roles import Roles
from streams.shares import UNIT

SCHEMA: Final = "schema."
"""Begins the arguments of a revision that hold schemas."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record of `T.control` with its place in the chain."""

    number: int
    record: Control | Applied | AuditLink | None
    hash: str

    @property
    def kind(self) -> str:
        """Its kind in a word."""
        if isinstance(self.record, Control):
            return self.record.kind
        names = {Applied: "applied", AuditLink: "link"}
        return names.get(type(self.record), "unreadable")


class AuditHistory:
    """The records of `T.control` up to a position."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.records: list[Recorded] = []
        self.offsets: dict[str, int] = {}
        """Log offsets by entry id, as workers have reported them."""
        self.decided: set[str] = set()
        """Ids of commands that are done or rejected."""

    def take(self, record: Control | Applied | AuditLink | None, line: Line) -> None:
        """Take the next record."""
        self.records.append(Recorded(line.number, record, line.hash))
        if isinstance(record, Applied):
            self.offsets.update(record.commands)
        elif isinstance(record, Control) and record.kind == "audit":
            self.decided.add(record.command.id)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the records as plain data, oldest first."""
        for each in self.records:
            record = each.record
            found: dict[str, Any] = {"number": each.number, "kind": each.kind}
            if isinstance(record, Control):
                found |= self.row(record)
            elif isinstance(record, Applied):
                found |= {"ts": record.ts, "author": record.slot, "log_offset": record.log_offset}
                found["result"] = f"applied {', '.join(record.commands)}" if record.commands else "ready"
            elif record is not None:
                found |= {"ts": record.ts, "result": f"covers {record.size} records", "head": record.head}
            yield found | {"hash": each.hash}

    def row(self, record: Control) -> dict[str, Any]:
        """Return a request or an audit as plain data."""
        command = record.command
        if record.kind == "request":
            result = "decided" if command.id in self.decided else "asked"
        else:
            result = f"rejected: {record.rejected}" if record.rejected else "done"
        return {
            "ts": record.ts,
            "command": command.name,
            "model": command.model,
            "arguments": {
                name: value for name, value in command.arguments.items() if not name.startswith(SCHEMA)
            },
            "result": result,
            "author": command.author or "riverloop",
            "authentication": command.authentication,
            "reason": command.reason,
            "evidence": command.evidence,
            "id": command.id,
            "asked": command.asked or None,
            "entry_id": record.entry_id,
            "log_offset": self.offsets.get(record.entry_id),
        }

    def done(self) -> Iterator[tuple[int | None, Control]]:
        """Return the commands of models that were done, in the order of the log, each with its log offset."""
        for each in self.records:
            record = each.record
            if (
                isinstance(record, Control)
                and record.kind == "audit"
                and record.entry_id
                and not record.rejected
                and record.command.name in {"revision", *DECIDED}
            ):
                yield self.offsets.get(record.entry_id), record

    def at(self, offset: int | None = None, when: int | None = None) -> dict[str, Any]:
        """Return which models answered, and which commands have led to it.

        Parameters
        ----------
        offset
            After this log entry; a command without a known log offset counts with the one before it.
        when
            At this time of the wall clock, ms.
        """
        roles, put, opened, newest = Roles(self.task), dict[str, Any](), dict[str, Any](), None
        for number, (log_offset, audit) in enumerate(self.done()):
            late = when is not None and audit.ts > when
            if late or (offset is not None and log_offset is not None and log_offset > offset):
                break
            before = roles.answering
            roles.apply(number, Entry(audit.entry_id, "command", audit.ts, command=audit.command))
            newest = self.row(audit)
            for model, share in roles.answering.items():
                if before.get(model) != share:
                    put[model] = newest
            if "revision" in audit.command.arguments:
                opened[audit.command.model] = newest
        return {
            "task": self.task,
            "models": [_model(roles, model, put.get(model), opened.get(model)) for model in roles.models],
            "newest_command": newest,
        }

    def opening(self, model: str, revision: int) -> dict[str, Any] | None:
        """Return the command that opened a revision; None where the records do not have it."""
        for _, audit in self.done():
            command = audit.command
            if (command.model, command.arguments.get("revision")) == (model, str(revision)):
                return self.row(audit)
        return None

    def revision(self, model: str, offset: int) -> int | None:
        """Return the revision of a model after a log offset; None where the records do not say."""
        found = None
        for log_offset, audit in self.done():
            command = audit.command
            if log_offset is not None and log_offset > offset:
                break
            if command.model == model and "revision" in command.arguments:
                found = int(command.arguments["revision"])
        return found

    def left_out(self, model: str, offset: int) -> bool:
        """Whether a model has left out an entry of the log by command: while it was frozen or retired."""
        frozen = retired = False
        for log_offset, audit in self.done():
            command = audit.command
            if command.model != model or log_offset is None:
                continue
            if log_offset <= offset:
                frozen = command.name == "freeze" or (frozen and command.name not in {"resume", "retire"})
                retired = command.name == "retire" or (retired and command.name != "restore")
            elif retired or not frozen:
                break
            elif command.name in {"resume", "retire"}:
                return command.name == "retire" or command.arguments.get("mode") == "skip"
        return retired


def _model(
    roles: Roles, model: str, put: Mapping[str, Any] | None, opened: Mapping[str, Any] | None
) -> dict[str, Any]:
    role = roles.role(model)
    return {
        "model": model,
        "role": role.role,
        "share": role.share / UNIT,
        "state": "frozen" if role.frozen_at >= 0 else "retired" if role.retired_at >= 0 else "learns",
        "revision": int(opened["arguments"]["revision"]) if opened else None,
        "put_there_by": put if role.share else None,
        "revision_by": opened,
    }
