"""The JSON files of a snapshot, as they are read: anybody could have written them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from schemas.records import Manifest

MAX_TIME: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, ms since 1970-01-01 UTC."""


def read_manifest(told: Any) -> Manifest:
    """Read a manifest: it has the fields of one, each of its type, and no other, which nothing would sign.

    Raises
    ------
    ValueError
        Naming the field.
    """
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    known = {field.name: field for field in fields(Manifest)}
    if foreign := sorted(told.keys() - known.keys()):
        raise ValueError(f"{ascii(foreign[0])[:100]} is no field of a manifest")
    if missing := [name for name, field in known.items() if name not in told and field.default is MISSING]:
        raise ValueError(f"{missing[0]} is missing")
    for name, value in told.items():
        kind = str(known[name].type)
        if not _FITS.get(kind, _is_text)(value):
            raise ValueError(f"{name} is not of type {kind}")
    if told["kind"] not in {"model", "metrics"} or not 0 <= told["created_at"] <= MAX_TIME:
        raise ValueError("its kind or its time is none")
    return Manifest(**told | {"parents": tuple(told["parents"])})


def read_probes(told: Any) -> list[dict[str, Any]]:
    """Read probes: a list of features, scores and labels.

    Raises
    ------
    ValueError
        When it is anything else.
    """
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise ValueError("it is no list of probes")
    if any(each.keys() != _PROBE or not isinstance(each["features"], dict) for each in told):
        raise ValueError("a probe has features, a score and a label")
    return told


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
