"""What a model has not learned: the entries on which its code raised, and where it has stopped."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from streams.learning_steps import Steps

NEWEST: Final = 20
"""Entries skipped that a state lists, newest last; the others are counted."""
KEYS: Final = frozenset({"skipped", "recent", "newest", "stopped", "learned_to", "steps"})
"""Of a state."""


class SkippedEntry(NamedTuple):
    """An entry that a model has not learned from, because its code raised."""

    offset: int
    request_id: str
    exception: str
    """Its type and place."""


class Stopped(NamedTuple):
    """Where and why a model has stopped to learn."""

    offset: int
    """The last entry that it was given."""
    why: str


def is_state(state: Any) -> bool:
    """Whether something has the form of what `Learner.snapshot` gives."""
    if not isinstance(state, dict) or set(state) != KEYS:
        return False
    recent, newest, stopped = state["recent"], state["newest"], state["stopped"]
    return (
        type(state["skipped"]) is int
        and type(state["learned_to"]) is int
        and Steps.is_state(state["steps"])
        and type(recent) is list
        and all(type(each) is int for each in recent)
        and type(newest) is list
        and all(_types(each) == [int, str, str] for each in newest)
        and (stopped is None or _types(stopped) == [int, str])
    )


def _types(values: Any) -> list[type]:
    return [type(each) for each in values] if type(values) is list else []
