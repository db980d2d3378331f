"""Writers of Avro records, generated from their schemas as one expression each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from schemas.codec import wire
from schemas.codec.avro_form import Schema
from schemas.codec.topic_numbers import TopicNumbers
from schemas.interval import with_interval
from schemas.records import Entry
from schemas.state import Held
from schemas.written import Written, WrittenEntry

Write = Callable[[Any], bytes]


class Writer:
    """A writer of one schema, for records as the code holds them.

    Parameters
    ----------
    schema
        A self-contained record schema; its fields are the record's attributes.
    header
        The bytes before the body.
    topics
        The topics that positions name.
    """

    def __init__(self, schema: Schema, header: bytes, topics: TopicNumbers) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = {
            "L": wire.LONGS,
            "text": wire.text,
            "octets": wire.octets,
            "pack": struct.Struct("<d").pack,
            "HEADER": header,
            "topic": topics.written,
            "Written": Written,
            "Held": Held,
            "fits": _fits,
            "with_interval": with_interval,
        }
        self._known: dict[str, str] = {}
        self._schemas: dict[str, Schema] = {}
        self._count = 0
        self._record(schema, "HEADER, ")
        source = "\n".join(self._lines)
        exec(compile(source, f"<writer of {schema['name']}>", "exec"), self._names)  # noqa: S102 (our own source)
        self.write: Write = self._names[f"write_{schema['name']}"]

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _record(self, schema: Schema, start: str = "") -> str:
        """Emit the function of a record, after those of the records inside it; give its name."""
        record = schema["name"].split(".")[-1]
        self._schemas[record] = schema
        parts: list[str] = []
        if record == "Features":
            parts = self._features(schema)
        else:
            parts = [self._value(each["type"], f"r.{each['name']}") for each in schema["fields"]]
            if record == "Position":
                parts[0] = "topic[r.topic]"
            if record == "Score":  # with its interval, where it has one
                spread = "(r.score if r.interval is None else with_interval(r))"
                parts[3] = self._value(schema["fields"][3]["type"], spread)
            if record == "Entry":  # its trigger says where the outcome lies, and its id, nearly always
                parts[6] = f"(b'\\0' if r.outcome and r.outcome_at == r.trigger else {parts[6]})"
                parts[8] = f"({parts[8]} if r.outcome is None or fits(r) else b'')"
                parts[0] = f"(b'\\0' if r.trigger and r.entry_id == f'{{r.trigger}}#0' else {parts[0]})"
            if record == "JoinRecord":  # what is held has its time first
                parts[1] = f"(b'\\0' if type(r.prediction) is not bytes else {parts[1]})"
        self._lines.append(f"def write_{record}(r):")
        if record == "Features":
            self._lines.append(" get = r.get")
        if record == "Prediction" and not start:
            self._lines.append(" if type(r) is Written: return r.body")
        self._lines.append(f" return b''.join(({start}{', '.join(parts)},))")
        return f"write_{record}"

    def _features(self, schema: Schema) -> list[str]:
        parts: list[str] = []
        run: list[str] = []
        for each in [*schema["fields"], None]:
            if each is not None and each["type"] == "double":
                run.append(f"r[{each['name']!r}]")
                continue
            if run:  # numbers in a row are written at once
                pack = self._new("pack")
                self._names[pack] = struct.Struct(f"<{len(run)}d").pack
                parts.append(f"{pack}({', '.join(run)})")
                run = []
            if each is None:
                break
            if isinstance(each["type"], list):
                some = self._value(each["type"][1], "t")
                parts.append(f"b'\\0' if (t := get({each['name']!r})) is None else b'\\2' + {some}")
            else:
                parts.append(self._value(each["type"], f"r[{each['name']!r}]"))
        return parts

    def _value(self, node: Any, source: str) -> str:
        """Give the expression for a value's bytes; `source` may be evaluated once only."""
        if isinstance(node, str) and node in self._schemas:
            node = self._schemas[node]
        kind = node if isinstance(node, str) else "union" if isinstance(node, list) else node["type"]
        simple = {
            "long": f"L[{source}]",
            "int": f"L[{source}]",
            "string": f"text({source})",
            "bytes": f"octets({source})",
            "double": f"pack({source})",
            "boolean": f"(b'\\1' if {source} else b'\\0')",
        }
        if kind in simple:
            return simple[kind]
        if kind == "enum":
            name = self._new("symbols")
            self._names[name] = {symbol: wire.LONGS[at] for at, symbol in enumerate(node["symbols"])}
            self._schemas[node["name"]] = node
            return f"{name}[{source}]"
        if kind == "record":
            return f"{self._record(node)}({source})"
        if kind == "array":
            return f"many({source}, {self._function(node['items'])})"
        if kind == "map":
            return f"mapped({source}, {self._function(node['values'])})"
        return f"{self._union(node)}({source})"

    def _function(self, node: Any) -> str:
        self._names |= {"many": _many, "mapped": _mapped, "long": wire.LONGS.__getitem__}
        if node in ("long", "int"):
            return "long"
        expression = self._value(node, "v")
        name = self._new("item")
        self._lines += [f"def {name}(v):", f" return {expression}"]
        return name

    def _union(self, node: list[Any]) -> str:
        """Emit the function that chooses a union's branch by the value's type; give its name."""
        tests = {
            "null": "v is None",
            "boolean": "isinstance(v, bool)",
            "string": "isinstance(v, str)",
            "bytes": "isinstance(v, bytes)",
            "double": "isinstance(v, int | float)",
            "long": "isinstance(v, int)",
            "int": "isinstance(v, int)",
        }
        lines: list[str] = []
        kinds = [each if isinstance(each, str) else each["type"] for each in node]
        if "record" in kinds and node[kinds.index("record")]["name"] == "HeldPrediction":
            lines += [" if type(v) is Held:", f"  return {wire.LONGS[kinds.index('record')]!r} + v"]
        # In order, boolean stands before double in every schema; what is none of these is the one record.
        for index in sorted(range(len(node)), key=lambda index: kinds[index] not in tests):
            each, mark, test = node[index], wire.LONGS[index], tests.get(kinds[index])
            value = f"{mark!r}" if each == "null" else f"{mark!r} + {self._value(each, 'v')}"
            lines += [f" if {test}:", f"  return {value}"] if test else [f" return {value}"]
        if all(kind in tests for kind in kinds):
            lines.append(" raise TypeError(f'{type(v).__name__} is none of the types allowed here')")
        name = self._new("union")
        self._lines += [f"def {name}(v):", *lines]
        return name


def rest_of_entry(entry: WrittenEntry) -> bytes:
    """Write an entry of which all but its last two fields is written."""
    number, progress = entry.partition, entry.progress
    partition = b"\0" if number is None else b"\2" + wire.LONGS[number]
    counters = b"\0" if progress is None else b"\2" + _mapped(progress, wire.LONGS.__getitem__)
    return b"".join((entry.head, partition, counters))


def _fits(entry: Entry) -> bool:
    """Refuse an outcome whose request or time is not that of its entry, which says both."""
    outcome, prediction = entry.outcome, entry.prediction
    assert outcome is not None
    if outcome.ts != entry.ts or prediction is None:
        raise ValueError("its outcome has another time, or no prediction")
    if type(prediction) is not Written and prediction.request_id != outcome.request_id:
        raise ValueError("its outcome is of another request")
    return True


def _many(values: Any, write: Write) -> bytes:
    if not values:
        return b"\0"
    return b"".join((wire.LONGS[len(values)], *map(write, values), b"\0"))


def _mapped(values: Any, write: Write) -> bytes:
    if not values:
        return b"\0"
    parts = [wire.key(name) + write(value) for name, value in values.items()]
    return b"".join((wire.LONGS[len(values)], *parts, b"\0"))
