"""Commands of models over HTTP, and which models answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from agents.http.access import NOBODY
from agents.http.body import Body
from agents.http.prediction_cache import Sends
from agents.http.predictions import not_ready
from agents.http.problems import Problem
from infra.clock import now_ms
from infra.commands import Commands, new_id
from infra.rollback_cost import cost
from infra.snapshots.store import SnapshotStore
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from schemas.codec.checks import make_command
from schemas.errors import BadRecord, BrokerError, CommandRejected
from schemas.records import Command
from streams.commands import NAMES, decide_all
from streams.gate.lines import gate_lines
from streams.leave_out import LeaveOut
from streams.race.fold import RaceFold
from streams.race.lines import race_lines
from streams.revisions import LEFT_OUT
from streams.roles import Roles
from streams.rollout_checks import TTL, Situation
from streams.serve import Server
from streams.shares import SHARE, UNIT
from streams.snapshot.digest import state_digest

DECIDED_S: Final = 6.0
"""How long a call waits for the decision of the log's owner; below the bound of every call."""
FIELDS: Final[Mapping[str, type]] = {
    "command": str,
    "model": str,
    "shares": dict,
    "mode": str,
    "version": str,
    "leave_out": list,
    "where": str,
    "release": bool,
    "proposal": str,
    "digest": str,
    "valid_s": int,
    "end": bool,
    "break_glass": bool,
    "reason": str,
    "id": str,
    "evidence": str,
    "dry_run": bool,
}
"""Of a request, by name."""


class ModelCommands:
    """Takes the commands of one task.

    Parameters
    ----------
    context, readiness, server
        See `HttpTask`.
    group
        The workers' consumer group.
    writer
        Writes the requests.
    store
        Opens the snapshot store.
    """

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        server: Server,
        group: str,
        writer: Sends,
        store: Callable[[], SnapshotStore],
    ) -> None:
        self._context, self._readiness, self._server, self._writer = context, readiness, server, writer
        self._store = store
        self._commands = Commands(context.connection, context.codec, group)

    async def ask(self, body: Body, author: str) -> tuple[int, dict[str, Any]]:
        """Ask for a command, and wait for its decision; returns the status and the answer.

        Parameters
        ----------
        author
            The name of the caller's token.

        Raises
        ------
        Problem
            403 for a token without a name, 409 for a command that is rejected, 422 for a wrong request, 503 where
            Kafka does not answer.
        """
        if not author:
            detail = "a command needs a token with a name: write it as NAME:TOKEN into the setting http_token"
            raise Problem(403, "token_without_name", detail)
        given = _fields(body)
        command = _command(given, author)
        if given.get("dry_run"):
            return 200, await self._plan(command)
        try:
            at = await self._writer.send(self._commands.record(command))
            # The audit of a repeated id lies before this request.
            start = 0 if given.get("id") else at.offset
            progress = await self._commands.follow(command, start, DECIDED_S)
        except BrokerError as error:
            detail = "Kafka did not acknowledge the command in time: retry with the same id"
            raise Problem(503, "not_acknowledged", detail, id=command.id) from error
        found = {"id": command.id, "command": command.name, "state": progress.state}
        if progress.state == "rejected":
            raise Problem(409, "command_rejected", progress.why, id=command.id)
        if progress.state == "asked":
            return 202, found
        offset = await self._applied(progress.entry_id)
        return 200, found | {"entry_id": progress.entry_id, "log_offset": offset}

    async def _applied(self, entry_id: str) -> int | None:
        """Wait until this worker has applied a command; returns its offset, None when that takes long."""
        roles, progress = self._server.roles, self._readiness.progress

        def offset() -> int | None:
            return next((each.offset for each in roles.decisions if each.entry_id == entry_id), None)

        try:
            async with asyncio.timeout(2.0), progress:
                await progress.wait_for(lambda: offset() is not None or self._readiness.stopping)
        except TimeoutError:
            return None
        return offset()

    async def _plan(self, command: Command) -> dict[str, Any]:
        if not self._readiness.ready.is_set():
            raise not_ready(self._context.task.name, self._readiness)
        before = self._server.roles
        folds = {fold.model.name: fold for fold in self._server.models}
        try:
            commands = decide_all(command, before, folds, at=Situation(now_ms(), self._server.gate))
        except CommandRejected as error:
            raise Problem(409, "command_rejected", str(error)) from None
        decided, found, after = commands[0], dict[str, Any](), before
        for each in commands:
            after = after.after(each)
        if command.name == "rollback":
            fold, context = folds[command.model], self._context
            where = (context.connection, context.codec)
            found = await asyncio.to_thread(lambda: cost(decided, fold, *where, self._store()))
            found |= {"answers_now": str(fold.version)}
        return found | {
            "state": "dry_run",
            "command": command.name,
            "models": [
                {"model": name, "before": _role(before, name), "after": _role(after, name)}
                for name in after.models
            ],
        }

    def roles(self) -> dict[str, Any]:
        """Return which models answer, and the newest commands."""
        roles, server = self._server.roles, self._server
        return {
            "task": self._context.task.name,
            "next_offset": min(fold.next_offset for fold in server.models),
            "digest": state_digest(roles.snapshot()),
            "models": model_roles(server),
            "kept": dict(roles.kept),
            **rollout_of(roles),
            "race": race_of(server),
            "commands": [each._asdict() for each in reversed(roles.decisions)],
        }


def model_roles(server: Server) -> list[dict[str, Any]]:
    """Describe what each model of the log and of the task file does."""
    roles, folds = server.roles, {fold.model.name: fold for fold in server.models}
    lines = {} if server.gate is None else {each["model"]: each for each in gate_lines(server.gate, roles)}
    found = []
    for name in dict.fromkeys([*roles.models, *folds]):
        row: dict[str, Any] = {"model": name, "in_file": name in folds} | _role(roles, name)
        under_way = roles.revisions.rollbacks.get(name)
        row["rollback"] = None if under_way is None else under_way._asdict()
        if fold := folds.get(name):
            row |= {"version": str(fold.version), "learned": fold.learned, "left_out": fold.left_out_text}
            row["leaves_out"] = [str(each) for each in fold.leave_out.intervals]
        row["gate"] = lines.get(name)
        found.append(row)
    return found


def model_sections(server: Server) -> dict[str, Any]:
    """Return what the live page shows of the models."""
    sections = {"models": model_roles(server), "rollout": rollout_of(server.roles)}
    return sections | {"race": race_of(server)}


def race_of(server: Server) -> list[dict[str, Any]]:
    """Return the leaderboard; empty where the models do not race."""
    return race_lines(server.gate) if isinstance(server.gate, RaceFold) else []


def rollout_of(roles: Roles) -> dict[str, Any]:
    """Return the proposals that wait for an approval, why nothing is raised, and the newest validations."""
    proposals = [each._asdict() for each in roles.rollout.proposals.values()]
    validations = [{"model": name} | each._asdict() for name, each in roles.rollout.validations.items()]
    return {"proposals": proposals, "paused": roles.rollout.paused(""), "validations": validations}


def _role(roles: Roles, name: str) -> dict[str, Any]:
    each = roles.role(name)
    return {
        "role": each.role,
        "share": each.share / UNIT,
        "frozen_at": each.frozen_at if each.frozen_at >= 0 else None,
        "retired_at": each.retired_at if each.retired_at >= 0 else None,
    }


def _fields(body: Body) -> Mapping[str, Any]:
    """Return the fields of a request, each of its type."""
    record = body.records[0] if not body.listed and body.records else None
    if not isinstance(record, dict):
        raise Problem(422, "malformed", "send one command as a JSON object")
    for name, value in record.items():
        if name not in FIELDS:
            raise Problem(
                422, "malformed", f"unknown field {name[:80]!r}; the fields are {', '.join(FIELDS)}"
            )
        if type(value) is not FIELDS[name]:
            raise Problem(422, "wrong_type", f"{name} has the wrong type", name)
    for name in ("command", "reason"):
        if not str(record.get(name, "")).strip():
            raise Problem(422, "missing_field", f"{name} is required", name)
    return record


def _leave_out(given: Mapping[str, Any]) -> dict[str, str]:
    intervals = given.get("leave_out", [])
    if not all(isinstance(each, str) for each in intervals):
        raise Problem(422, "wrong_type", "leave_out must have texts: FROM..TO", "leave_out")
    try:
        text = LeaveOut.parse(intervals, given.get("where", "")).text
    except ValueError as error:
        raise Problem(422, "out_of_range", str(error), "leave_out") from None
    return {LEFT_OUT: text} if text else {}


def _command(given: Mapping[str, Any], author: str) -> Command:
    """Make the command of a request."""
    name = given["command"]
    if name not in NAMES:
        raise Problem(422, "out_of_range", f"command must be one of {', '.join(NAMES)}", "command")
    arguments: dict[str, str] = {}
    for model, share in given.get("shares", {}).items():
        if type(share) not in {int, float} or len(model) > 60:
            raise Problem(422, "wrong_type", "shares must have a number for each model", "shares")
        arguments[f"{SHARE}{model}"] = repr(share)
    arguments |= {
        field: given[field] for field in ("mode", "version", "proposal", "digest") if field in given
    }
    arguments |= {field: "true" for field in ("release", "end", "break_glass") if given.get(field)}
    if "valid_s" in given:
        arguments[TTL] = str(given["valid_s"] * 1000)
    arguments |= _leave_out(given)
    known = "none" if author == NOBODY else "token"
    about = (author, given["reason"], given.get("id") or new_id(), known, now_ms(), given.get("evidence", ""))
    try:
        command: Command = make_command(name, given.get("model", ""), arguments, *about)
    except BadRecord as bad:
        raise Problem.of(bad) from None
    return command
