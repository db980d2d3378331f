"""The JSON form of records: plain JSON in the shape of the Avro schema, without Avro's union tags.

Fields with a default may be left out, bytes are Base64, a field `record` may say what the record is.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Final

from schemas.codec.avro_form import RECORDS, Schema, file_name
from schemas.codec.checks import Make
from schemas.dialect import WORDS
from schemas.errors import BadRecord
from schemas.interval import with_interval
from schemas.near import sent_as
from schemas.records import Score

Check = Callable[[Any], Any]


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


def checker(schema: Schema, makers: Mapping[str, Make], features: Check) -> Check:
    """Give what checks plain data (from JSON or an older Avro schema) and makes a record of them.

    Parameters
    ----------
    schema
        The record's schema today, self-contained.
    makers
        What makes each record, by Avro name.
    features
        Makes canonical features of a mapping.
    """
    known: dict[str, Any] = {}

    def build(node: Any) -> Check:
        if isinstance(node, list):
            # Beside doubles only a whole number is a long: 19.5 is a double, and 19 stays exact.
            whole = {"long": (int,)} if "double" in node else {}
            accepts = [whole.get(each) if isinstance(each, str) else None for each in node]
            return _union(
                [
                    (own or _accepts(each, known), build(each))
                    for own, each in zip(accepts, node, strict=True)
                    if each != "null"
                ]
            )
        if isinstance(node, str):
            return known[node] if node in known else _SIMPLE[node]
        if node["type"] == "array":
            return _array(build(node["items"]))
        if node["type"] == "map":
            return _map(build(node["values"]))
        if node["type"] == "enum":
            known[node["name"]] = _enum(node["symbols"])
        elif node["name"] == "Features":
            known["Features"] = _features(features)
        else:
            inner = [(each["name"], build(each["type"])) for each in node["fields"]]
            if node["name"] == "Position":
                inner[0] = ("topic", _text)  # a number in Avro only
            known[node["name"]] = _record(inner, makers[node["name"]])
        check: Check = known[node["name"]]
        return check

    return build(schema)


def wrong(wanted: str, value: Any) -> BadRecord:
    """Make the error for a value of the wrong type; the field's name is put before it on the way out."""
    return BadRecord("wrong_type", f"must be {wanted}, not {WORDS.get(type(value), 'a number')}", "")


def _record(inner: list[tuple[str, Check]], make: Make) -> Check:
    takes = signature(make).parameters
    defaults = {name: takes[name].default if name in takes else None for name, _ in inner}
    plan = [(name, check, defaults[name] is Parameter.empty) for name, check in inner]

    def check_record(value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong("an object", value)
        out: dict[str, Any] = {}
        for name, check, required in plan:
            found = value.get(name, MISSING)
            if found is MISSING or (found is None and not required):
                if required:
                    near = sent_as(name, value, defaults)
                    raise BadRecord("missing_field", f"{name} is required{near}", name)
                continue
            try:
                out[name] = check(found)
            except BadRecord as error:
                raise _under(name, error) from None
        return make(**out)

    return check_record


def _under(name: str, error: BadRecord) -> BadRecord:
    path = f"{name}.{error.field}" if error.field else name
    message = error.message
    if message.startswith("must be "):
        message = f"{name} {message}"
        if name == "ts":
            message = message.replace("whole number", "whole number of ms since 1970-01-01 UTC")
    return BadRecord(error.reason, message, path)


def _features(canonical: Check) -> Check:
    def check_features(value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong("an object", value)
        try:
            return canonical(value)
        except BadRecord as error:
            raise BadRecord(error.reason, error.message, error.field.removeprefix("features.")) from None

    return check_features


def _union(branches: list[tuple[tuple[type, ...], Check]]) -> Check:
    def check_union(value: Any) -> Any:
        if value is None:
            return None
        for types, check in branches:
            if type(value) in types:
                return check(value)
        if len(branches) == 1:
            return branches[0][1](value)  # says what it must be
        raise wrong("of another type", value)

    return check_union


def _accepts(node: Any, known: Mapping[str, Any]) -> tuple[type, ...]:
    kind = node if isinstance(node, str) else node["type"]
    by_kind: dict[str, tuple[type, ...]] = {
        "boolean": (bool,),
        "double": (int, float),
        "long": (int, float),
        "int": (int, float),
        "string": (str,),
        "enum": (str,),
        "bytes": (str, bytes),
        "array": (list, tuple),
    }
    return by_kind.get(kind, (dict,))


def _array(item: Check) -> Check:
    def check_array(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise wrong("a list", value)
        return tuple([item(each) for each in value])

    return check_array


def _map(item: Check) -> Check:
    def check_map(value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong("an object", value)
        return {_text(key): item(each) for key, each in value.items()}

    return check_map


def _enum(symbols: list[str]) -> Check:
    allowed = frozenset(symbols)

    def check_enum(value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong("text", value)
        if value not in allowed:
            raise BadRecord("out_of_range", f"must be one of {', '.join(symbols)}")
        return value

    return check_enum


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise wrong("text", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
            raise BadRecord("wrong_type", "must be valid Unicode text") from None
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float):
            raise BadRecord("wrong_type", f"must be a whole number, not {value}")
        raise wrong("a whole number", value)
    if not -(2**63) <= value < 2**63:
        raise BadRecord("out_of_range", "must be a 64-bit whole number")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise BadRecord("out_of_range", "must be a finite number") from None


def _boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise wrong("true or false", value)
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, bytes):  # from an older Avro schema
        return value
    if not isinstance(value, str):
        raise wrong("Base64 text", value)
    try:
        return b64decode(value, validate=True)
    except ValueError:
        raise BadRecord("malformed", "must be Base64 text") from None


_SIMPLE: Final[dict[str, Check]] = {
    "string": _text,
    "long": _whole,
    "int": _whole,
    "double": _number,
    "boolean": _boolean,
    "bytes": _bytes,
}


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
