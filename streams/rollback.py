"""Going back with a model that learns: whether a rollback can begin, and what its command says.

A rollback to an older version, or to a revision that leaves something out, has two commands. The first one,
`rollback`, says what is wanted. One worker then prepares the state beside the loop. The second one, `freeze` or
`revision`, finishes it: from its offset on the state answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.errors import CommandRejected
from schemas.records import Command
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.revisions import LEFT_OUT, ROLLBACK, Revision, Rollback
from streams.roles import Roles
from streams.shares import UNIT
from streams.version import Version

MODE: Final = "mode"
"""Argument of `resume` and `rollback`."""
ROLLBACK_MODES: Final = ("freeze", "catch-up", "rebuild", "abandon")
"""Values of the argument `mode` of `rollback`."""


def not_retired(name: str, roles: Roles) -> None:
    """Reject a command for a retired model."""
    if roles.role(name).retired_at >= 0:
        raise CommandRejected(f"{name} is retired: run riverloop models restore first")


def unfinished(command: Command, roles: Roles, mode: str) -> Rollback:
    """Return the rollback that a command finishes.

    Raises
    ------
    CommandRejected
        It is over.
    """
    found = roles.revisions.rollbacks.get(command.model)
    if found is None or (found.id, found.mode) != (command.arguments[ROLLBACK], mode):
        raise CommandRejected(f"the rollback {command.arguments[ROLLBACK]!r:.80} of {command.model} is over")
    return found


def roll_back(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    """Check a rollback; gives its arguments."""
    mode, fold = command.arguments.get(MODE), folds[command.model]
    if mode not in ROLLBACK_MODES:
        raise CommandRejected(
            f"rollback needs --mode {', '.join(ROLLBACK_MODES[:-1])} or {ROLLBACK_MODES[-1]}"
        )
    under_way = roles.revisions.rollbacks.get(command.model)
    if mode == "abandon":
        if under_way is None:
            raise CommandRejected(f"no rollback of {command.model} is under way")
        return {MODE: mode, ROLLBACK: under_way.id}
    not_retired(command.model, roles)
    if under_way is not None:
        raise CommandRejected(
            f"a rollback of {command.model} is under way, id {under_way.id}: wait for its end, or end it with "
            "--mode abandon"
        )
    if fold.revision is None:
        raise CommandRejected(
            f"the log has no revision of {command.model} with the owner's specification yet"
        )
    if mode != "rebuild" and command.arguments.get(LEFT_OUT):
        raise CommandRejected("--leave-out needs --mode rebuild")
    if mode == "freeze":
        return _freeze(command, fold, fold.revision, roles)
    if roles.role(command.model).frozen_at >= 0:
        raise CommandRejected(f"{command.model} is frozen: run riverloop models resume first")
    made = _catch_up if mode == "catch-up" else _rebuild
    return made(command, fold, fold.revision, roles)


def _freeze(command: Command, fold: ModelFold, newest: Revision, roles: Roles) -> Mapping[str, str]:
    version = _named(command) or fold.version
    of = _revision(version, fold, roles)
    if not 0 <= version.offset < fold.next_offset:
        raise CommandRejected(f"the log has no {version}: name a version that has answered")
    return _prepared("freeze", of, of.number, of.left_out) | {"version": str(version)}


def _catch_up(command: Command, fold: ModelFold, newest: Revision, roles: Roles) -> Mapping[str, str]:
    version, name = _named(command), command.model
    if version is None and roles.answering == {name: UNIT}:
        raise CommandRejected(
            f"{name} answers all requests with all of the log learned: catching up would change nothing. To leave "
            "out what was wrong: --mode rebuild --leave-out FROM..TO; to answer with an older state: --mode freeze "
            "with its VERSION"
        )
    if version is None:
        return {MODE: "catch-up"}
    of = _revision(version, fold, roles)
    if of.left_out == fold.leave_out.text:
        raise CommandRejected(
            f"{name}.{of.number} with all of the log learned is what {name} is now: catching up would change "
            "nothing. To answer with its state as it was: --mode freeze"
        )
    return _prepared("rebuild", newest, roles.revisions.next_number(name), of.left_out)


def _rebuild(command: Command, fold: ModelFold, newest: Revision, roles: Roles) -> Mapping[str, str]:
    text, name = command.arguments.get(LEFT_OUT, ""), command.model
    if command.arguments.get("version"):
        raise CommandRejected("--mode rebuild takes a MODEL, not a VERSION")
    if text == fold.leave_out.text:
        has = f"leaves out {fold.leave_out}" if text else "leaves nothing out"
        raise CommandRejected(f"{name} {has} already: give the intervals as --leave-out FROM..TO")
    try:
        found = LeaveOut.read(text)
        found.check(fold.task.features)
    except ValueError as error:
        raise CommandRejected(f"{error}") from None
    for each in found.intervals:
        if each.kind == "log" and each.last >= fold.next_offset:
            raise CommandRejected(f"{each}: the log ends at offset {fold.next_offset - 1}")
    return _prepared("rebuild", newest, roles.revisions.next_number(name), text)


def _prepared(mode: str, of: Revision, number: int, left_out: str) -> dict[str, str]:
    names = {MODE: mode, "number": str(number), "spec": of.spec, "runtime": of.runtime}
    return names | ({LEFT_OUT: left_out} if left_out else {})


def _named(command: Command) -> Version | None:
    text = command.arguments.get("version", "")
    return _parsed(text, command.model) if text else None


def _parsed(text: str, model: str) -> Version:
    try:
        version = Version.parse(text)
    except ValueError as error:
        raise CommandRejected(f"{error}") from None
    if version.model != model:
        raise CommandRejected(f"{text} is not a version of {model}")
    return version


def _revision(version: Version, fold: ModelFold, roles: Roles) -> Revision:
    """Return the revision of a version, which must be of the owner's specification."""
    known = roles.revisions.of(version.model)
    found = next((each for each in known if each.number == version.revision), None)
    if found is None:
        numbers = ", ".join(str(each.number) for each in known)
        raise CommandRejected(
            f"the log has no revision {version.revision} of {version.model}; it has {numbers}"
        )
    if found.spec != fold.spec:
        raise CommandRejected(
            f"{version.model}.{version.revision} has another specification ({found.spec[:16]}, here "
            f"{fold.spec[:16]}): start workers with the task file of that specification, which riverloop snapshots "
            "show prints"
        )
    return found


def keep(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    """Check that a snapshot can be kept, or released; gives the arguments."""
    text, release = command.arguments.get("version", ""), command.arguments.get("release") == "true"
    version, under_way = _parsed(text, command.model), roles.revisions.rollbacks.get(command.model)
    if release and under_way is not None and text == under_way.version:
        raise CommandRejected(f"a rollback to {text} is under way")
    if release and text not in roles.kept:
        raise CommandRejected(f"{text} is not kept; kept are {', '.join(roles.kept) or 'none'}")
    if not release and roles.kept.get(text) == "keep":
        raise CommandRejected(f"{text} is kept already")
    if not release and version.revision > roles.revisions.numbers.get(command.model, 0):
        raise CommandRejected(f"the log has no revision {version.revision} of {command.model}")
    return {"version": text} | ({"release": "true"} if release else {})
