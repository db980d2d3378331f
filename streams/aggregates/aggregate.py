"""What a task file says of an aggregate, and which feature it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeGuard, get_args

from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number
from schemas.errors import TaskError
from schemas.records import FeatureValue

How = Literal["count", "sum", "mean", "distinct", "last"]
ENTITY_KEY: Final = "entity_key"
"""`by` of requests that name their entity outside the features."""
LATENESS: Final = timedelta(days=1)
"""How late a request may come, by default."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A number about the earlier requests of the same entity, in a window of event time.

    It is computed where a request is scored, and becomes a feature of the prediction. The window of a request at
    time t is [t - window, t), so that a request sees neither itself nor one of the same time.

    Parameters
    ----------
    name
        The feature's name.
    by
        The feature that names the entity, a category or an integer; or `entity_key`, the field of requests.
    window
        Length of the window.
    how
        `count`, `sum`, `mean`, `distinct` (number of different values) or `last` (the newest value).
    value
        The feature that is aggregated; empty, for `count`: requests are counted.
    of
        Whose values: `request`, those of earlier requests.
    missing
        A value that stands for one that does not exist: a mean or a last value of nothing, any aggregate of a
        request without an entity, or of one that came too late. None: the feature is missing then.
    unit, owner, purpose, watch
        As of every feature.

    Examples
    --------
    >>> Aggregate("orders_7d", by="customer", window=timedelta(days=7), how="count").window_ms
    604800000
    """

    name: str
    _: KW_ONLY
    by: str
    window: timedelta
    how: How
    value: str = ""
    of: Literal["request"] = "request"
    missing: FeatureValue | None = None
    unit: str = ""
    owner: str = ""
    purpose: str = ""
    watch: bool = True

    @property
    def window_ms(self) -> int:
        """Length of the window in ms."""
        return self.window // timedelta(milliseconds=1)

    def feature(self, carried: Dictionary) -> Feature:
        """Return the feature that it becomes, beside those that requests carry."""
        about: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "optional": True,
            "missing": self.missing,
            "owner": self.owner,
            "purpose": self.purpose,
            "watch": self.watch,
        }
        if self.how in ("count", "distinct"):
            return Integer(low=0, **about)
        if self.how == "last":
            of = carried.by_name[self.value]
            return replace(of.lenient(), column="", max_missing=None, stale_after_s=None, **about)
        return Number(**about)

    def described(self) -> str:
        """Return what decides its values, as a text."""
        return f"{self.name} {self.of} {self.by} {self.window_ms} {self.how} {self.value} {self.missing!r}"


def with_aggregates(features: Dictionary, aggregates: object, where: str) -> Dictionary:
    """Return a task's dictionary with the features of its aggregates, those that it does not have yet at its end.

    Parameters
    ----------
    features
        It may declare the feature of an aggregate itself: for its range, or its place among the others.
    where
        Names the task in messages.

    Raises
    ------
    TaskError
        Naming the first aggregate that cannot be.
    """
    if aggregates == ():
        return features
    named = (
        {each.name for each in aggregates if isinstance(each, Aggregate)} if _several(aggregates) else set()
    )
    carried = features.adding(named & features.by_name.keys()).asked
    _check(aggregates, carried, where)
    assert isinstance(aggregates, tuple | list)
    for each in aggregates:
        made, own = each.feature(carried), features.by_name.get(each.name)
        if own is not None and type(own) is not type(made):
            raise TaskError(
                f"{where}, aggregate {each.name!r}: the dictionary has a {own.word} of that name, but it is "
                f"a{'n' if made.word[0] in 'aeiou' else ''} {made.word}"
            )
        if own is None:
            features = features.and_added(made)
    return features.adding(named)


def _several(aggregates: object) -> TypeGuard[Sequence[object]]:
    return isinstance(aggregates, tuple | list)


def _check(aggregates: object, carried: Dictionary, where: str) -> None:
    if not isinstance(aggregates, tuple | list):
        raise TaskError(f"{where}: aggregates= must be a tuple of Aggregate(...)")
    for each in aggregates:
        if not isinstance(each, Aggregate):
            raise TaskError(f"{where}: aggregates= holds a {type(each).__name__}, not an Aggregate(...)")
        for problem in _problems(each, carried):
            raise TaskError(f"{where}, aggregate {each.name!r}: {problem}")
    names = [each.name for each in aggregates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TaskError(f"{where}: two aggregates have the same name ({', '.join(twice)})")
    entities = sorted({each.by for each in aggregates})
    if len(entities) > 1:
        raise TaskError(
            f"{where}: aggregates= are by {' and by '.join(entities)}; those of a task must be by the same "
            "feature, since it decides on which partition a request lies"
        )


def _problems(aggregate: Aggregate, carried: Dictionary) -> Iterator[str]:
    window: object = aggregate.window
    if aggregate.of != "request":
        yield f"of={aggregate.of!r} must be 'request'"
    if aggregate.how not in get_args(How):
        yield f"how={aggregate.how!r} is not one of {', '.join(get_args(How))}"
    if not isinstance(window, timedelta) or window < timedelta(milliseconds=1):
        yield f"window={window!r} must be a timedelta of a millisecond or more"
    if aggregate.by == ENTITY_KEY:
        if carried.entity_key == "left_out":
            yield "by='entity_key' is left out of what is stored: set entity_key= of the Dictionary"
    else:
        yield from _wrong("by", aggregate.by, carried, (Category, Integer))
    value = carried.by_name.get(aggregate.value)
    if aggregate.how == "last" and value is not None and value.personal_data != "none":
        yield f"value={aggregate.value!r} is personal data, of which the last value cannot be a feature"
    if not aggregate.value:
        if aggregate.how != "count":
            yield f"how={aggregate.how!r} needs value=, the feature that is aggregated"
        return
    numbers = aggregate.how in ("sum", "mean")
    types = (Number, Integer, Boolean) if numbers else (Number, Integer, Boolean, Category)
    yield from _wrong("value", aggregate.value, carried, types)


def _wrong(name: str, feature: str, carried: Dictionary, types: Sequence[type[Feature]]) -> Iterator[str]:
    found = carried.by_name.get(feature)
    if found is None:
        yield f"{name}={feature!r} is not a feature that requests carry ({', '.join(carried.names)})"
    elif not isinstance(found, tuple(types)):
        yield f"{name}={feature!r} is a {found.word}, but must be {' or '.join(each.word for each in types)}"
    elif found.personal_data == "left_out":
        yield f"{name}={feature!r} is left out of what is stored; personal_data='tokenised' keeps it as a token"


def values_of(aggregates: Iterable[Aggregate]) -> tuple[str, ...]:
    """Return the features whose values are kept, in order."""
    return tuple(sorted({each.value for each in aggregates if each.value}))
