"""Tokens for personal data: a keyed hash stands for the value; without the key it means nothing."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.dictionary import Dictionary, Feature
from schemas.errors import TaskError
from schemas.readers import Convert, FeaturePlan
from schemas.records import FeatureValue

TOKEN_LENGTH: Final = 32
"""Hex digits: 128 bits of HMAC-SHA256."""


def token(key: bytes, feature: str, value: str) -> str:
    """Give the token of a value; equal values of two features have different tokens.

    Examples
    --------
    >>> token(b"key", "Guest", "Ada Lovelace")
    'eb8d5e33fffd413af6f7cfde02719c75'
    """
    return hmac.digest(key, f"{feature}\0{value}".encode(), "sha256").hex()[:TOKEN_LENGTH]


def request_plan(dictionary: Dictionary, key: bytes | None) -> FeaturePlan:
    """Give how the features of requests become canonical: ranges and levels may refuse, tokens are put in."""
    convert = {each.name: _convert(each, key) for each in dictionary}
    return FeaturePlan(convert, frozenset(each.name for each in dictionary if each.refuses or _hashed(each)))


def stored_plan(dictionary: Dictionary) -> FeaturePlan:
    """Give how the features of predictions and entries are read: as they were stored."""
    return FeaturePlan({each.name: each.canonical for each in dictionary.stored()})


def request_canonical(
    dictionary: Dictionary, key: bytes | None, *, serving: bool = True
) -> Callable[[Mapping[str, Any]], dict[str, FeatureValue]]:
    """Give what makes a request's canonical features, with tokens put in, of its values as they were sent.

    Parameters
    ----------
    dictionary
        The task's features.
    key
        The key of the tokens.
    serving
        Whether a missing key is an error now, or only when a request is read.

    Raises
    ------
    TaskError
        Without the key that the dictionary needs.
    """
    hashed = {each.name: _convert(each, key) for each in dictionary if _hashed(each)}
    if not hashed:
        return dictionary.canonical
    if key is None and serving:
        raise _no_key(next(iter(hashed)))

    def canonical(values: Mapping[str, Any]) -> dict[str, FeatureValue]:
        found = dictionary.canonical(values)
        for name, convert in hashed.items():
            value = convert(values.get(name))
            if value is not None:
                found[name] = value
        return found

    return canonical


def _hashed(feature: Feature) -> bool:
    return feature.personal_data == "tokenised"


def _convert(feature: Feature, key: bytes | None) -> Convert:
    """Give what makes a feature's canonical form and then its token; `missing` stays what it is."""
    if not _hashed(feature):
        return feature.canonical

    def convert(value: Any) -> FeatureValue | None:
        found = feature.canonical(value)
        if found is None or found == feature.missing:
            return found
        if key is None:
            raise _no_key(feature.name)
        return token(key, feature.name, str(found))

    return convert


def _no_key(name: str) -> TaskError:
    return TaskError(f"feature {name} is tokenised, so requests can be read only with a token key")
