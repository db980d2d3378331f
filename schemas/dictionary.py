"""The data dictionary of a task: what its features are, and the one canonical form of their values.

Everything that enters, from JSON, Avro or a data file, becomes canonical here, once: types, order, missing
values, -0.0 and NaN. Scores are made from that form and it is the form that is stored, so that JSON `1` and
Avro `1.0` give one score, live and in a replay years later.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, get_args

from schemas.errors import BadRecord, TaskError
from schemas.features import MAX_TEXT, Boolean, Category, Feature, Integer, Number, PersonalData
from schemas.near import sent_as
from schemas.records import FeatureValue

__all__ = [
    "MAX_TEXT",
    "Boolean",
    "Category",
    "Dictionary",
    "Feature",
    "Integer",
    "Number",
    "PersonalData",
    "subset",
]

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The features of a task, in the order in which models see them.

    Parameters
    ----------
    entity_key, parents, reporter
        What is kept of these fields of requests and outcomes, which may name a person: `left_out`; `tokenised`,
        a keyed hash; `none`, as they were sent, where they never name one. Models never see them.
    added
        Names of the features that a request does not carry: serving adds them, and predictions have them all.
        A task names those of its look-ups here by itself.
    """

    features: tuple[Feature, ...]
    by_name: Mapping[str, Feature] = field(init=False, repr=False, compare=False)
    entity_key: PersonalData = "left_out"
    parents: PersonalData = "left_out"
    reporter: PersonalData = "left_out"
    added: tuple[str, ...] = ()

    def __init__(
        self,
        *features: Feature,
        entity_key: PersonalData = "left_out",
        parents: PersonalData = "left_out",
        reporter: PersonalData = "left_out",
        added: Iterable[str] = (),
    ) -> None:
        for name, personal in (("entity_key", entity_key), ("parents", parents), ("reporter", reporter)):
            if personal not in get_args(PersonalData):
                allowed = ", ".join(get_args(PersonalData))
                raise TaskError(f"the dictionary has {name}={personal!r}; it must be one of {allowed}")
            object.__setattr__(self, name, personal)
        object.__setattr__(self, "features", tuple(_checked(each) for each in features))
        object.__setattr__(self, "by_name", {each.name: each for each in self.features})
        if not features:
            raise TaskError("a dictionary needs at least one feature")
        if len(self.by_name) != len(features):
            names = [each.name for each in features]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise TaskError(f"the dictionary names {', '.join(twice)} twice")
        object.__setattr__(self, "added", self._checked_added(added))

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(each.name for each in self.features)

    def canonical(self, values: Mapping[str, Any]) -> dict[str, FeatureValue]:
        """Return the canonical features: in order, typed, missing ones without a key.

        Keys outside the dictionary are skipped, as Avro does with a newer writer's fields.

        Raises
        ------
        BadRecord
            Naming the first feature at fault.
        """
        out: dict[str, FeatureValue] = {}
        for name, feature in self.by_name.items():
            if feature.personal_data == "left_out":
                continue
            try:
                value = feature.canonical(values.get(name))
            except BadRecord as bad:
                if bad.reason != "missing_field":
                    raise
                near = sent_as(name, values, self.by_name)
                raise BadRecord(bad.reason, bad.message + near, bad.field) from None
            if value is not None:
                out[name] = value
        return out

    # ------------------------------------------------------------------ what requests do not carry

    def adding(self, names: Iterable[str]) -> Dictionary:
        """Return the same dictionary, where serving adds these features as well.

        Raises
        ------
        TaskError
            For a name that it does not have, or a feature that cannot be added.
        """
        return self._with(self.features, dict.fromkeys((*self.added, *names)))

    def and_added(self, feature: Feature) -> Dictionary:
        """Return the dictionary with one more feature at its end, which serving adds.

        Raises
        ------
        TaskError
            For a feature that cannot be added.
        """
        return self._with((*self.features, feature), (*self.added, feature.name))

    @property
    def asked(self) -> Dictionary:
        """The dictionary of what a request carries: without the features that serving adds."""
        if not self.added:
            return self
        return self._with(each for each in self.features if each.name not in self.added)

    def complete(self, asked: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, FeatureValue]:
        """Return all features in order: those of a request, and those that serving adds in canonical form.

        Parameters
        ----------
        asked
            Canonical. An added feature that lies in it already, as in a row of a data file, stays.
        added
            What serving has found; what is absent or None is missing, as the dictionary says.

        Raises
        ------
        BadRecord
            `missing_field`, `wrong_type` or `out_of_range`, naming the first added feature at fault.

        Examples
        --------
        >>> dictionary = Dictionary(Number(name="price"), Integer(name="orders", missing=0), added=["orders"])
        >>> dictionary.complete({"price": 3.0}, {"orders": 2.0})
        {'price': 3.0, 'orders': 2}
        >>> dictionary.complete({"price": 3.0}, {})
        {'price': 3.0, 'orders': 0}
        """
        out: dict[str, FeatureValue] = {}
        for name, feature in self.by_name.items():
            value = asked.get(name)
            if value is None and name in self.added:
                value = feature.canonical(added.get(name))
            if value is not None:
                out[name] = value
        return out

    def _checked_added(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        for name in sorted(wanted):
            feature = self.by_name.get(name)
            if feature is None:
                known = ", ".join(self.by_name)
                raise TaskError(f"serving is to add {name!r}, which the dictionary does not have ({known})")
            if feature.personal_data != "none":
                raise TaskError(
                    f"feature {name} has personal_data={feature.personal_data!r}; what serving adds cannot be "
                    "personal data: let its source hold a token"
                )
        if len(wanted) == len(self.features):
            raise TaskError("a request must carry at least one feature; serving adds all of the dictionary's")
        return tuple(each for each in self.by_name if each in wanted)

    # ------------------------------------------------------------------ what is stored

    def stored(self) -> Dictionary:
        """Return the dictionary that stored features follow: without what is left out, and rejecting no value.

        What was served stays readable when ranges and levels change later, and tokens are no levels.
        """
        kept = (each for each in self.features if each.personal_data != "left_out")
        return self._with(each.lenient() for each in kept)

    def past(self) -> Dictionary:
        """Return the dictionary for features stored under an older one: what they lack stays missing."""
        return self._with(replace(each, optional=True, missing=None) for each in self.stored())

    def _with(self, features: Iterable[Feature], added: Iterable[str] = ()) -> Dictionary:
        return Dictionary(
            *features,
            entity_key=self.entity_key,
            parents=self.parents,
            reporter=self.reporter,
            added=added,
        )

    @property
    def tokenised(self) -> tuple[str, ...]:
        """What is stored as a token: names of features and of fields."""
        fields_ = ("entity_key", "parents", "reporter")
        return tuple(each.name for each in self.features if each.personal_data == "tokenised") + tuple(
            name for name in fields_ if getattr(self, name) == "tokenised"
        )

    def parse(self, cells: Mapping[str, str]) -> dict[str, Any]:
        """Read the features' values from the cells of a text file's row; an empty cell is missing."""
        out: dict[str, Any] = {}
        for each in self.features:
            text = cells.get(each.column or each.name)
            if text is None or text == "":
                continue
            try:
                out[each.name] = each.parse(text)
            except ValueError:
                out[each.name] = text  # `canonical` names the feature and what it should have been
        return out

    def describe(self) -> list[dict[str, Any]]:
        """Return each feature as plain data, for digests, exports and pages."""
        return [
            {"type": each.word}
            | {f.name: getattr(each, f.name) for f in fields(each) if f.name not in {"column"}}
            for each in self.features
        ]

    @property
    def digest(self) -> str:
        """Digest of what decides the canonical form (16 hex digits); owners and purposes do not count."""
        telling = ("name", "type", "optional", "missing", "personal_data", "on_range", "on_new_level")
        described = [{k: v for k, v in each.items() if k in telling} for each in self.describe()]
        return hashlib.sha256(json.dumps(described, sort_keys=True, default=list).encode()).hexdigest()[:16]


def _checked(feature: Feature) -> Feature:
    """Reject a feature that cannot be; give it with its `missing` in canonical form."""
    name = feature.name
    if not NAME.match(name):
        raise TaskError(
            f"feature {name!r}: a name must consist of letters, digits and _, and not start with a digit "
            "(set column= to the name in a data file)"
        )
    if feature.personal_data == "tokenised" and not isinstance(feature, Category):
        raise TaskError(f"feature {name}: only a category can be tokenised, not a {feature.word}")
    if feature.max_missing is not None and not 0 <= feature.max_missing <= 1:
        raise TaskError(f"feature {name}: max_missing={feature.max_missing} must be from 0 to 1")
    if feature.stale_after_s is not None and feature.stale_after_s <= 0:
        raise TaskError(f"feature {name}: stale_after_s={feature.stale_after_s} must be positive")
    if feature.missing is None:
        return feature
    try:
        missing = feature.lenient().convert(feature.missing)
    except BadRecord:
        missing = None
    if missing is None:
        raise TaskError(f"feature {name}: missing={feature.missing!r} is not a value of type {feature.word}")
    return replace(feature, missing=missing)


def subset(features: Iterable[Feature], word: type[Feature]) -> tuple[str, ...]:
    """Names of the features of one type, in order: handy in a task file."""
    return tuple(each.name for each in features if isinstance(each, word))
