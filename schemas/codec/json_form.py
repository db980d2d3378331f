"""The JSON form of records: plain JSON in the shape of the Avro schema, without Avro's union tags.

Fields with a default may be left out, bytes are Base64, a field `record` may say what the record is.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from schemas.codec.avro_form import RECORDS, file_name
from schemas.errors import BadRecord
from schemas.interval import with_interval
from schemas.records import Score


def record_word(record: str) -> str:
    """Give what the JSON field `record` says: `JoinRecord` is `join_record`."""
    return file_name(record).removesuffix(".avsc")


BY_WORD: Final = {record_word(each): each for each in RECORDS}


def parse(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    BadRecord
        `malformed` for what is not one JSON object in UTF-8, for a key given twice, for nesting without end.
    """
    found = load(data)
    if not isinstance(found, dict):
        raise BadRecord("malformed", "the JSON is not an object")
    return found


def load(data: bytes) -> Any:
    """Read any JSON, in a time that grows linearly with its size.

    Raises
    ------
    BadRecord
        `malformed` for what is not JSON in UTF-8, for a key given twice, for nesting without end.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise BadRecord("malformed", f"the JSON is not valid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise BadRecord("malformed", "the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRecord(
            "malformed", f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError as error:  # a whole number of more than 4,300 digits
        raise BadRecord("malformed", f"not valid JSON: {error}"[:200]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        left = dict.fromkeys(found, 1)
        twice = next(key for key, _ in pairs if left.pop(key, 0) == 0)
        # The key is the sender's text: it must not become a field's name, which is counted and shown.
        raise BadRecord("malformed", f"the JSON has the key {twice[:60]!r} twice")
    return found


def dump(record: Any, instead: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """Write a record in its JSON form, one line of UTF-8; NaN and infinities become null.

    Parameters
    ----------
    instead
        Fields that are written in another form.
    """
    data = {"record": record_word(type(record).__name__)} | plain(record) | dict(instead)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def plain(record: Any) -> dict[str, Any]:
    """Give a record as plain JSON data."""
    found = {name: _plain(getattr(record, name)) for name in record.__slots__}
    if isinstance(record, Score) and found.pop("interval"):
        found["score"] = _plain(with_interval(record))
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return plain(value)
