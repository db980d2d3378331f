"""Rollouts: proposals that wait for an approval, pauses, and the gate's newest decisions.

A part of the roles, so a fold of the log's commands. A proposal is bound to the revisions, the gate and the
evidence that it names; a command that changes one of them drops it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from schemas.records import Command
from streams.revisions import are_rows
from streams.shares import SHARE

GATE: Final = "gate"
"""Author of the gate's commands. Nobody else has this name."""
VALIDATION: Final = "validation"
"""The command that says what a validation found about a model."""
VERSION: Final = "version"
"""Argument of a validation: the version that was validated."""
AT: Final = "at"
"""Argument of a validation: the log offset before which all was applied."""
CONFIGURATION: Final = "configuration"
"""Argument of a validation: digest of its configuration."""
VERDICT: Final = "verdict"
"""Argument of a validation: `passed` or `failed`. Of the gate's decisions: the gate's verdict."""
PROPOSAL: Final = "proposal"
"""Argument: the id of a proposal."""
DIGEST: Final = "digest"
"""Argument: the digest of a proposal, which an approval repeats."""
ACTION: Final = "action"
"""Argument: what is proposed, `promote` or `share`; of the gate's other commands: the action of its decision."""
EXPIRES: Final = "expires"
"""Argument: wall clock until which a proposal can be approved, ms."""
BREAK_GLASS: Final = "break_glass"
"""Argument `true`: done although something stood against it."""
CHALLENGER: Final = "challenger"
"""Argument: the revision that a decision of the gate is about."""
STAMPS: Final = (CHALLENGER, "incumbent", "gate", "verdict", "decided_at", ACTION, PROPOSAL, "approver")
"""Arguments that a decision of the gate carries, or a command that was proposed and approved: revisions, digest of
the gate's configuration, verdict, log offset, action; the proposal and the person who approved it."""


class Proposal(NamedTuple):
    """A change of the models that answer that waits for an approval."""

    id: str
    offset: int
    """Of its entry."""
    action: str
    """`promote` or `share`."""
    model: str
    """The model that would answer more requests."""
    shares: str
    """Of a `share`: `MODEL=SHARE`, separated by white space."""
    revisions: str
    """The revisions of the models concerned, separated by white space."""
    gate: str
    """Digest of the gate's configuration; empty: a person proposed it."""
    digest: str
    """Of all that it is bound to."""
    author: str
    authentication: str
    reason: str
    evidence: str
    ts: int
    """Wall clock, ms."""
    expires: int
    """Wall clock, ms."""

    @property
    def arguments(self) -> dict[str, str]:
        """Arguments of the command that it proposes."""
        return {f"{SHARE}{name}": part for name, part in (each.split("=") for each in self.shares.split())}


class Pause(NamedTuple):
    """Why nothing is raised."""

    offset: int
    author: str
    reason: str


class GateLine(NamedTuple):
    """The newest decision of the gate about a challenger."""

    offset: int
    """Of its entry."""
    ts: int
    """Wall clock, ms."""
    action: str
    """`propose`, `promote`, `share`, `rollback`, `hold`, `withdraw` or `verdict`."""
    challenger: str
    verdict: str
    reason: str
    evidence: str


class ValidationLine(NamedTuple):
    """The newest validation of a model."""

    offset: int
    """Of its entry."""
    ts: int
    """Wall clock, ms."""
    version: str
    at: int
    """Log offset before which all was applied to the model."""
    verdict: str
    """`passed` or `failed`."""
    reason: str
    evidence: str
    configuration: str


class Rollout:
    """Proposals, pauses, validations, and the gate's newest decisions, up to a position of the log."""

    def __init__(self) -> None:
        self.proposals: dict[str, Proposal] = {}
        """By id."""
        self.pauses: dict[str, Pause] = {}
        """By model; the empty name is the whole task."""
        self.blocks: dict[str, Pause] = {}
        """By the name of what the log's owner has seen elsewhere, such as an open data quality episode."""
        self.lines: dict[str, GateLine] = {}
        """By challenger."""
        self.validations: dict[str, ValidationLine] = {}
        """By model; of its newest revision."""
        self.incumbent = ""
        """The model that answered alone last, for as long as it answers."""
        self.broken_glass = 0
        """Commands that were done with `break_glass`."""

    # ------------------------------------------------------------------ the fold

    def apply(self, offset: int, ts: int, command: Command, answering: Collection[str]) -> None:
        """Take a command.

        Parameters
        ----------
        ts
            Wall clock at which it was done, ms.
        answering
            The models that answer after it.
        """
        name, arguments = command.name, command.arguments
        self.broken_glass += arguments.get(BREAK_GLASS) == "true"
        if name in {"approve", "reject", "withdraw"}:
            self.proposals.pop(arguments[PROPOSAL], None)
        elif name in {"promote", "share", "rollback", "abort"}:
            self.proposals.clear()
        elif "revision" in arguments or name == "retire":
            self._drop(command.model)
            self.validations.pop(command.model, None)
        elif name == "pause":
            self._pause(offset, command)
        elif name == VALIDATION:
            self._validation(offset, ts, command)
        if command.author == GATE and CHALLENGER in arguments:
            self._line(offset, ts, command)
        if name == "propose":
            self._propose(offset, ts, command)
        if len(answering) == 1 or self.incumbent not in answering:
            self.incumbent = next(iter(answering), "")

    def _drop(self, model: str) -> None:
        for each in [*self.proposals.values()]:
            if not model or model == each.model or model in {name_of(one) for one in each.revisions.split()}:
                del self.proposals[each.id]

    def _pause(self, offset: int, command: Command) -> None:
        block = command.arguments.get("block", "")
        among, key = (self.blocks, block) if block else (self.pauses, command.model)
        among.pop(key, None)
        if command.arguments.get("end") != "true":
            among[key] = Pause(offset, command.author, command.reason)
            self._drop(command.model)

    def _validation(self, offset: int, ts: int, command: Command) -> None:
        given, verdict = command.arguments, command.arguments[VERDICT]
        about = (verdict, command.reason, command.evidence, given[CONFIGURATION])
        self.validations[command.model] = ValidationLine(offset, ts, given[VERSION], int(given[AT]), *about)
        if verdict == "failed":
            self._drop(command.model)

    def _line(self, offset: int, ts: int, command: Command) -> None:
        arguments = command.arguments
        challenger = arguments[CHALLENGER]
        action = command.name if command.name == "propose" else arguments.get(ACTION, command.name)
        about = (challenger, arguments["verdict"], command.reason, command.evidence)
        self.lines[name_of(challenger)] = GateLine(offset, ts, action, *about)
        if action in {"hold", "withdraw", "propose"}:  # the gate has one proposal at most
            self.proposals = {key: each for key, each in self.proposals.items() if not each.gate}

    def _propose(self, offset: int, ts: int, command: Command) -> None:
        given = command.arguments
        self.proposals[command.id] = Proposal(
            command.id,
            offset,
            given[ACTION],
            command.model,
            " ".join(
                sorted(
                    f"{each.removeprefix(SHARE)}={given[each]}" for each in given if each.startswith(SHARE)
                )
            ),
            given["revisions"],
            given.get("gate", ""),
            given[DIGEST],
            command.author,
            command.authentication,
            command.reason,
            command.evidence,
            ts,
            int(given[EXPIRES]),
        )

    # ------------------------------------------------------------------ what stands against a change

    def paused(self, model: str) -> str:
        """Say why nothing of a model may be raised; empty: it may."""
        people = [
            f"paused by {each.author}: {each.reason}"
            for key, each in self.pauses.items()
            if key in {"", model} or not model
        ]
        failed = self.validations.get(model)
        if failed is not None and failed.verdict == "failed":
            people.append(f"its validation at log offset {failed.at} failed: {failed.reason}")
        return "; ".join([*people, *(each.reason for each in self.blocks.values())])

    def against(self, model: str) -> list[str]:
        """Return what stands against raising a model: pauses, blocks, and proposals that wait."""
        paused = self.paused(model)
        waiting = [
            f"proposal {each.id} of {each.author} waits for an approval" for each in self.proposals.values()
        ]
        return [paused, *waiting] if paused else waiting

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """Return the state: plain data."""
        return {
            "proposals": [list(each) for each in self.proposals.values()],
            "pauses": [[key, *each] for key, each in self.pauses.items()],
            "blocks": [[key, *each] for key, each in self.blocks.items()],
            "lines": [[key, *each] for key, each in self.lines.items()],
            "validations": [[key, *each] for key, each in self.validations.items()],
            "incumbent": self.incumbent,
            "broken_glass": self.broken_glass,
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        return (
            type(state) is dict
            and [*state]
            == ["proposals", "pauses", "blocks", "lines", "validations", "incumbent", "broken_glass"]
            and are_rows(state["proposals"], [str, int, *[str] * 10, int, int])
            and all(are_rows(state[name], [str, int, str, str]) for name in ("pauses", "blocks"))
            and are_rows(state["lines"], [str, int, int, *[str] * 5])
            and are_rows(state["validations"], [str, int, int, str, int, *[str] * 4])
            and type(state["incumbent"]) is str
            and type(state["broken_glass"]) is int
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `snapshot` gave."""
        self.proposals = {each[0]: Proposal(*each) for each in state["proposals"]}
        self.pauses = {key: Pause(*each) for key, *each in state["pauses"]}
        self.blocks = {key: Pause(*each) for key, *each in state["blocks"]}
        self.lines = {key: GateLine(*each) for key, *each in state["lines"]}
        self.validations = {key: ValidationLine(*each) for key, *each in state["validations"]}
        self.incumbent, self.broken_glass = state["incumbent"], state["broken_glass"]


def name_of(revision: str) -> str:
    """Return the model of a revision such as `tree.2`."""
    return revision.rpartition(".")[0]


def digest_of(command: Command, revisions: str, specifications: Collection[str]) -> str:
    """Return the digest of what a proposal is bound to: the change, the models, the gate, the evidence."""
    arguments = command.arguments
    shares = sorted((name, part) for name, part in arguments.items() if name.startswith(SHARE))
    evidence = hashlib.sha256(command.evidence.encode()).hexdigest()
    bound = [arguments.get(ACTION), command.model, shares, revisions, [*specifications]]
    text = json.dumps([*bound, arguments.get("gate", ""), evidence], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
