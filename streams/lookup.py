"""Look-ups: features that serving reads by the key of an entity, and how they are merged into a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from schemas.dictionary import Category, Dictionary, Integer
from schemas.errors import BadRecord, TaskError
from schemas.feature_row import FeatureRow, RowKey
from schemas.immutable import record
from schemas.records import FeatureValue, Request

ENTITY_KEY: Final = "entity_key"
MAX_TIMEOUT_MS: Final = 1_000
LONGEST: Final = 200
"""Characters of a key's value, as of an entity key."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Features of one source, read by the key of an entity that a request names.

    Parameters
    ----------
    view
        The source's name in the store: Feast's feature view.
    key
        The join key, which is also the name of a category or integer that requests carry. A mapping from join keys
        to such names where they differ or there are several; `entity_key` stands for the request's entity key.
    features
        Names in the dictionary; a mapping from them to names in the store where these differ.
    timeout_ms
        How long serving waits for the store, 1 to 1,000 ms. One read serves all look-ups of a task, and waits for
        the longest of these.
    required
        Whether a request without the entity's row is rejected with `lookup_failed`. Else the dictionary says what a
        missing feature is.
    max_age
        How old a row may be at the request's time; an older one counts as missing. None: any age.
    """

    view: str
    key: str | Mapping[str, str]
    features: tuple[str, ...] | Mapping[str, str]
    timeout_ms: int = 20
    required: bool = False
    max_age: timedelta | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Join keys, and the names of what requests carry."""
        return {self.key: self.key} if isinstance(self.key, str) else dict(self.key)

    @property
    def names(self) -> dict[str, str]:
        """Names in the dictionary, and names in the store."""
        if isinstance(self.features, Mapping):
            return dict(self.features)
        return {name: name for name in self.features}

    def problems(self, dictionary: Dictionary) -> Iterable[str]:
        """Yield what is wrong with it, for a dictionary that adds its features."""
        if not self.view:
            yield "needs the name of a view"
        if not self.names:
            yield "needs at least one feature"
        timeout: object = self.timeout_ms
        if type(timeout) is not int or not 1 <= timeout <= MAX_TIMEOUT_MS:
            yield f"timeout_ms={timeout!r} must be a whole number from 1 to {MAX_TIMEOUT_MS:,}"
        age: object = self.max_age
        if age is not None and (not isinstance(age, timedelta) or age <= timedelta(0)):
            yield f"max_age={age!r} must be a positive timedelta"
        if not self.keys:
            yield "needs a key"
        for name in self.keys.values():
            feature = dictionary.asked.by_name.get(name)
            if name == ENTITY_KEY:
                continue
            if not isinstance(feature, Category | Integer):
                yield f"key {name!r} must be {ENTITY_KEY!r}, or a category or integer that requests carry"
            elif feature.personal_data == "left_out":
                yield f"key {name!r} has personal_data='left_out', so it is not read: use {ENTITY_KEY!r}"
        for name in self.names:
            feature = dictionary.by_name[name]
            if not self.required and not feature.optional and feature.missing is None:
                yield f"feature {name} needs optional=True or missing=, or the look-up required=True"


def adding(dictionary: Dictionary, lookups: object, where: str) -> Dictionary:
    """Return a task's dictionary with the features of its look-ups as those that serving adds.

    Raises
    ------
    TaskError
        Naming the look-up at fault.
    """
    if not isinstance(lookups, tuple | list):
        raise TaskError(f"{where}: lookup= must be a tuple of Lookup(...), not {type(lookups).__name__}")
    if not lookups:
        return dictionary
    names: list[str] = []
    for each in lookups:
        if not isinstance(each, Lookup):
            raise TaskError(f"{where}: lookup= holds a {type(each).__name__}, not a Lookup(...)")
        if twice := sorted(set(names) & set(each.names)):
            raise TaskError(f"{where}: two look-ups have the feature {twice[0]}")
        names += each.names
    try:
        found = dictionary.adding(names)
    except TaskError as error:
        raise TaskError(f"{where}: lookup=: {error}") from None
    for each in lookups:
        for problem in each.problems(found):
            raise TaskError(f"{where}: Lookup({each.view!r}) {problem}")
    return found


@record(frozen=True, slots=True)
class KeyedRequest(Request):
    """A request with the keys of its look-ups, which may not be stored."""

    keys: tuple[RowKey | None, ...] = ()
    """By look-up; None where the request does not name the entity."""
    failed: str = ""
    """Why it is rejected; empty: it is not."""


class Lookups:
    """Says what the look-ups of a task read for a request, and merges what was read.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> dictionary = Dictionary(Category(name="customer"), Integer(name="orders", missing=0), added=["orders"])
    >>> lookups = Lookups([Lookup("buyers", "customer", ("orders",))], dictionary)
    >>> request = Request("r-1", 1_700_000_000_000, {"customer": "c-7"})
    >>> keyed = lookups.keyed(request, request)
    >>> key = keyed.keys[0]
    >>> print(key)
    buyers[customer=c-7]
    >>> lookups.merged(keyed, {key: FeatureRow(key, 1_699_999_999_000, {"orders": 4})}, Counter()).features
    {'customer': 'c-7', 'orders': 4}
    """

    def __init__(self, lookups: Sequence[Lookup], dictionary: Dictionary) -> None:
        self._lookups, self._dictionary = tuple(lookups), dictionary
        self.timeout_s = max((each.timeout_ms for each in lookups), default=0) / 1000
        """How long a read may take."""
        names: dict[str, dict[str, None]] = {}
        for each in lookups:
            names.setdefault(each.view, {}).update(dict.fromkeys(each.names.values()))
        self.names = {view: tuple(each) for view, each in names.items()}
        """By view: names in the store."""

    def keyed(self, sent: Request, stored: Request) -> KeyedRequest:
        """Return a request with the keys of its look-ups.

        Parameters
        ----------
        sent
            As it was sent, with personal data in plain: the store has them, too.
        stored
            As it is stored.
        """
        names = (stored.request_id, stored.ts, stored.features, stored.entity_key, stored.parents)
        return KeyedRequest(*names, tuple(self._key(each, sent) for each in self._lookups))

    def merged(
        self, request: Request, rows: Mapping[RowKey, FeatureRow | None], counts: Counter[str]
    ) -> Request:
        """Return a request with what was read for it; `Dictionary.complete` puts it in order.

        Parameters
        ----------
        rows
            By key, None where the store has none; a key that was not read in time is absent.
        counts
            Look-ups are counted here, by outcome: `lookups`, and of these `lookups_missing`, `lookups_late`,
            `lookups_invalid`.
        """
        if not isinstance(request, KeyedRequest):
            return request
        found: dict[str, FeatureValue] = {}
        failed = ""
        for lookup, key in zip(self._lookups, request.keys, strict=True):
            counts["lookups"] += 1
            row = None if key is None else rows.get(key)
            if key is not None and key not in rows:
                counts["lookups_late"] += 1
                why = f"{key} was not read within {self.timeout_s * 1000:g} ms"
            elif row is None or self._is_old(lookup, row, request.ts):
                counts["lookups_missing"] += 1
                what = f"the key of {lookup.view}" if key is None else str(key)
                why = f"{what} is {'too old' if row else 'not known'}"
            else:
                taken = self._values(lookup, row)
                if None in taken.values():
                    counts["lookups_invalid"] += 1
                found |= {name: value for name, value in taken.items() if value is not None}
                continue
            if lookup.required and not failed:
                failed = why
        return replace(request, features={**request.features, **found}, failed=failed)

    @staticmethod
    def check(request: Request) -> Mapping[str, FeatureValue]:
        """Reject a request without what a look-up requires; see `streams.serve.Additions`.

        Raises
        ------
        BadRecord
            `lookup_failed`.
        """
        if isinstance(request, KeyedRequest) and request.failed:
            raise BadRecord("lookup_failed", f"request {request.request_id!r}: {request.failed}")
        return {}

    @staticmethod
    def _key(lookup: Lookup, sent: Request) -> RowKey | None:
        entity: dict[str, str | int] = {}
        for join_key, name in lookup.keys.items():
            value: Any = sent.entity_key if name == ENTITY_KEY else sent.features.get(name)
            if value is None or value == "" or (isinstance(value, str) and len(value) > LONGEST):
                return None
            entity[join_key] = value
        return RowKey.of(lookup.view, entity)

    @staticmethod
    def _is_old(lookup: Lookup, row: FeatureRow, ts: int) -> bool:
        return lookup.max_age is not None and ts - row.ts > lookup.max_age // timedelta(milliseconds=1)

    def _values(self, lookup: Lookup, row: FeatureRow) -> dict[str, FeatureValue | None]:
        """Return canonical values; None for one that the dictionary rejects. What the row lacks has no key."""
        taken: dict[str, FeatureValue | None] = {}
        for name, stored in lookup.names.items():
            value = row.values.get(stored)
            if value is None:
                continue
            try:
                canonical = self._dictionary.by_name[name].convert(value)
            except BadRecord:
                taken[name] = None
                continue
            if canonical is not None:
                taken[name] = canonical
        return taken
