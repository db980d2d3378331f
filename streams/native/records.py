"""What the core makes of a record's schema: its nodes as plain data, from which a scanner reads bytes.

The scanner finds where each field lies, and gives a record's features as a row for a kernel, without making Python
objects. It refuses exactly the bytes that the generated readers of `schemas.codec` refuse. It is made from the
schema alone, so that a change of the wire needs no change here.
"""

from __future__ import annotations

import enum
from collections.abc import Set
from typing import Any, Final, NamedTuple

from schemas.codec.avro_form import Schema
from schemas.dictionary import MAX_TEXT
from streams.native.plan import Kind, NotFused


class Form(enum.IntEnum):
    """Forms of nodes, as `records.hpp` numbers them."""

    NOTHING = 0
    LONG = 1
    COUNT = 2
    BYTES = 3
    STRING = 4
    DOUBLE = 5
    FLOAT = 6
    BOOLEAN = 7
    ENUM = 8
    UNION = 9
    ARRAY = 10
    MAP = 11
    RECORD = 12


class Node(NamedTuple):
    """A type of the schema; `parts` are the numbers of others."""

    form: Form
    symbols: int
    parts: tuple[int, ...]


class RecordPlan(NamedTuple):
    """A schema; its record is the last node."""

    nodes: tuple[Node, ...]
    features: int
    """The node of the record `Features`; -1: there is none, or the reference must settle its values."""
    features_field: int
    """Its place in the record; -1: it is in none of the record's own fields."""
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    most_text: int
    """A text of so many bytes has no more characters than a category may."""


NEVER_NEGATIVE: Final = frozenset({("Position", "topic")})
"""Whole numbers that stand for a topic's name, by record and field."""
PLAIN: Final = {
    "null": Form.NOTHING,
    "int": Form.LONG,
    "long": Form.LONG,
    "bytes": Form.BYTES,
    "string": Form.STRING,
    "double": Form.DOUBLE,
    "float": Form.FLOAT,
    "boolean": Form.BOOLEAN,
}
KINDS: Final = {"double": Kind.REAL, "long": Kind.WHOLE, "boolean": Kind.FLAG, "string": Kind.TEXT}


def plan_of(schema: Schema, always: Set[str] = frozenset()) -> RecordPlan:
    """Plan a self-contained record schema.

    Parameters
    ----------
    schema
        As `schemas.codec.avro_form.assemble` gives it, or an older one.
    always
        Features whose every value the reference must settle, as in `FeaturePlan`.

    Raises
    ------
    NotFused
        For a type that the readers do not read either.
    """
    planner = _Planner()
    planner.node(schema)
    places = [planner.named.get(_name(each["type"])) for each in schema["fields"]]
    features = planner.named.get("Features", -1)
    names, kinds = planner.features
    if always & set(names) or features not in places:
        features = -1
    field = places.index(features) if features >= 0 else -1
    return RecordPlan(tuple(planner.nodes), features, field, names, kinds, MAX_TEXT)


def _name(node: Any) -> str:
    name = node.get("name", "") if isinstance(node, dict) else node if isinstance(node, str) else ""
    return str(name).split(".")[-1]


class _Planner:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.named: dict[str, int] = {}
        self.features: tuple[tuple[str, ...], tuple[Kind, ...]] = ((), ())

    def _add(self, form: Form, symbols: int = 0, parts: tuple[int, ...] = ()) -> int:
        self.nodes.append(Node(form, symbols, parts))
        return len(self.nodes) - 1

    def node(self, node: Any, never_negative: bool = False) -> int:
        """Add a type after those that it is made of; gives its number."""
        if isinstance(node, list):
            return self._add(Form.UNION, 0, tuple(self.node(each, never_negative) for each in node))
        kind = node if isinstance(node, str) else node["type"]
        if kind in PLAIN:
            form = PLAIN[kind]
            return self._add(Form.COUNT if form == Form.LONG and never_negative else form)
        if isinstance(node, str):
            if _name(node) not in self.named:
                raise NotFused(f"the schema has a type that is not supported: {node}")
            return self.named[_name(node)]
        if kind in ("array", "map"):
            inner = self.node(node["items" if kind == "array" else "values"])
            if self._takes_no_bytes(inner):
                raise NotFused("the schema has a list of items that take no bytes")
            return self._add(Form.ARRAY if kind == "array" else Form.MAP, 0, (inner,))
        if kind == "enum":
            number = self._add(Form.ENUM, len(node["symbols"]))
        elif kind == "record":
            number = self._record(node)
        else:
            raise NotFused(f"the schema has a type that is not supported: {kind}")
        self.named[_name(node)] = number
        return number

    def _record(self, node: Schema) -> int:
        name, fields = _name(node), node["fields"]
        if name == "Features":
            types = [each["type"][1] if isinstance(each["type"], list) else each["type"] for each in fields]
            if not all(isinstance(each, str) and each in KINDS for each in types):
                raise NotFused("the features have a type that is not supported")
            self.features = tuple(each["name"] for each in fields), tuple(KINDS[each] for each in types)
        parts = [self.node(each["type"], (name, each["name"]) in NEVER_NEGATIVE) for each in fields]
        return self._add(Form.RECORD, 0, tuple(parts))

    def _takes_no_bytes(self, number: int) -> bool:
        node = self.nodes[number]
        return node.form == Form.NOTHING or (node.form == Form.RECORD and not node.parts)
