"""Roles: which models of a task answer, learn and stand by. A fold of the log's commands and of nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from schemas.records import Command, Entry
from streams.fold import BaseFold
from streams.shares import SALT, UNIT, Part, moved, place_of, shares_of

LEFT_OUT: Final = "left_out"
"""What a revision leaves out of the log: the text of a `LeaveOut`."""
ROLLBACK: Final = "rollback"
"""The id of the rollback that a command finishes."""
ANCHORS: Final = "anchors"
"""Versions whose snapshots are kept from a command on, separated by white space."""
KEPT: Final = 50
"""Decisions that a state lists, newest last."""
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


class Revision(NamedTuple):
    """A revision of a model that the log has opened. It stays known for good."""

    number: int
    offset: int
    """Of the command."""
    spec: str
    runtime: str
    left_out: str = ""
    """What it leaves out of the log: the text of a `LeaveOut`."""


class Rollback(NamedTuple):
    """A rollback that is decided and not finished: one worker prepares its state beside the loop."""

    id: str
    offset: int
    """Of its command."""
    mode: str
    """`rebuild`: a revision follows. `freeze`: a version is frozen."""
    number: int
    """The revision that it opens, or that the version is of."""
    spec: str
    runtime: str
    left_out: str
    """Of that revision."""
    version: str = ""
    """`freeze`: what is to answer."""


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
        self.revisions: dict[str, tuple[Revision, ...]] = {}
        """By model: all that the log has opened, newest last."""
        self.numbers: dict[str, int] = {}
        """By model: the highest number that was given to a revision, opened or not."""
        self.rollbacks: dict[str, Rollback] = {}
        """By model: the one that is not finished."""
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
        for version in command.arguments.get(ANCHORS, "").split():
            self.kept[version] = command.name
        text = (command.name, command.model, command.author, command.reason)
        decision = Decision(offset, entry.entry_id, *text, entry.ts, " ".join(self.answering))
        self.decisions = (*self.decisions, decision)[-KEPT:]

    def _change(self, offset: int, command: Command) -> None:
        """Do a command about who answers, or about what is kept."""
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
        if "revision" in command.arguments:
            self._open(offset, command.model, command.arguments)
        if command.name in {"freeze", "retire"}:
            self.rollbacks.pop(command.model, None)

    def _join(self, model: str) -> None:
        if not self.models:
            self.parts = (Part(UNIT, model),)
        self.models.setdefault(model, ModelRole(share=0 if self.models else UNIT))

    def _open(self, offset: int, model: str, arguments: Mapping[str, str]) -> None:
        names = (arguments.get("spec", ""), arguments.get("runtime", ""), arguments.get(LEFT_OUT, ""))
        opened = Revision(int(arguments["revision"]), offset, *names)
        self.revisions[model] = (*self.revisions.get(model, ()), opened)
        self._number(model, opened.number)
        unfinished = self.rollbacks.get(model)
        if unfinished and (arguments.get(ROLLBACK) == unfinished.id or opened.spec != unfinished.spec):
            # It is finished; or the model has another specification now, of which it says nothing.
            del self.rollbacks[model]

    def _number(self, model: str, number: int) -> None:
        self.numbers[model] = max(number, self.numbers.get(model, 0))

    def _roll_back(self, offset: int, command: Command) -> None:
        model, arguments = command.model, command.arguments
        self._known(model)
        if arguments["mode"] == "catch-up":
            self._share_out({model: UNIT})
        elif arguments["mode"] == "abandon":
            self.rollbacks.pop(model, None)
        else:
            number, version = int(arguments["number"]), arguments.get("version", "")
            names = (arguments.get("spec", ""), arguments.get("runtime", ""), arguments.get(LEFT_OUT, ""), version)
            self.rollbacks[model] = Rollback(command.id, offset, arguments["mode"], number, *names)
            self._number(model, number)

    def _keep(self, command: Command) -> None:
        version = command.arguments["version"]
        self.kept.pop(version, None)
        if command.arguments.get("release") != "true":
            self.kept[version] = command.name

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

    # ------------------------------------------------------------------ who answers

    def role(self, model: str) -> ModelRole:
        """Return what a model does; one that the log does not know is a shadow."""
        return self.models.get(model) or ModelRole()

    def revision(
        self, model: str, spec: str, runtimes: Collection[str], left_out: str = ""
    ) -> Revision | None:
        """Return the newest revision of a specification that leaves out the same, for one of some runtimes.

        None: the log has none.
        """
        found = (
            each
            for each in reversed(self.revisions.get(model, ()))
            if (each.spec, each.left_out) == (spec, left_out)
        )
        return next((each for each in found if each.runtime in runtimes), None)

    def left_out(self, model: str, spec: str) -> str:
        """Return what a worker that starts with a specification leaves out: as its newest revision does.

        A specification that the log does not know leaves out what the model's newest revision leaves out.
        """
        opened = self.revisions.get(model, ())
        found = [each for each in opened if each.spec == spec] or opened
        return found[-1].left_out if found else ""

    def next_revision(self, model: str) -> int:
        """Return the number of the next revision of a model."""
        return self.numbers.get(model, 0) + 1

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
            "revisions": {name: [list(each) for each in opened] for name, opened in self.revisions.items()},
            "numbers": dict(self.numbers),
            "rollbacks": {name: list(each) for name, each in self.rollbacks.items()},
            "kept": dict(self.kept),
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        keys = {"next_offset", "models", "parts", "salt", "decisions", "revisions"}
        keys |= {"numbers", "rollbacks", "kept"}
        return (
            type(state) is dict
            and set(state) == keys
            and type(state["next_offset"]) is int
            and type(state["salt"]) is str
            and _rows(state["models"], [str, int, int, int])
            and _rows(state["parts"], [int, str])
            and _rows(state["decisions"], [int, str, str, str, str, str, int, str])
            and type(state["revisions"]) is dict
            and all(_rows(opened, [int, int, str, str, str]) for opened in state["revisions"].values())
            and _texts(state["numbers"], int)
            and type(state["rollbacks"]) is dict
            and _rows([*state["rollbacks"].values()], [str, int, str, int, str, str, str, str])
            and _texts(state["kept"], str)
            and sum(share for _, share, *_ in state["models"]) in {0, UNIT}
            and (not state["models"] or [end for end, _ in state["parts"]][-1:] == [UNIT])
        )

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, self.salt = state["next_offset"], state["salt"]
        self.models = {name: ModelRole(*numbers) for name, *numbers in state["models"]}
        self.parts = tuple(Part(*each) for each in state["parts"])
        self.decisions = tuple(Decision(*each) for each in state["decisions"])
        self.revisions = {
            name: tuple(Revision(*each) for each in opened) for name, opened in state["revisions"].items()
        }
        self.numbers, self.kept = dict(state["numbers"]), dict(state["kept"])
        self.rollbacks = {name: Rollback(*each) for name, each in state["rollbacks"].items()}


def _rows(values: Any, types: list[type]) -> bool:
    return type(values) is list and all(
        type(each) is list and [type(one) for one in each] == types for each in values
    )


def _texts(values: Any, kind: type) -> bool:
    return type(values) is dict and all(
        type(name) is str and type(each) is kind for name, each in values.items()
    )
