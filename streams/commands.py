"""Commands of models: whether one can be done now, and what is written into the log for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from schemas.errors import CommandRejected
from schemas.records import Command
from streams.model import ModelFold
from streams.roles import Roles
from streams.shares import SALT, SHARE, UNIT, shares_of

MODE: Final = "mode"
"""Argument of `resume`: `catch-up` or `skip`."""
MODES: Final = ("catch-up", "skip")


def decide_revision(command: Command, roles: Roles) -> Command:
    """Return the command that opens a revision as it is written into the log, with the revision's number.

    The owner's task file may be another one: what opens a revision brings all that others need to know of it.

    Raises
    ------
    CommandRejected
        The log has it already, or something is missing.
    """
    missing = [name for name in ("spec", "runtime", "dictionary") if not command.arguments.get(name)]
    if missing or not command.model:
        raise CommandRejected(f"a revision needs a model and {', '.join(missing or ['its name'])}")
    known = roles.revision(command.model, command.arguments["spec"], {command.arguments["runtime"]})
    if known is not None:
        raise CommandRejected(f"this specification of {command.model} is revision {known.number} already")
    number = roles.next_revision(command.model)
    return replace(command, arguments=dict(command.arguments) | {"revision": str(number)})


def decide(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Command:
    """Return the command as it is written into the log.

    Parameters
    ----------
    command
        As it was asked.
    roles
        The roles at the end of the log.
    folds
        The models of the owner's task file, by name, at the end of the log.

    Raises
    ------
    CommandRejected
        It cannot be done now; says why and what to do.
    """
    check = CHECKS.get(command.name)
    if check is None:
        raise CommandRejected(f"{command.name} is not a command for models; they are {', '.join(CHECKS)}")
    if not command.reason.strip():
        raise CommandRejected("a command needs a reason")
    if not command.id:
        raise CommandRejected("a command needs an id, so that a repeated one is done once")
    for name in {each for each in [command.model] if each or command.name != "share"}:
        _model(name, folds)
    return replace(command, arguments=check(command, roles, folds))


def command_entry_id(task: str, command: Command) -> str:
    """Return the id of a command's entry in the log.

    Examples
    --------
    >>> command_entry_id("orders", Command("freeze", "lr", id="c-1"))
    'orders/command/c-1'
    >>> command_entry_id("orders", Command("revision", "lr", {"revision": "2"}, id="c-2"))
    'orders/lr/revision/2'
    """
    if command.name == "revision":
        return f"{task}/{command.model}/revision/{command.arguments['revision']}"
    return f"{task}/command/{command.id}"


Check = Callable[[Command, Roles, Mapping[str, ModelFold]], Mapping[str, str]]


def _model(name: str, folds: Mapping[str, ModelFold]) -> ModelFold:
    if name not in folds:
        raise CommandRejected(f"the task file has no model {name!r:.80}; it has {', '.join(folds)}")
    return folds[name]


def _not_retired(name: str, roles: Roles) -> None:
    if roles.role(name).retired_at >= 0:
        raise CommandRejected(f"{name} is retired: run riverloop models restore first")


def _promote(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    _not_retired(command.model, roles)
    if roles.answering == {command.model: UNIT}:
        raise CommandRejected(f"{command.model} answers all requests already")
    return {}


def _share(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    if command.model:
        raise CommandRejected("share names its models in its arguments, as share.MODEL")
    try:
        shares = shares_of(command.arguments)
    except ValueError as error:
        raise CommandRejected(f"{error}") from None
    for name in shares:
        _model(name, folds)
        _not_retired(name, roles)
    if roles.answering == shares:
        raise CommandRejected("the models have these shares already")
    # One salt for as long as requests are shared out: so a raised share moves new keys only.
    salt = roles.salt if len(roles.answering) > 1 else command.id
    return {f"{SHARE}{name}": f"{share / UNIT:.6f}" for name, share in shares.items()} | {SALT: salt}


def _freeze(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    _not_retired(command.model, roles)
    if roles.role(command.model).frozen_at >= 0:
        raise CommandRejected(f"{command.model} is frozen already")
    return {}


def _resume(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    mode = command.arguments.get(MODE)
    if mode not in MODES:
        raise CommandRejected(f"resume needs one of {' or '.join(f'--{each}' for each in MODES)}")
    if roles.role(command.model).frozen_at < 0:
        raise CommandRejected(f"{command.model} is not frozen")
    arguments = {MODE: mode}
    return arguments | folds[command.model].next_opening() if mode == "skip" else arguments


def _retire(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    _not_retired(command.model, roles)
    if share := roles.role(command.model).share:
        raise CommandRejected(
            f"{command.model} answers {share / UNIT:g} of the requests: promote another model first"
        )
    return {}


def _restore(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    if roles.role(command.model).retired_at < 0:
        raise CommandRejected(f"{command.model} is not retired")
    return folds[command.model].next_opening()


CHECKS: Final[Mapping[str, Check]] = {
    "promote": _promote,
    "share": _share,
    "freeze": _freeze,
    "resume": _resume,
    "retire": _retire,
    "restore": _restore,
}
"""By command: what checks it and gives its arguments."""
