"""Label policies: a fold's reading of the facts in the training log.

The join states facts and has no opinion; a policy says which label, if any, a fact gives, and whether that
label replaces one that an earlier fact gave. Models learn by it and metrics count by it.

A backfilled example is a fact too: without an outcome it expired, `late_by` says that it was late, `corrects`
that it was revised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.records import Entry, Value
from streams.failures import NoLabel, is_own


class Label(NamedTuple):
    """What a fact says under a policy."""

    value: bool | float | str | None
    """None: the label that was given no longer holds, and there is none in its place."""
    replaces: Value = None
    """The label that this one corrects; None when it is the first."""


class Policy(Protocol):
    """Turns a fact into a label, or into nothing."""

    def label(self, entry: Entry) -> Label | None:
        """Give the label of an entry; None when the policy makes nothing of it."""


VALUES: Mapping[str, tuple[type, ...]] = {"binary": (bool,), "multiclass": (str,), "regression": (float, int)}
"""Types of the outcomes of a kind of task."""


def checked_label(policy: Policy, entry: Entry, kind: str) -> Label | None:
    """Give the label of an entry, checked, for a policy may be code of a task file.

    Raises
    ------
    NoLabel
        When it is no label, or its value is none of the task's kind, or not finite.
    BaseException
        Whatever the policy raises.
    """
    label: object = policy.label(entry)
    if label is None:
        return None
    if not isinstance(label, Label):
        raise NoLabel(f"a {type(label).__name__} is not a Label")
    for value in label:
        if value is None:
            continue
        if type(value) not in VALUES[kind] or not (isinstance(value, str) or math.isfinite(value)):
            raise NoLabel(f"a {type(value).__name__} is not a finite label of kind {kind!r}")
    return label


def label_of(policy: Policy, entry: Entry, kind: str) -> Label | None:
    """Give the label of an entry; None also where the policy fails, which the model's fold counts."""
    try:
        return checked_label(policy, entry, kind)
    except BaseException as error:
        if not is_own(error):
            raise
        return None


def _corrected(entry: Entry, before: Value) -> Label | None:
    value = entry.outcome.value if entry.outcome else None
    return None if value == before else Label(value, before)


@dataclass(frozen=True, slots=True)
class OnArrival:
    """The label is the outcome's value, whenever it comes, late or not; silence teaches nothing."""

    def label(self, entry: Entry) -> Label | None:
        """See `Policy.label`."""
        return None if entry.outcome is None else _corrected(entry, entry.previous)


@dataclass(frozen=True, slots=True)
class DefaultAtHorizon:
    """Silence until the horizon means `value`; what comes after it changes nothing.

    Parameters
    ----------
    value
        The label of a request without an outcome in time, for example False: not cancelled in 30 days.
    """

    value: bool | float | str = False

    def label(self, entry: Entry) -> Label | None:
        """See `Policy.label`."""
        if entry.kind == "expired" or (entry.kind == "backfill" and entry.outcome is None):
            return Label(self.value)
        # What follows an expiry, however often it is corrected, says what made it late, and gave no label.
        if entry.late_by is not None or entry.outcome is None:
            return None
        return _corrected(entry, entry.previous)


def is_plain(policy: object) -> bool:
    """Whether a first label in time is the outcome's value, and silence means what `silent` says."""
    return type(policy) is OnArrival or (
        type(policy) is DefaultAtHorizon and type(policy.value) in {bool, int, float, str}
    )


def silent(policy: object) -> bool | float | str | None:
    """Return what silence until the horizon means under a plain policy; None: nothing.

    Examples
    --------
    >>> silent(DefaultAtHorizon(False))
    False
    """
    return policy.value if isinstance(policy, DefaultAtHorizon) else None
