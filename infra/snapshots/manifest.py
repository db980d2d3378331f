"""The JSON files of a snapshot, as they are read: anybody could have written them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from schemas.records import Manifest

MAX_TIME: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, ms since 1970-01-01 UTC."""


def read_manifest(data: Any) -> Manifest:
    """Read a manifest: it has the fields of one, each of its type, and no other, which nothing would sign.

    Raises
    ------
    ValueError
        Naming the field.
    """
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    known = {field.name: field for field in fields(Manifest)}
    if foreign := sorted(data.keys() - known.keys()):
        raise ValueError(f"{ascii(foreign[0])[:100]} is not a field of a manifest")
    if missing := [name for name, field in known.items() if name not in data and field.default is MISSING]:
        raise ValueError(f"{missing[0]} is missing")
    for name, value in data.items():
        kind = str(known[name].type)
        if not _FITS.get(kind, _is_text)(value):
            raise ValueError(f"{name} is not of type {kind}")
    if data["kind"] not in {"model", "metrics"} or not 0 <= data["created_at"] <= MAX_TIME:
        raise ValueError("its kind or time is invalid")
    return Manifest(**data | {"parents": tuple(data["parents"])})


def read_probes(data: Any) -> list[dict[str, Any]]:
    """Read probes: a list of features, scores and labels.

    Raises
    ------
    ValueError
        When it is anything else.
    """
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise ValueError("it is not a list of probes")
    if any(each.keys() != _PROBE or not isinstance(each["features"], dict) for each in data):
        raise ValueError("a probe must have features, a score and a label")
    return data


_PROBE: Final = {"features", "score", "label"}


def _is_text(value: Any) -> bool:
    # A lone surrogate can be neither signed nor printed.
    return isinstance(value, str) and value.encode("utf-8", "replace") == value.encode(
        "utf-8", "surrogatepass"
    )


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


_FITS: Final[Mapping[str, Any]] = {
    "int": lambda value: type(value) is int and -1 <= value < 2**53,
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "Mapping[str, str]": lambda value: (
        isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))
    ),
    "Mapping[str, float]": lambda value: (
        isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_number, value.values()))
    ),
}
"""Checks of a field's value by the type that is written for it; all others are text."""
