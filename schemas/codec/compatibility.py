"""Whether records written with one schema can be read with another, and today's schemas against history.

The rules are those of Avro's schema resolution, so that services which resolve schemas themselves (Java, Go)
can go on reading when ours change: an added field needs a default, a removed one must have had one, types
change along Avro's promotions only, a union may widen for its readers and narrow for its writers.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from schemas.codec.avro_form import RECORDS, Schema, assemble, file_name
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number

PROMOTIONS: Final[dict[str, frozenset[str]]] = {
    "int": frozenset(("long", "float", "double")),
    "long": frozenset(("float", "double")),
    "float": frozenset(("double",)),
    "string": frozenset(("bytes",)),
    "bytes": frozenset(("string",)),
}
"""What a reader may take for what a writer wrote (Apache Avro 1.12 specification, "Schema Resolution")."""

EXAMPLE: Final = Dictionary(
    Number(name="price", unit="EUR", low=0, owner="sales", purpose="what is at stake"),
    Number(name="distance", unit="km", low=0, optional=True),
    Integer(name="items", unit="pieces", low=1),
    Boolean(name="returning"),
    Category(name="channel", levels=("web", "shop")),
    Category(name="voucher", optional=True, missing="none"),
    Category(name="customer", optional=True, personal_data="tokenised"),
)
"""Stands for a task's dictionary in the recorded versions: every type, nullable or not."""


def problems(writer: Schema, reader: Schema) -> list[str]:
    """Say what keeps records of one schema from being read with another.

    Parameters
    ----------
    writer, reader
        Self-contained record schemas.

    Returns
    -------
    list
        One sentence per problem, naming the field's path; empty when every record can be read.

    Examples
    --------
    >>> old = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}
    >>> new = {"type": "record", "name": "R", "fields": [*old["fields"], {"name": "b", "type": "long"}]}
    >>> problems(old, new)
    ['R.b: added without a default']
    >>> problems(new, old)
    []
    """
    return _Resolution().match(writer, reader, reader["name"])


def both_ways(old: Schema, new: Schema) -> list[str]:
    """Say what keeps new readers from old records (backward) and old readers from new ones (forward)."""
    return [f"backward: {each}" for each in problems(old, new)] + [
        f"forward: {each}" for each in problems(new, old)
    ]


class _Resolution:
    """One comparison; holds the named types met on each side."""

    def __init__(self) -> None:
        self._writer: dict[str, Any] = {}
        self._reader: dict[str, Any] = {}

    def match(self, writer: Any, reader: Any, path: str) -> list[str]:
        writer, reader = _named(writer, self._writer), _named(reader, self._reader)
        if isinstance(writer, list):
            return [p for each in writer for p in self.match(each, reader, path)]
        if isinstance(reader, list):
            tried = [self.match(writer, each, path) for each in reader]
            if [] in tried:
                return []
            same = [p for p, each in zip(tried, reader, strict=True) if _kind(each) == _kind(writer)]
            return same[0] if same else [f"{path}: {_kind(writer)} is not among the reader's types"]
        have, want = _kind(writer), _kind(reader)
        if have != want:
            return [] if want in PROMOTIONS.get(have, ()) else [f"{path}: {have} cannot be read as {want}"]
        if have == "record":
            return self._records(writer, reader, path)
        if have == "enum":
            missing = [each for each in writer["symbols"] if each not in reader["symbols"]]
            named = _same_name(writer, reader, path)
            if missing and "default" not in reader:
                return [*named, f"{path}: the reader does not know {', '.join(missing)}"]
            return named
        for key, end in (("items", "[]"), ("values", "{}")):
            if isinstance(writer, dict) and key in writer:
                return self.match(writer[key], reader[key], path + end)
        return []

    def _records(self, writer: Schema, reader: Schema, path: str) -> list[str]:
        found = _same_name(writer, reader, path)
        written = {each["name"]: each for each in writer["fields"]}
        for each in reader["fields"]:
            inner = f"{path}.{each['name']}"
            if each["name"] in written:
                found += self.match(written[each["name"]]["type"], each["type"], inner)
            elif "default" not in each:
                found.append(f"{inner}: added without a default")
        return found


def _named(node: Any, known: dict[str, Any]) -> Any:
    if isinstance(node, dict) and "name" in node:
        known[node["name"]] = node
    return known.get(node, node) if isinstance(node, str) else node


def _kind(node: Any) -> str:
    return str(node["type"]) if isinstance(node, dict) else "union" if isinstance(node, list) else str(node)


def _same_name(writer: Schema, reader: Schema, path: str) -> list[str]:
    same = writer["name"].split(".")[-1] == reader["name"].split(".")[-1]
    return [] if same else [f"{path}: {writer['name']} cannot be read as {reader['name']}"]


def today() -> dict[str, Schema]:
    """Give today's schemas by record, with the example dictionary and without docs."""
    return {record: undocumented(assemble(record, EXAMPLE)) for record in RECORDS}


def undocumented(node: Any) -> Any:
    """Take the docs out of a schema: they may change without a new version."""
    if isinstance(node, dict):
        return {key: undocumented(value) for key, value in node.items() if key != "doc"}
    return [undocumented(each) for each in node] if isinstance(node, list) else node


def recorded() -> dict[int, dict[str, Schema]]:
    """Give the recorded versions, oldest first: by number, the schemas by record."""
    found: dict[int, dict[str, Schema]] = {}
    for folder in (resources.files("schemas") / "recorded").iterdir():
        if folder.name.startswith("v") and folder.name[1:].isdigit():
            found[int(folder.name[1:])] = {
                record: json.loads((folder / file_name(record)).read_text(encoding="utf-8"))
                for record in RECORDS
                if (folder / file_name(record)).is_file()
            }
    return dict(sorted(found.items()))


def check() -> list[str]:
    """Compare today's schemas with every recorded version; give one sentence per problem."""
    now, history = today(), recorded()
    found = [
        f"v{version} {record}, {each}"
        for version, schemas in history.items()
        for record, schema in schemas.items()
        for each in (both_ways(schema, now[record]) if record in now else ["the record was removed"])
    ]
    if history:
        newest = max(history)
        found += [
            f"{name} differs from recorded v{newest}: record a new version (docs/contributing.md)"
            for name in now
            if history[newest].get(name) != now[name]
        ]
    return found
