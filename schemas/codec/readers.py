"""Readers of Avro records, generated from their schemas as straight-line Python.

Compared with a general reader and a second pass over the features this halves the time of the loop's most
frequent step (see `tests/benchmarks/codec.py`), and it is strict where general readers are lenient: negative
branches, booleans other than 0 and 1, bytes behind the record's end.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from schemas.codec import wire
from schemas.codec.avro_form import Schema
from schemas.codec.checks import Make
from schemas.codec.topic_numbers import TopicNumbers
from schemas.dictionary import MAX_TEXT
from schemas.errors import BadRecord
from schemas.records import FeatureValue
from schemas.state import Held

Read = Callable[[bytes, int, int], tuple[Any, int]]
"""Reads (data, start, end); gives the record and the position behind it."""
Convert = Callable[[Any], FeatureValue | None]


class FeaturePlan:
    """How the values of `Features` become canonical while they are read.

    Parameters
    ----------
    convert
        By feature: gives the canonical form or rejects; used for what the reader cannot settle itself.
    always
        Features whose every value goes through `convert` (ranges and levels that reject, tokens).
    """

    def __init__(self, convert: Mapping[str, Convert], always: frozenset[str] = frozenset()) -> None:
        self.convert = convert
        self.always = always


class Reader:
    """A reader of one schema.

    Parameters
    ----------
    schema
        A self-contained record schema.
    makers
        What makes each record of its fields' values, by Avro name; None to read into plain dicts.
    features
        How features become canonical; None to take their values as they are.
    topics
        The topics that positions name.
    """

    def __init__(
        self,
        schema: Schema,
        topics: TopicNumbers,
        makers: Mapping[str, Make] | None = None,
        features: FeaturePlan | None = None,
    ) -> None:
        self._makers = makers
        self._features = features
        self._lines: list[str] = []
        self._fields: list[str] = []
        self._at = ""
        self._names: dict[str, Any] = {
            "long_": wire.rest_of_long,
            "no_length": wire.no_length,
            "no_branch": wire.no_branch,
            "count_": wire.block_count,
            "put": _put,
            "topic": topics.read,
            "INF": math.inf,
            "Held": Held,
        }
        self._count = 0
        self._known: dict[str, str] = {}
        self._schemas: dict[str, Schema] = {}
        entry = self._record(schema)
        self.file = f"<reader of {schema['name']} {id(self):x}>"
        exec(compile("\n".join(self._lines), self.file, "exec"), self._names)  # noqa: S102 (our own source)
        self.read: Read = self._names[entry]

    def where(self, traceback: TracebackType | None) -> tuple[str, bool]:
        """Give the path of the field at which reading failed, and whether it is a field's own value.

        The generated source has each field's lines known, so that reading need not keep track.
        """
        path: list[str] = []
        exact = False
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self.file:
                name = self._fields[traceback.tb_lineno - 1]
                path += [name] if name else []
                exact = bool(name)
            traceback = traceback.tb_next
        return ".".join(path), exact

    def _emit(self, indent: int, *lines: str) -> None:
        for line in lines:
            self._lines.append(" " * indent + line)
            self._fields.append(self._at)

    def _new(self, prefix: str = "v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _keep(self, prefix: str, value: Any) -> str:
        name = self._new(prefix)
        self._names[name] = value
        return name

    def _record(self, schema: Schema) -> str:
        """Emit the function of a record, after those of the records inside it; give its name."""
        record = schema["name"].split(".")[-1]
        if record in self._known:
            return self._known[record]
        # Numbered, never named after the record: a foreign schema's name must not become part of the source.
        function = self._new("read")
        for each in schema["fields"]:
            if not self._is_held(record, each["name"]):
                self._inner(each["type"])
        self._at = ""
        self._emit(0, f"def {function}(b, i, e):")
        if record == "Features" and self._features is not None:
            self._feature_fields(schema, self._features)
        else:
            self._plain_fields(schema, record)
        self._known[record] = function  # only now: a record inside itself is not supported
        self._schemas[record] = schema
        return function

    def _inner(self, node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                self._inner(each)
        elif isinstance(node, dict):
            if node["type"] == "record":
                self._record(node)
            elif node["type"] == "enum":
                self._schemas[node["name"].split(".")[-1]] = node
            else:
                self._inner(node.get("items", node.get("values")))

    def _plain_fields(self, schema: Schema, record: str) -> None:
        names: dict[str, str] = {}
        for each in schema["fields"]:
            self._at = each["name"]
            names[each["name"]] = target = self._new()
            if self._is_held(record, each["name"]):
                self._held(target, names["request_ts"])
                continue
            self._value(1, each["type"], target)
            if record == "Position" and each["name"] == "topic":
                self._emit(1, f"if {target}.__class__ is int:", f"  {target} = topic[{target}]")
        self._at = ""
        if self._makers is None:
            made = "{" + ", ".join(f"{name!r}: {value}" for name, value in names.items()) + "}"
        else:
            maker = self._keep("make", self._makers[record])
            made = f"{maker}({', '.join(names.values())})"
        self._emit(1, f"return {made}, i")

    def _is_held(self, record: str, field: str) -> bool:
        """Whether a field is kept as it is written: the prediction that the join holds."""
        return self._makers is not None and (record, field) == ("JoinRecord", "prediction")

    def _held(self, target: str, ts: str) -> None:
        """Emit what reads a held prediction: its bytes up to the record's end, and the time at their beginning."""
        self._emit(1, "n = b[i]", "i += 1", "if n == 2:", f" {target} = Held(b[i:e])", " n = b[i]", " i += 1")
        self._emit(1, " if n > 127:", "  n, i = long_(b, i, n)", f" {ts} = (n >> 1) ^ -(n & 1)", " i = e")
        self._emit(1, "elif n == 4:")
        self._value(2, "bytes", target)
        self._emit(1, "elif n:", " no_branch(n)", "else:", f" {target} = None")

    def _feature_fields(self, schema: Schema, plan: FeaturePlan) -> None:
        self._emit(1, "f = {}")
        index, given = 0, schema["fields"]
        while index < len(given):
            run = index
            while run < len(given) and given[run]["type"] == "double":
                run += 1
            if run > index:  # numbers in a row are read at once
                self._at = given[index]["name"]
                unpack = self._keep("unpack", struct.Struct(f"<{run - index}d").unpack_from)
                targets = [self._new() for _ in range(index, run)]
                self._emit(1, f"({', '.join(targets)},) = {unpack}(b, i)", f"i += {8 * (run - index)}")
                for each, target in zip(given[index:run], targets, strict=True):
                    self._feature(1, each["name"], "double", target, plan)
                index = run
                continue
            name, typed = given[index]["name"], given[index]["type"]
            self._at = name
            target = self._new()
            if isinstance(typed, list):
                self._emit(1, "n = b[i]", "i += 1", "if n == 2:")
                self._value(2, typed[1], target)
                self._feature(2, name, typed[1], target, plan)
                self._emit(1, "elif n:", "  no_branch(n)")
            else:
                self._value(1, typed, target)
                self._feature(1, name, typed, target, plan)
            index += 1
        self._at = ""
        self._emit(1, "return f, i")

    def _feature(self, indent: int, name: str, typed: str, target: str, plan: FeaturePlan) -> None:
        self._at = name
        slow = f"put(f, {name!r}, {self._keep('convert', plan.convert[name])}, {target})"
        if name in plan.always:
            self._emit(indent, slow)
        elif typed == "double":
            self._emit(
                indent,
                f"if -INF < {target} < INF:",
                f" f[{name!r}] = {target} + 0.0",  # -0.0 + 0.0 is 0.0
                "else:",
                f" {slow}",
            )
        elif typed == "string":
            self._emit(indent, f"if len({target}) > {MAX_TEXT}:", f" {slow}", f"f[{name!r}] = {target}")
        else:
            self._emit(indent, f"f[{name!r}] = {target}")

    def _value(self, indent: int, node: Any, target: str) -> None:
        """Emit what reads one value into `target`."""
        emit = self._emit
        if isinstance(node, str) and node.split(".")[-1] in self._schemas:
            node = self._schemas[node.split(".")[-1]]
        kind = node if isinstance(node, str) else "union" if isinstance(node, list) else node["type"]
        if kind in ("long", "int"):
            emit(indent, "n = b[i]", "i += 1", "if n > 127:", " n, i = long_(b, i, n)")
            emit(indent, f"{target} = (n >> 1) ^ -(n & 1)")
        elif kind in ("string", "bytes"):
            emit(indent, "n = b[i]", "i += 1", "if n > 127:", " n, i = long_(b, i, n)", "j = i + (n >> 1)")
            emit(indent, "if n & 1 or j > e:", " no_length(n)")
            emit(indent, f"{target} = b[i:j]{'.decode()' if kind == 'string' else ''}", "i = j")
        elif kind in ("double", "float"):
            code, size = ("d", 8) if kind == "double" else ("f", 4)
            unpack = self._keep("unpack", struct.Struct(f"<{code}").unpack_from)
            emit(indent, f"({target},) = {unpack}(b, i)", f"i += {size}")
        elif kind == "boolean":
            emit(indent, "n = b[i]", "i += 1", "if n > 1:", " no_branch(n)", f"{target} = n == 1")
        elif kind == "null":
            emit(indent, f"{target} = None")
        elif kind == "enum":
            symbols = self._keep("symbols", tuple(node["symbols"]))
            emit(indent, "n = b[i]", "i += 1", f"if n & 1 or n > {2 * len(node['symbols']) - 2}:")
            emit(indent, " no_branch(n)", f"{target} = {symbols}[n >> 1]")
        elif kind == "union":
            branch = self._new("n")
            emit(indent, f"{branch} = b[i]", "i += 1")
            for index, each in enumerate(node):
                emit(indent, f"{'el' if index else ''}if {branch} == {2 * index}:")
                self._value(indent + 1, each, target)
            emit(indent, "else:", f" no_branch({branch})")
        elif kind in ("array", "map"):
            self._many(indent, kind, node, target)
        elif kind == "record":
            emit(indent, f"{target}, i = {self._record(node)}(b, i, e)")
        else:
            raise BadRecord("unknown_schema", f"the schema has a type that is not supported: {kind}")

    def _many(self, indent: int, kind: str, node: Schema, target: str) -> None:
        inner = node["items" if kind == "array" else "values"]
        if inner == "null" or (isinstance(inner, dict) and not inner.get("fields", True)):
            raise BadRecord("unknown_schema", "the schema has a list of items that take no bytes")
        count, key, item = self._new("n"), self._new("k"), self._new()
        self._emit(indent, f"{target} = {'[]' if kind == 'array' else '{}'}", "while True:")
        self._emit(indent + 1, f"{count}, i = count_(b, i, e)", f"if not {count}:", " break")
        self._emit(indent + 1, f"for _ in range({count}):")
        if kind == "map":
            self._value(indent + 2, "string", key)
        self._value(indent + 2, inner, item)
        if kind == "array":
            self._emit(indent + 2, f"{target}.append({item})")
            self._emit(indent, f"{target} = tuple({target})")
        else:
            self._emit(indent + 2, f"{target}[{key}] = {item}")


def _put(into: dict[str, FeatureValue], name: str, convert: Convert, value: Any) -> None:
    found = convert(value)
    if found is not None:
        into[name] = found
