"""The state of a model as snapshots hold it: plain values beside the River estimators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from river import base

from schemas.errors import SnapshotError
from streams import skipped
from streams.roles import Roles
from streams.snapshot.read import load
from streams.task_model import Model
from streams.version import Version


@dataclass(frozen=True, slots=True)
class Frozen:
    """What answers while a model is frozen, beside what goes on learning."""

    version: Version
    offset: int
    """Of the command."""
    since: int
    """The log offset after which it has learned nothing: of the command, or of an older version."""
    learned: int
    failures: Mapping[str, Any]
    """See `Learner.snapshot`."""
    estimator: base.Estimator
    data: bytes
    """The estimator in the form of snapshots."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model's state at a version, as plain values beside the River estimators."""

    version: str
    """Of the estimator that learns."""
    learned: int
    next_offset: int
    failures: Mapping[str, Any]
    """What the model has skipped, and whether it has stopped learning; see `Learner.snapshot`."""
    roles: Mapping[str, Any]
    """Of all models of the task; see `Roles.snapshot`."""
    left_out: tuple[tuple[int, int], ...]
    """Log offsets, first and last, that it has left out by command."""
    frozen: Frozen | None
    estimator: base.Estimator

    def values(self) -> tuple[Any, ...]:
        """Return what `streams.snapshot.dump` writes."""
        frozen = self.frozen
        kept = None
        if frozen is not None:
            kept = [
                str(frozen.version),
                frozen.offset,
                frozen.since,
                frozen.learned,
                dict(frozen.failures),
                frozen.data,
            ]
        plain = (self.version, self.learned, self.next_offset)
        intervals = [list(each) for each in self.left_out]
        return (*plain, dict(self.failures), dict(self.roles), intervals, kept, self.estimator)

    @classmethod
    def load(cls, data: bytes, model: Model, classes: Iterable[type] = ()) -> Self:
        """Read what `values` gave, after `dump`, into freshly built estimators of a model.

        Raises
        ------
        SnapshotError
            When it is not a state of this model.
        """
        fresh = model.make()
        values = load(data, (None,) * 7 + (fresh,), classes)
        if type(values) is not tuple or len(values) != 8 or values[7] is not fresh:
            raise SnapshotError("it is not the state of a model")
        version, learned, next_offset, failures, roles, intervals, kept, _ = values
        plain = (version, learned, next_offset)
        fits = skipped.is_state(failures) and Roles.is_state(roles) and _are_intervals(intervals)
        if not fits or [type(each) for each in plain] != [str, int, int]:
            raise SnapshotError("it does not have the form of a model's state")
        left_out = tuple((first, last) for first, last in intervals)
        return cls(*plain, failures, roles, left_out, _thawed(kept, model, classes), fresh)


def _thawed(kept: Any, model: Model, classes: Iterable[type]) -> Frozen | None:
    if kept is None:
        return None
    types = [str, int, int, int, dict, bytes]
    if type(kept) is not list or [type(each) for each in kept] != types or not skipped.is_state(kept[4]):
        raise SnapshotError("it does not have the form of a frozen model's state")
    version, offset, since, learned, failures, data = kept
    fresh = model.make()
    if load(data, fresh, classes) is not fresh:
        raise SnapshotError("what is frozen is not the state of the model")
    return Frozen(Version.parse(version), offset, since, learned, failures, fresh, data)


def intervals_text(intervals: Iterable[tuple[int, int]]) -> str:
    """Return intervals of log offsets as text.

    Examples
    --------
    >>> intervals_text([(3, 7), (11, 11)])
    '3..7,11..11'
    """
    return ",".join(f"{first}..{last}" for first, last in intervals)


def _are_intervals(values: Any) -> bool:
    return type(values) is list and all(
        type(each) is list and [type(one) for one in each] == [int, int] for each in values
    )
