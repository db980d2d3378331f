"""Commands of models: whether one can be done now, and what is written into the log for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from schemas.errors import CommandRejected
from schemas.records import Command
from streams.model import ModelFold
from streams.revisions import ANCHORS, LEFT_OUT, ROLLBACK
from streams.roles import Roles
from streams.rollback import MODE, keep, not_retired, roll_back, unfinished
from streams.rollout import PROPOSAL, VALIDATION
from streams.rollout_checks import (
    ALONE,
    OWN,
    Situation,
    abort,
    approve,
    approved,
    check_author,
    pause,
    propose,
    raising,
    reject,
    validation,
    verdict,
    withdraw,
)
from streams.shares import SALT, SHARE, UNIT, shares_of

MODES: Final = ("catch-up", "skip")
"""Values of the argument `mode` of `resume`."""


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
    spec, runtime = command.arguments["spec"], command.arguments["runtime"]
    left_out = command.arguments.get(LEFT_OUT, "")
    if ROLLBACK in command.arguments:
        wanted = unfinished(command, roles, "rebuild")
        if (spec, left_out) != (wanted.spec, wanted.left_out):
            raise CommandRejected(f"the rollback {wanted.id!r:.80} opens another revision of {command.model}")
        number = wanted.number
    else:
        known = roles.revisions.find(command.model, spec, {runtime}, left_out)
        if known is not None:
            raise CommandRejected(f"this specification of {command.model} is revision {known.number} already")
        number = roles.revisions.next_number(command.model)
    return replace(command, arguments=dict(command.arguments) | {"revision": str(number)})


def decide(
    command: Command,
    roles: Roles,
    folds: Mapping[str, ModelFold],
    newest: Mapping[str, str] = MappingProxyType({}),
    at: Situation = ALONE,
) -> Command:
    """Return the command as it is written into the log.

    Parameters
    ----------
    command
        As it was asked.
    roles
        The roles at the end of the log.
    folds
        The models of the owner's task file, by name, at the end of the log.
    newest
        The newest snapshots, by model: those of models that answer before and after are kept as anchors.
    at
        What else it is checked against.

    Raises
    ------
    CommandRejected
        It cannot be done now; says why and what to do.
    """
    check, rollout = CHECKS.get(command.name), ROLLOUT.get(command.name)
    if check is None and rollout is None:
        raise CommandRejected(f"{command.name} is not a command for models; they are {', '.join(NAMES)}")
    if not command.reason.strip():
        raise CommandRejected("a command needs a reason")
    if not command.id:
        raise CommandRejected("a command needs an id, so that a repeated one is done once")
    check_author(command, at)
    for name in {each for each in [command.model] if each or command.name not in OF_ALL}:
        _model(name, folds)
    if rollout is not None:
        arguments = dict(rollout(command, roles, folds, at))
        about = roles.rollout.proposals.get(arguments.get(PROPOSAL, ""))
        return replace(command, model=command.model if about is None else about.model, arguments=arguments)
    assert check is not None
    arguments = dict(check(command, roles, folds))
    if command.name in {"promote", "share"}:
        arguments |= raising(command, roles, at)
    return with_anchors(replace(command, arguments=arguments), roles, newest)


def decide_all(
    command: Command,
    roles: Roles,
    folds: Mapping[str, ModelFold],
    newest: Mapping[str, str] = MappingProxyType({}),
    at: Situation = ALONE,
) -> list[Command]:
    """Return the commands that are written into the log for one: an approval sets off what was proposed.

    Raises as `decide`, also where the second one cannot be done.
    """
    decided = [decide(command, roles, folds, newest, at)]
    if command.name == "approve":
        following = approved(command, roles.rollout.proposals[decided[0].arguments[PROPOSAL]])
        decided.append(decide(following, roles, folds, newest, replace(at, own=True)))
    return decided


def with_anchors(command: Command, roles: Roles, newest: Mapping[str, str]) -> Command:
    """Return a decided command with the snapshots to which one can go back from what it changes.

    Where it changes which model answers, these are the newest of the models that answer before and after; where it
    opens another revision or freezes a version, the model's newest.
    """
    models = list[str]()
    if command.name in {"promote", "share", "rollback"}:
        after = roles.after(command)
        if after.parts != roles.parts:
            models = [*roles.answering, *after.answering]
    elif command.name == "revision" and roles.revisions.next_number(command.model) > 1:
        models = [command.model]
    named = command.arguments.get(ANCHORS, "").split()
    versions = dict.fromkeys([*named, *(newest[each] for each in models if each in newest)])
    if not versions:
        return command
    return replace(command, arguments=dict(command.arguments) | {ANCHORS: " ".join(versions)})


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
RolloutCheck = Callable[[Command, Roles, Mapping[str, ModelFold], Situation], Mapping[str, str]]


def _model(name: str, folds: Mapping[str, ModelFold]) -> ModelFold:
    if name not in folds:
        raise CommandRejected(f"the task file has no model {name!r:.80}; it has {', '.join(folds)}")
    return folds[name]


def _promote(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    not_retired(command.model, roles)
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
        not_retired(name, roles)
    if roles.answering == shares:
        raise CommandRejected("the models have these shares already")
    # One salt for as long as requests are shared out: so a raised share moves new keys only.
    salt = roles.salt if len(roles.answering) > 1 else command.id
    return {f"{SHARE}{name}": f"{share / UNIT:.6f}" for name, share in shares.items()} | {SALT: salt}


def _freeze(command: Command, roles: Roles, folds: Mapping[str, ModelFold]) -> Mapping[str, str]:
    not_retired(command.model, roles)
    if ROLLBACK in command.arguments:
        found, digest = unfinished(command, roles, "freeze"), command.arguments.get("digest", "")
        if not digest:
            raise CommandRejected("the digest of the version's state is missing")
        of = {"version": found.version, "digest": digest, "spec": found.spec}
        return of | {ROLLBACK: found.id, ANCHORS: found.version}
    if command.arguments:
        raise CommandRejected("to freeze an older version: riverloop models rollback VERSION --mode freeze")
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
    not_retired(command.model, roles)
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
    "rollback": roll_back,
    "keep": keep,
}
"""By command: what checks it and gives its arguments."""
ROLLOUT: Final[Mapping[str, RolloutCheck]] = {
    "propose": propose,
    "approve": approve,
    "reject": reject,
    "abort": abort,
    "pause": pause,
    "withdraw": withdraw,
    "verdict": verdict,
    VALIDATION: validation,
}
"""The same of commands of rollouts."""
OF_ALL: Final = frozenset({"share", "approve", "reject", "withdraw", "pause"})
"""Commands that need no model."""
NAMES: Final = (*CHECKS, *(name for name in ROLLOUT if name not in {*OWN, VALIDATION}))
"""Commands that people can ask for."""
DECIDED: Final = frozenset({*CHECKS, *ROLLOUT})
"""Commands about models, but for revisions, that the log may have."""
