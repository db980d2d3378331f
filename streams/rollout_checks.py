"""Commands of rollouts: whether one can be done now, and its arguments.

Commands that raise a model's share are checked here as well: a pause or a proposal may stand against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from schemas.errors import CommandRejected
from schemas.records import Command
from streams.gate.fold import GateFold
from streams.model import ModelFold
from streams.roles import Roles
from streams.rollback import not_retired
from streams.rollout import (
    ACTION,
    AT,
    BREAK_GLASS,
    CONFIGURATION,
    DIGEST,
    EXPIRES,
    GATE,
    PROPOSAL,
    STAMPS,
    VERDICT,
    VERSION,
    Proposal,
    digest_of,
    name_of,
)
from streams.shares import SHARE, UNIT, shares_of
from streams.version import Version

OWN: Final = frozenset({"verdict", "withdraw"})
"""Commands that only the log's owner gives."""
VALID_MS: Final = 7 * 86_400_000
"""How long a proposal can be approved where nothing else is said."""
MOST_VALID_MS: Final = 90 * 86_400_000
TTL: Final = "valid_ms"
"""Argument of `propose`: how long it can be approved, ms."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a command is checked against, beside the roles and the models."""

    now: int = 0
    """Wall clock, ms."""
    gate: GateFold | None = None
    """The gate at the end of the log."""
    own: bool = False
    """Whether the log's owner gives the command."""
    knows_gate: bool = True
    """Whether a gate would be at hand; the command line knows the commands only."""


ALONE: Final = Situation()


def check_author(command: Command, at: Situation) -> None:
    """Reject what only the log's owner may do, or say of itself."""
    if not at.own and (command.name in OWN or command.author == GATE):
        raise CommandRejected(f"{command.name} by {command.author:.60}: only the log's owner does this")


def stamps(command: Command) -> dict[str, str]:
    """Return the arguments that say from which decision or proposal a command comes."""
    return {name: command.arguments[name] for name in STAMPS if name in command.arguments}


def raising(command: Command, roles: Roles, at: Situation) -> dict[str, str]:
    """Reject a command that raises a share while something stands against it; gives its stamps.

    The way back to the incumbent is always open.
    """
    if at.own:
        return stamps(command)
    shares = {command.model: UNIT} if command.name == "promote" else shares_of(command.arguments)
    before, incumbent = roles.answering, roles.rollout.incumbent
    raised = [name for name, part in shares.items() if part > before.get(name, 0) and name != incumbent]
    found = list(dict.fromkeys(why for name in raised for why in _against(name, roles, at)))
    if command.arguments.get(BREAK_GLASS) == "true":
        return {BREAK_GLASS: "true", "against": "; ".join(found)[:800]}
    if found:
        raise CommandRejected(f"{'; '.join(found)}. --break-glass does it nevertheless, and raises an alert")
    return {}


def _against(name: str, roles: Roles, at: Situation) -> list[str]:
    found = roles.rollout.against(name)
    return [*found, *at.gate.promotion.blocks(name, at.gate.outages.live)] if at.gate else found


# ---------------------------------------------------------------------- proposals


def propose(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Check a proposal; gives its arguments, with all that an approval is bound to."""
    given = command.arguments
    shares = {name: part for name, part in given.items() if name.startswith(SHARE)}
    models, waits = [command.model], roles.rollout.proposals.values()
    if shares:
        try:
            models = [*shares_of(shares)]
        except ValueError as error:
            raise CommandRejected(f"{error}") from None
    for name in dict.fromkeys([command.model, *models]):
        if name not in folds:
            raise CommandRejected(f"the task file has no model {name!r:.80}; it has {', '.join(folds)}")
        not_retired(name, roles)
        if not at.own and any(each.model == name for each in waits):
            raise CommandRejected(f"a proposal about {name} waits for an approval already")
    if not at.own and (paused := roles.rollout.paused(command.model)):
        raise CommandRejected(paused)
    if roles.answering == (shares_of(shares) if shares else {command.model: UNIT}):
        raise CommandRejected("the models answer so already")
    valid = _valid(given.get(TTL, ""))
    concerned = sorted({*models, command.model, *roles.answering})
    revisions = {name: roles.revisions.of(name) for name in concerned}
    names = " ".join(f"{name}.{found[-1].number}" for name, found in revisions.items() if found)
    action = "share" if shares else "promote"
    arguments = shares | (stamps(command) if at.own else {}) | {ACTION: action, "revisions": names}
    bound = replace(command, arguments=arguments)
    digest = digest_of(bound, names, [found[-1].spec for found in revisions.values() if found])
    return arguments | {DIGEST: digest, EXPIRES: str(at.now + valid)}


def _valid(text: str) -> int:
    if not text:
        return VALID_MS
    if not text.isdecimal() or not 0 < int(text) <= MOST_VALID_MS:
        raise CommandRejected("a proposal can be approved for at most 90 days")
    return int(text)


def _proposal(command: Command, roles: Roles) -> Proposal:
    found = roles.rollout.proposals.get(command.arguments.get(PROPOSAL, ""))
    if found is None:
        raise CommandRejected(
            f"no proposal {command.arguments.get(PROPOSAL, '')!r:.120} waits: it was decided, or withdrawn"
        )
    return found


def approve(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Check an approval: of what the person saw, in time, by another person, while nothing stands against it."""
    found = _proposal(command, roles)
    if command.arguments.get(DIGEST) != found.digest:
        raise CommandRejected(
            f"the digest of proposal {found.id} is {found.digest}: read it again before approving"
        )
    if at.now > found.expires:
        raise CommandRejected(f"proposal {found.id} has expired")
    tokens = "token" in {command.authentication, found.authentication}
    if tokens and command.author == found.author:
        raise CommandRejected(f"{found.author} proposed it: another person must approve it")
    if found.gate and at.knows_gate:
        if at.gate is None or at.gate.gate.digest != found.gate:
            raise CommandRejected("the gate's configuration has changed since the proposal")
        wanted = at.gate.proposal()
        if wanted is None or wanted.id != found.id:
            raise CommandRejected("the gate no longer proposes it")
    against = [roles.rollout.paused(found.model)]
    if at.gate is not None:
        against += at.gate.promotion.blocks(found.model, at.gate.outages.live)
    if reasons := "; ".join(filter(None, against)):
        raise CommandRejected(reasons)
    return {PROPOSAL: found.id, DIGEST: found.digest}


def approved(command: Command, proposal: Proposal) -> Command:
    """Return the command that an approval sets off."""
    arguments = proposal.arguments | {PROPOSAL: proposal.id, "approver": command.author}
    about = (proposal.author, proposal.reason, f"{proposal.id}-done", proposal.authentication)
    further = (arguments, *about, command.asked, proposal.evidence)
    return (
        Command("share", "", *further)
        if proposal.action == "share"
        else Command("promote", proposal.model, *further)
    )


def reject(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Check a rejection."""
    return {PROPOSAL: _proposal(command, roles).id}


def withdraw(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Check that a proposal is there to withdraw."""
    return {PROPOSAL: _proposal(command, roles).id}


# ---------------------------------------------------------------------- rollouts


def abort(command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation) -> Mapping[str, str]:
    """Check the end of a rollout; gives the shares after it."""
    model, incumbent = command.model, roles.rollout.incumbent
    not_retired(model, roles)
    if model == incumbent:
        raise CommandRejected(f"{model} is the model that others are compared with: promote another one")
    shares = roles.answering
    part = shares.pop(model, 0)
    if not part:
        return {}
    shares[incumbent] = shares.get(incumbent, 0) + part
    return {f"{SHARE}{name}": f"{each / UNIT:.6f}" for name, each in shares.items()}


def pause(command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation) -> Mapping[str, str]:
    """Check a pause, or its end."""
    given, rollout = command.arguments, roles.rollout
    block = given.get("block", "")
    if block and not at.own:
        raise CommandRejected("only the log's owner blocks a gate")
    known = rollout.blocks.get(block) if block else rollout.pauses.get(command.model)
    ends = given.get("end") == "true"
    if ends and known is None:
        raise CommandRejected(f"{command.model or 'the task'} is not paused")
    if not ends and known is not None:
        raise CommandRejected(
            f"{command.model or 'the task'} is paused already, by {known.author}: {known.reason}"
        )
    return ({"block": block} if block else {}) | ({"end": "true"} if ends else {})


def verdict(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Return the arguments of a decision of the gate that changes nothing."""
    return stamps(command)


def validation(
    command: Command, roles: Roles, folds: Mapping[str, ModelFold], at: Situation
) -> Mapping[str, str]:
    """Check the verdict of a validation: of the model's newest revision, and newer than the one before."""
    given, model = command.arguments, command.model
    names = (VERSION, AT, CONFIGURATION, VERDICT)
    if set(given) != set(names) or given[VERDICT] not in {"passed", "failed"} or not given[AT].isdecimal():
        raise CommandRejected(f"a validation has {', '.join(names)}, and passed or failed as its verdict")
    not_retired(model, roles)
    try:
        version = Version.parse(given[VERSION])
    except ValueError as error:
        raise CommandRejected(f"{error}") from None
    opened = roles.revisions.of(model)
    if not opened or (version.model, version.revision) != (model, opened[-1].number):
        raise CommandRejected(f"{version} is not of the newest revision of {model}")
    if not version.offset < int(given[AT]) <= folds[model].next_offset:
        raise CommandRejected(f"the log does not have offset {given[AT]} behind {version}")
    known = roles.rollout.validations.get(model)
    if known is not None and known.at >= int(given[AT]):
        raise CommandRejected(f"{model} was validated at log offset {known.at} already")
    return dict(given)


def concerned(command: Command) -> list[str]:
    """Return the models that a command names."""
    named = [name_of(command.arguments[name]) for name in STAMPS[:2] if name in command.arguments]
    return [each for each in dict.fromkeys([command.model, *named]) if each]
