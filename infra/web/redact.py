"""Dead letters for people: bounded, escaped for terminals, without personal data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from schemas.codec import Codec
from schemas.dictionary import Dictionary
from schemas.errors import BadRecord
from schemas.escaped import line
from schemas.records import DeadLetter

MAX_NAME: Final = 60
MAX_FIELDS: Final = 100
"""Fields of a record that are shown."""
MAX_BYTES: Final = 256
"""Bytes that are shown of what cannot be decoded."""
KNOWN: Final = frozenset(
    {"record", "request_id", "ts", "value", "revision", "reason", "runtime", "propensity"}
)
"""Fields that are shown although the dictionary flags personal data."""
FIELDS: Final = ("entity_key", "parents", "reporter")
"""Fields of which the dictionary says, each by itself, whether they are."""


def redact(dead_letter: DeadLetter, codec: Codec) -> dict[str, Any]:
    """Return a dead letter as plain data, without personal data.

    Parameters
    ----------
    dead_letter
        The dead letter; its bytes are not trusted.
    codec
        The task's: its dictionary says which features are personal data.

    Returns
    -------
    dict
        `form` is the encoding of the record: `json`, `avro`, or `bytes` when it is undecodable. `record` has its
        fields, or a line for the bytes.

    Notes
    -----
    Where the dictionary flags any personal data, a value is shown only under a name that is known not to hold
    any; every other one, and bytes that cannot be decoded, by type and size alone. Not promised: that a service
    did not put personal data under a name that is declared to hold none.
    """
    careful = is_careful(codec.dictionary)
    try:
        form, fields = codec.reader.peek(dead_letter.value)
    except BadRecord:
        form, fields = "bytes", {}
    found: dict[str, Any] = {
        "reason": line(dead_letter.reason),
        "message": line(dead_letter.message, 500),
        "field": line(dead_letter.field),
        "source": None if dead_letter.source is None else line(str(dead_letter.source), 300),
        "arrived": dead_letter.arrived,
        "producer": None if dead_letter.producer is None else line(dead_letter.producer),
        "bytes": len(dead_letter.value or b""),
        "key": _key(dead_letter.key, fields.get("request_id"), careful),
        "form": form,
    }
    if form == "bytes":
        found["record"] = shown_bytes(dead_letter.value, careful)
    else:
        found["record"] = _record(fields, codec.dictionary, careful)
    return found


def is_careful(dictionary: Dictionary) -> bool:
    """Whether a dictionary flags any personal data."""
    return bool(dictionary.tokenised) or any(each.personal_data != "none" for each in dictionary)


def finite(value: Any) -> Any:
    """Return plain data with None in place of each number that JSON lacks.

    Examples
    --------
    >>> finite({"mean": [0.5, float("nan")]})
    {'mean': [0.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown_bytes(data: bytes | None, careful: bool) -> str:
    """Return a line for bytes: escaped text, hex, or only their number where the task has personal data."""
    if data is None:
        return "<null>"
    if careful:
        return f"<{len(data):,} bytes, hidden: undecodable, and the task has personal data>"
    more = "" if len(data) <= MAX_BYTES else f"… ({len(data):,} bytes)"
    head = data[:MAX_BYTES]
    try:
        # A character may be cut in two at the end.
        return line(head.decode("utf-8", "strict" if not more else "ignore"), MAX_BYTES) + more
    except UnicodeDecodeError:
        return head.hex(" ") + more


def _key(key: bytes | None, request_id: Any, careful: bool) -> str | None:
    if key is None:
        return None
    is_id = isinstance(request_id, str) and key == request_id.encode("utf-8", "surrogatepass")
    if careful and not is_id:
        return f"<{len(key):,} bytes>"
    return shown_bytes(key, careful=False)


def _record(fields: Mapping[str, Any], dictionary: Dictionary, careful: bool) -> dict[str, Any]:
    out = {}
    for name, value in list(fields.items())[:MAX_FIELDS]:
        if name == "features" and isinstance(value, Mapping):
            found: Any = _features(value, dictionary, careful)
        else:
            hidden = getattr(dictionary, name) != "none" if name in FIELDS else careful and name not in KNOWN
            found = _shape(value) if hidden else _value(value)
        out[line(name, MAX_NAME)] = found
    return out | _left(len(fields))


def _features(values: Mapping[str, Any], dictionary: Dictionary, careful: bool) -> dict[str, Any]:
    out = {}
    for name, value in list(values.items())[:MAX_FIELDS]:
        feature = dictionary.by_name.get(name)
        open_ = not careful if feature is None else feature.personal_data == "none"
        out[line(name, MAX_NAME)] = _value(value) if open_ else _shape(value)
    return out | _left(len(values))


def _left(count: int) -> dict[str, str]:
    return {"…": f"{count - MAX_FIELDS:,} more"} if count > MAX_FIELDS else {}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return line(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _shape(value)
    return _shape(value)


def _shape(value: Any) -> str:
    """Return type and size of a value, without its content."""
    if value is None:
        return "<null>"
    if isinstance(value, str):
        return f"<text, {len(value):,} characters>"
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, Mapping):
        return f"<object, {len(value):,} fields>"
    if isinstance(value, list | tuple):
        return f"<list of {len(value):,}>"
    return "<true or false>" if isinstance(value, bool) else "<number>"
