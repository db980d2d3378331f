"""The decisions of a gate: the newest, and which of them the log does not have yet."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from streams.gate.decision import Decision, restored

KEPT: Final = 200
"""Decisions that are kept, the newest."""


class DecisionBook:
    """Keeps decisions in their order. A newer one replaces those before it that the log does not have.

    So an owner that was away, and a gate that is new in a file, do not repeat history.
    """

    def __init__(self) -> None:
        self._decisions: list[Decision] = []
        self._unlogged: list[str] = []
        """Ids of decisions that stand and that the log does not have."""

    def add(self, decision: Decision) -> None:
        """Add a decision: a verdict replaces that of the same challenger, any other what was to be done."""
        model = decision.challenger.rpartition(".")[0] if decision.action == "verdict" else ""
        self._forget(model)
        self._decisions = [*self._decisions, decision][-KEPT:]
        self._unlogged.append(decision.id)

    def drop(self) -> None:
        """Forget what was to be done and is not in the log."""
        self._forget("")

    def clear(self) -> None:
        """Forget all that is not in the log."""
        self._unlogged.clear()

    def logged(self, command_id: str) -> None:
        """Take that the log has a command."""
        self._unlogged = [each for each in self._unlogged if each != command_id]

    def _forget(self, challenger: str) -> None:
        verdicts = {each.id: each for each in self._decisions if each.action == "verdict"}

        def stands(name: str) -> bool:
            said = verdicts.get(name)
            return bool(challenger) if said is None else said.challenger.rpartition(".")[0] != challenger

        self._unlogged = [each for each in self._unlogged if stands(each)]

    def since(self, offset: int) -> list[Decision]:
        """Return the newest decisions at a log offset or after it, in their order."""
        return [each for each in self._decisions if each.offset >= offset]

    def unlogged(self) -> list[Decision]:
        """Return the decisions that stand and that the log does not have, in their order."""
        return [each for each in self._decisions if each.id in self._unlogged]

    def newest_wish(self) -> Decision | None:
        """Return the newest decision that is not only a verdict."""
        return next((each for each in reversed(self._decisions) if each.action != "verdict"), None)

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return [[asdict(each) for each in self._decisions], list(self._unlogged)]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        decisions, unlogged = state
        self._decisions, self._unlogged = [restored(each) for each in decisions], list(unlogged)
