"""Revisions of a task's models that the training log has opened, and rollbacks that are not finished."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from schemas.records import Command

LEFT_OUT: Final = "left_out"
"""What a revision leaves out of the log: the text of a `LeaveOut`."""
ROLLBACK: Final = "rollback"
"""The id of the rollback that a command finishes."""
ANCHORS: Final = "anchors"
"""Versions whose snapshots are kept from a command on, separated by white space."""


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


class Revisions:
    """Which revisions a log has opened, up to a position. A part of `streams.roles.Roles`."""

    def __init__(self) -> None:
        self.opened: dict[str, tuple[Revision, ...]] = {}
        """By model: all that the log has opened, newest last."""
        self.numbers: dict[str, int] = {}
        """By model: the highest number that was given to a revision, opened or not."""
        self.rollbacks: dict[str, Rollback] = {}
        """By model: the one that is not finished."""

    # ------------------------------------------------------------------ the fold

    def open(self, offset: int, model: str, arguments: Mapping[str, str]) -> None:
        """Take a command that opens a revision; it may finish a rollback."""
        names = (arguments.get("spec", ""), arguments.get("runtime", ""), arguments.get(LEFT_OUT, ""))
        opened = Revision(int(arguments["revision"]), offset, *names)
        self.opened[model] = (*self.of(model), opened)
        self._number(model, opened.number)
        unfinished = self.rollbacks.get(model)
        if unfinished and (arguments.get(ROLLBACK) == unfinished.id or opened.spec != unfinished.spec):
            # It is finished; or the model has another specification now, of which it says nothing.
            del self.rollbacks[model]

    def begin(self, offset: int, command: Command) -> None:
        """Take a rollback for which one worker prepares a state."""
        arguments, number = command.arguments, int(command.arguments["number"])
        names = [arguments.get(name, "") for name in ("spec", "runtime", LEFT_OUT, "version")]
        self.rollbacks[command.model] = Rollback(command.id, offset, arguments["mode"], number, *names)
        self._number(command.model, number)

    def end(self, model: str) -> None:
        """Take that a model's rollback is over, if there is one."""
        self.rollbacks.pop(model, None)

    def _number(self, model: str, number: int) -> None:
        self.numbers[model] = max(number, self.numbers.get(model, 0))

    # ------------------------------------------------------------------ which there are

    def of(self, model: str) -> tuple[Revision, ...]:
        """Return all that the log has opened for a model, newest last."""
        return self.opened.get(model, ())

    def find(self, model: str, spec: str, runtimes: Collection[str], left_out: str = "") -> Revision | None:
        """Return the newest revision of a specification that leaves out the same, for one of some runtimes.

        None: the log has none.
        """
        found = (each for each in reversed(self.of(model)) if (each.spec, each.left_out) == (spec, left_out))
        return next((each for each in found if each.runtime in runtimes), None)

    def left_out(self, model: str, spec: str) -> str:
        """Return what a worker that starts with a specification leaves out: as its newest revision does.

        A specification that the log does not know leaves out what the model's newest revision leaves out.
        """
        opened = self.of(model)
        found = [each for each in opened if each.spec == spec] or opened
        return found[-1].left_out if found else ""

    def next_number(self, model: str) -> int:
        """Return the number of the next revision of a model."""
        return self.numbers.get(model, 0) + 1

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """Return its state."""
        return {
            "opened": {name: [list(each) for each in opened] for name, opened in self.opened.items()},
            "numbers": dict(self.numbers),
            "rollbacks": {name: list(each) for name, each in self.rollbacks.items()},
        }

    @staticmethod
    def is_state(state: Any) -> bool:
        """Whether something has the form of what `snapshot` gives."""
        return (
            type(state) is dict
            and set(state) == {"opened", "numbers", "rollbacks"}
            and type(state["opened"]) is dict
            and all(are_rows(opened, [int, int, str, str, str]) for opened in state["opened"].values())
            and are_values(state["numbers"], int)
            and type(state["rollbacks"]) is dict
            and are_rows([*state["rollbacks"].values()], [str, int, str, int, str, str, str, str])
        )

    def restore(self, state: Any) -> None:
        """Take a state."""
        self.opened = {
            name: tuple(Revision(*each) for each in opened) for name, opened in state["opened"].items()
        }
        self.numbers = dict(state["numbers"])
        self.rollbacks = {name: Rollback(*each) for name, each in state["rollbacks"].items()}


def are_rows(values: Any, types: list[type]) -> bool:
    """Whether something is a list of lists whose values have the given types."""
    return type(values) is list and all(
        type(each) is list and [type(one) for one in each] == types for each in values
    )


def are_values(values: Any, kind: type) -> bool:
    """Whether something maps texts to values of a type."""
    return type(values) is dict and all(
        type(name) is str and type(each) is kind for name, each in values.items()
    )
