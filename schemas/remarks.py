"""What is odd about a record that is taken all the same: fields that nobody reads, values outside their range.

Also what is odd about its answer: it is not the served model's, or that of a model that learns no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, Literal

from schemas.dictionary import Category, Dictionary
from schemas.features import shown
from schemas.near import NAME_SHOWN
from schemas.paths import OTHER
from schemas.records import FeatureValue, Outcome, Request

MOST: Final = 5
"""Unknown fields that are remarked on in one record; each costs a search for a near name."""
REASONS: Final[Mapping[str, str]] = {
    "unknown_field": "The field is not in the contract or dictionary and is ignored.",
    "outside": "The value is outside the dictionary's range or levels; it is scored unchanged.",
}
_ALWAYS: Final = frozenset({"record"})


@dataclass(frozen=True, slots=True)
class Remark:
    """Something odd about one field."""

    reason: Literal["unknown_field", "outside", "fallback", "stopped_learning"]
    field: str
    """As the sender wrote it, cut to 60 characters; `score` where the answer itself is odd."""
    detail: str
    near: str | None = None
    """The known field that an unknown one may stand for."""

    @property
    def kind(self) -> str:
        """What it is counted as: by a name of the contract or the dictionary, never by a sender's text."""
        known = self.near if self.reason == "unknown_field" else self.field
        return f"{self.reason} {known or OTHER}"

    def plain(self) -> dict[str, str]:
        """Give it as it is answered over HTTP."""
        data = {"reason": self.reason, "field": self.field, "detail": self.detail}
        return data | ({"near": self.near} if self.near else {})


class Remarks:
    """Finds what is odd about the records of one task.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> remarks = Remarks(Dictionary(Category(name="country"), Number(name="price", low=0)))
    >>> sent = {"request_id": "a", "features": {"contry": "PT", "price": -1}}
    >>> [each.detail for each in remarks.unknown(sent)]
    ["unknown field 'features.contry' is ignored; did you mean features.country?"]
    >>> [each.detail for each in remarks.outside({"price": -1.0})]
    ['price is -1.0, outside 0 and more']
    """

    def __init__(self, dictionary: Dictionary) -> None:
        asked = dictionary.asked
        self._names = frozenset(each.name for each in asked)
        self._watched = [each for each in asked if each.personal_data == "none"]
        self._request = frozenset(Request.__slots__) | _ALWAYS
        self._outcome = frozenset(Outcome.__slots__) | _ALWAYS

    def unknown(self, sent: object) -> list[Remark]:
        """Find the unknown fields of a request as parsed from JSON; none where it is no object."""
        if not isinstance(sent, dict):
            return []
        given = sent.get("features")
        features = given if isinstance(given, dict) else {}
        if sent.keys() <= self._request and features.keys() <= self._names:
            return []  # nearly all: each request from the topic goes this way
        found = list(islice(_unknown(sent, self._request, ""), MOST))
        if features:
            found += islice(_unknown(features, self._names, "features."), MOST - len(found))
        return found

    def unknown_of_outcome(self, sent: object) -> list[Remark]:
        """Find the unknown fields of an outcome as parsed from JSON."""
        return list(islice(_unknown(sent, self._outcome, ""), MOST)) if isinstance(sent, dict) else []

    def outside(self, features: Mapping[str, FeatureValue]) -> list[Remark]:
        """Find the canonical values outside their range or levels. Personal values are left out."""
        found = []
        for each in self._watched:
            value = features.get(each.name)
            if value is None or value == each.missing or not each.outlies(value):
                continue
            if isinstance(each, Category):
                near = get_close_matches(str(value)[:NAME_SHOWN], each.levels, 1)
                wanted = "none of the levels" + (f"; did you mean {near[0]!r}?" if near else "")
                detail = f"{each.name} is {shown(value)}, {wanted}"
            else:
                detail = f"{each.name} is {shown(value)}, outside {_range(each)}"
            found.append(Remark("outside", f"features.{each.name}", detail))
        return found


def _range(feature: object) -> str:
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    if low is None or high is None:
        return f"{high} and less" if low is None else f"{low} and more"
    return f"{low} to {high}"


def _unknown(sent: Mapping[str, Any], names: Set[str], prefix: str) -> Iterator[Remark]:
    for name in sent:
        if name in names:
            continue
        near = get_close_matches(name[:NAME_SHOWN], sorted(names), 1)
        meant = f"{prefix}{near[0]}" if near else None
        path = f"{prefix}{name[:NAME_SHOWN]}"
        detail = f"unknown field {path!r} is ignored" + (f"; did you mean {meant}?" if meant else "")
        yield Remark("unknown_field", path, detail, meant)
