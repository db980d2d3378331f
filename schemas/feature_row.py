"""Records of `T.features`: what is known of an entity since when, as JSON, whatever the task's dictionary says.

A record holds a whole row: what it does not name is missing from then on. Its key names view and entity, so that
compaction keeps the newest record of each row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.codec import json_form
from schemas.codec.checks import check_ts
from schemas.errors import BadRecord
from schemas.features import INT64, MAX_TEXT
from schemas.immutable import record
from schemas.limits import NAME
from schemas.records import FeatureValue

MOST_KEYS: Final = 8
"""Join keys of an entity."""
MOST_VALUES: Final = 1_000
"""Values of a row."""


class RowKey(NamedTuple):
    """Whose row it is."""

    view: str
    """The group of features that come from one source: Feast's feature view."""
    entity: tuple[tuple[str, str | int], ...]
    """Join keys with their values, by name."""

    @classmethod
    def of(cls, view: str, entity: Mapping[str, str | int]) -> RowKey:
        """Make one of an entity's join keys in any order."""
        return cls(view, tuple(sorted(entity.items())))

    def __str__(self) -> str:
        return f"{self.view}[{', '.join(f'{name}={value}' for name, value in self.entity)}]"


@record(frozen=True, slots=True)
class FeatureRow:
    """What is known of an entity."""

    key: RowKey
    ts: int
    """Event time: since when it holds (ms)."""
    values: Mapping[str, FeatureValue]
    """By name; others are missing."""


def encode_key(key: RowKey) -> bytes:
    """Write the key of a record.

    Examples
    --------
    >>> encode_key(RowKey.of("customer", {"customer_id": "c-7"}))
    b'["customer",{"customer_id":"c-7"}]'
    """
    return _dump([key.view, dict(key.entity)])


def decode_key(data: bytes | None) -> RowKey:
    """Read the key of a record.

    Raises
    ------
    BadRecord
        `malformed`, `wrong_type` or `out_of_range`.
    """
    found = json_form.load(data or b"")
    if not isinstance(found, list) or len(found) != 2:
        raise BadRecord("malformed", "the key must be [VIEW, {JOIN KEY: VALUE}]", "key")
    return _key(*found)


def encode_row(row: FeatureRow) -> bytes:
    """Write a record.

    Examples
    --------
    >>> row = FeatureRow(RowKey.of("customer", {"customer_id": "c-7"}), 1_700_000_000_000, {"orders": 4})
    >>> encode_row(row)
    b'{"view":"customer","entity":{"customer_id":"c-7"},"ts":1700000000000,"values":{"orders":4}}'
    >>> decode_row(encode_row(row)) == row
    True
    """
    entity, values = dict(row.key.entity), dict(row.values)
    return _dump({"view": row.key.view, "entity": entity, "ts": row.ts, "values": values})


def decode_row(data: bytes) -> FeatureRow:
    """Read a record.

    Raises
    ------
    BadRecord
        Naming the field at fault.
    """
    found = json_form.parse(data)
    for name in ("view", "entity", "ts", "values"):
        if found.get(name) is None:
            raise BadRecord("missing_field", f"{name} is required", name)
    key, ts, values = _key(found["view"], found["entity"]), found["ts"], found["values"]
    if type(ts) is not int:
        raise BadRecord("wrong_type", "ts must be a whole number of ms since 1970-01-01 UTC", "ts")
    check_ts(ts)
    if not isinstance(values, dict):
        raise BadRecord("wrong_type", "values must be an object", "values")
    if len(values) > MOST_VALUES:
        raise BadRecord(
            "out_of_range",
            f"values must have at most {MOST_VALUES:,} features, not {len(values):,}",
            "values",
        )
    return FeatureRow(
        key, ts, {name: _value(name, each) for name, each in values.items() if each is not None}
    )


def _key(view: Any, entity: Any) -> RowKey:
    if not isinstance(view, str) or not 0 < len(view) <= NAME.characters:
        raise BadRecord("wrong_type", f"view must be a text of 1 to {NAME.characters} characters", "view")
    if not isinstance(entity, dict) or not 0 < len(entity) <= MOST_KEYS:
        raise BadRecord("wrong_type", f"entity must be an object of 1 to {MOST_KEYS} join keys", "entity")
    for name, value in entity.items():
        if not name or type(value) not in (str, int) or (type(value) is int and value not in INT64):
            raise BadRecord("wrong_type", "a join key must be a text or a 64-bit whole number", "entity")
        if isinstance(value, str) and not 0 < len(value) <= NAME.characters:
            raise BadRecord(
                "out_of_range", f"a join key must have 1 to {NAME.characters} characters", "entity"
            )
    return RowKey.of(view, entity)


def _value(name: str, value: Any) -> FeatureValue:
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if isinstance(value, bool | float) or (isinstance(value, int) and value in INT64):
        return value
    raise BadRecord(
        "wrong_type", f"values.{name:.60} must be a number, a boolean or a text", f"values.{name:.60}"
    )


def _dump(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
