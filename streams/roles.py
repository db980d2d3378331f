"""Roles: which models of a task answer, learn and stand by. A fold of the log's commands and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from schemas.records import Command, Entry
from streams.fold import BaseFold
from streams.revisions import ANCHORS, Revisions, are_rows, are_values
from streams.rollout import VALIDATION, Rollout
from streams.shares import SALT, SHARE, UNIT, Part, moved, place_of, shares_of

KEPT: Final = 100
"""Decisions that a state lists, newest last; of the validations of a model only the newest."""
ANCHORS_OF_CHANGES: Final = 20
"""Anchors by model that changes of the answering model, and revisions, have added; older ones are no anchors."""
LASTING: Final = frozenset({"keep", "freeze", "rollback"})
"""Commands whose anchors stay until a person releases them."""
Role = Literal["served", "shadow", "retired"]


@dataclass(frozen=True, slots=True)
class ModelRole:
    """What one model does."""

    share: int = 0
    """Of the requests that it answers, in millionths."""
    frozen_at: int = -1
    """Offset of the command since which it does not learn; -1: it learns."""
    retired_at: int = -1
    """Offset of the command since which it neither scores nor learns; -1: it does."""

    @property
    def role(self) -> Role:
        """Its role in a word."""
        if self.share:
            return "served"
        return "shadow" if self.retired_at < 0 else "retired"


class Decision(NamedTuple):
    """A command of the log, for people."""

    offset: int
    entry_id: str
    name: str
    model: str
    author: str
    reason: str
    ts: int
    """Wall clock at which it was done, ms."""
    answering: str
    """The models that answer from then on, separated by white space."""


class Roles(BaseFold[Entry]):
    """The roles of a task's models up to a position of its log.

    The first revision of a log makes its model the champion; each later model joins as a shadow.

    Parameters
    ----------
    task
        The task's name, which goes into each draw.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.models: dict[str, ModelRole] = {}
        """In the order in which they joined."""
        self.parts: tuple[Part, ...] = ()
        """Who answers where in the unit interval; empty before the first revision."""
        self.salt = ""
        """Of the command that began to share the requests out."""
        self.decisions: tuple[Decision, ...] = ()
        self.revisions = Revisions()
        self.rollout = Rollout()
        self.kept: dict[str, str] = {}
        """Versions whose snapshots are anchors, which retention never deletes, with the command that says so."""

    # ------------------------------------------------------------------ the fold

    def _apply(self, offset: int, entry: Entry) -> None:
        command = entry.command
        if command is None:
            return
        if command.name in {"promote", "share", "rollback", "keep"}:
            self._change(offset, command)
        else:
            self._change_one(offset, command)
        self._add_anchors(command)
        self.rollout.apply(offset, entry.ts, command, self.answering)
        text = (command.name, command.model, command.author, command.reason)
        decision = Decision(offset, entry.entry_id, *text, entry.ts, " ".join(self.answering))
        before = self.decisions
        if command.name == VALIDATION:  # of a model only the newest: there are many
            before = tuple(each for each in before if each[2:4] != decision[2:4])
        self.decisions = (*before, decision)[-KEPT:]

    def _change(self, offset: int, command: Command) -> None:
        """Do a command about which model answers, or about what is kept."""
        if command.name == "promote":
            self._known(command.model)
            self._share_out({command.model: UNIT})
        elif command.name == "share":
            shares = shares_of(command.arguments)
            for model in shares:
                self._known(model)
            self._share_out(shares)
            self.salt = command.arguments[SALT]
        elif command.name == "rollback":
            self._roll_back(offset, command)
        else:
            self._keep(command)

    def _change_one(self, offset: int, command: Command) -> None:
        """Do a command about what one model learns."""
        if command.name == "revision":
            self._join(command.model)
        elif command.name == "freeze":
            self._set(command.model, frozen_at=offset)
        elif command.name == "resume":
            self._set(command.model, frozen_at=-1)
        elif command.name == "retire":
            self._set(command.model, retired_at=offset, frozen_at=-1)
        elif command.name == "restore":
            self._set(command.model, retired_at=-1)
        elif command.name == "abort" and any(each.startswith(SHARE) for each in command.arguments):
            self._share_out(shares_of(command.arguments))
        if "revision" in command.arguments:
            self.revisions.open(offset, command.model, command.arguments)
        if command.name in {"freeze", "retire"}:
            self.revisions.end(command.model)

    def _join(self, model: str) -> None:
        if not self.models:
            self.parts = (Part(UNIT, model),)
        self.models.setdefault(model, ModelRole(share=0 if self.models else UNIT))

    def _roll_back(self, offset: int, command: Command) -> None:
        self._known(command.model)
        if command.arguments["mode"] == "catch-up":
            self._share_out({command.model: UNIT})
        elif command.arguments["mode"] == "abandon":
            self.revisions.end(command.model)
        else:
            self.revisions.begin(offset, command)

    def _keep(self, command: Command) -> None:
        version = command.arguments["version"]
        self.kept.pop(version, None)
        if command.arguments.get("release") != "true":
            self.kept[version] = command.name

    def _add_anchors(self, command: Command) -> None:
        for version in command.arguments.get(ANCHORS, "").split():
            if self.kept.get(version) in LASTING:
                continue
            self.kept.pop(version, None)  # the newest are last
            self.kept[version] = command.name
            model = version.partition(".")[0]
            passing = [
                each
                for each, name in self.kept.items()
                if name not in LASTING and each.partition(".")[0] == model
            ]
            for old in passing[:-ANCHORS_OF_CHANGES]:
                del self.kept[old]

    def _known(self, model: str) -> ModelRole:
        if model not in self.models:
            raise ValueError(f"the log has no revision of model {model!r}")
        return self.models[model]

    def _set(self, model: str, **changes: int) -> None:
        self.models[model] = replace(self._known(model), **changes)

    def _share_out(self, shares: Mapping[str, int]) -> None:
        self.parts = moved(self.parts, shares)
        for model, role in self.models.items():
            self.models[model] = replace(role, share=shares.get(model, 0))

    # ------------------------------------------------------------------ which model answers

    def role(self, model: str) -> ModelRole:
        """Return what a model does; one that the log does not know is a shadow."""
        return self.models.get(model) or ModelRole()

    @property
    def answering(self) -> dict[str, int]:
        """The models that answer, with their shares in millionths; the largest share first."""
        found = {name: each.share for name, each in self.models.items() if each.share}
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    @property
    def champion(self) -> str:
        """The model with the largest share; empty before the first revision."""
        return next(iter(self.answering), "")

    def draw(self, request_id: str, entity_key: str | None) -> str:
        """Return the model that answers a request: the same in every worker, and for the same entity.

        Empty before the first revision.
        """
        parts = self.parts
        if len(parts) < 2:
            return parts[0].model if parts else ""
        at = place_of(self.task, self.salt, request_id if entity_key is None else entity_key)
        return next(part.model for part in parts if at < part.end)

    def propensity(self, model: str) -> float:
        """Return the share with which a model is drawn."""
        return self.role(model).share / UNIT

    def after(self, command: Command) -> Roles:
        """Return the roles as they would be after a command."""
        roles = Roles(self.task)
        roles.restore(self.snapshot())
        roles.apply(roles.next_offset, Entry("", "command", 0, command=command))
        return roles

    def served_at(self, model: str, offset: int) -> bool | None:
        """Whether a model answered after the entry at an offset; None further back than the decisions go."""
        last = next((each for each in reversed(self.decisions) if each.offset <= offset), None)
        return None if last is None else model in last.answering.split()

    def done(self, entry_id: str) -> bool:
        """Whether a command is among the newest."""
        return any(each.entry_id == entry_id for each in self.decisions)

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "models": [
                [name, each.share, each.frozen_at, each.retired_at] for name, each in self.models.items()
            ],
            "parts": [list(each) for each in self.parts],
            "salt": self.salt,
            "decisions": [list(each) for each in self.decisions],
            "revisions": self.revisions.snapshot(),
            "kept": dict(self.kept),
            "rollout": self.rollout.snapshot(),
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        keys = {"next_offset", "models", "parts", "salt", "decisions", "revisions", "kept", "rollout"}
        return (
            type(state) is dict
            and set(state) == keys
            and type(state["next_offset"]) is int
            and type(state["salt"]) is str
            and are_rows(state["models"], [str, int, int, int])
            and are_rows(state["parts"], [int, str])
            and are_rows(state["decisions"], [int, str, str, str, str, str, int, str])
            and Revisions.is_state(state["revisions"])
            and are_values(state["kept"], str)
            and Rollout.is_state(state["rollout"])
            and sum(share for _, share, *_ in state["models"]) in {0, UNIT}
            and (not state["models"] or [end for end, _ in state["parts"]][-1:] == [UNIT])
        )

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, self.salt = state["next_offset"], state["salt"]
        self.models = {name: ModelRole(*numbers) for name, *numbers in state["models"]}
        self.parts = tuple(Part(*each) for each in state["parts"])
        self.decisions = tuple(Decision(*each) for each in state["decisions"])
        self.kept = dict(state["kept"])
        self.revisions.restore(state["revisions"])
        self.rollout.restore(state["rollout"])
