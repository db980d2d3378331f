from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError

from docs.make import recorded as recording
from docs.make.recorded import record_today
from schemas.codec import compatibility
from schemas.codec.avro_form import RECORDS
from schemas.codec.compatibility import both_ways, check, problems, recorded, today
from schemas.errors import UsageError


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, typed: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": typed} | more


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)} | more


A = field("a", "long")
# What changed, a record of the old schema, whether new readers read old records, old readers new ones.
CASES: list[tuple[str, dict[str, Any], dict[str, Any], bool, bool]] = [
    ("nothing", record(A), record(A), True, True),
    ("a doc", record(A), record(A | {"doc": "more"}), True, True),
    ("added with a default", record(A), record(A, field("b", "long", default=0)), True, True),
    ("added without a default", record(A), record(A, field("b", "long")), False, True),
    ("another order", record(A, field("b", "string")), record(field("b", "string"), A), True, True),
    ("wider number", record(A), record(field("a", "double")), True, False),
    ("another type", record(A), record(field("a", "boolean")), False, False),
    ("made nullable", record(A), record(field("a", ["null", "long"])), True, False),
    (
        "wider union",
        record(field("a", ["null", "long"])),
        record(field("a", ["null", "long", "string"])),
        True,
        False,
    ),
    ("more symbols", record(field("a", enum("x"))), record(field("a", enum("x", "y"))), True, False),
    (
        "more symbols, with a default",
        record(field("a", enum("x", default="x"))),
        record(field("a", enum("x", "y", default="x"))),
        True,
        True,
    ),
    ("another name", record(A), record(A, name="S"), False, False),
    (
        "items",
        record(field("a", {"type": "array", "items": "int"})),
        record(field("a", {"type": "array", "items": "long"})),
        True,
        False,
    ),
    (
        "values",
        record(field("a", {"type": "map", "values": "long"})),
        record(field("a", {"type": "map", "values": "boolean"})),
        False,
        False,
    ),
    (
        "inside",
        record(field("a", record(field("b", "long"), name="I"))),
        record(field("a", record(field("c", "long"), name="I"))),
        False,
        False,
    ),
]


@pytest.mark.parametrize(
    ("what", "old", "new", "backward", "forward"), CASES, ids=[case[0] for case in CASES]
)
def test_a_change_is_judged_in_both_directions(
    what: str, old: dict[str, Any], new: dict[str, Any], backward: bool, forward: bool
) -> None:
    assert (problems(old, new) == []) == backward, what
    assert (problems(new, old) == []) == forward, what
    found = both_ways(old, new)
    assert any(each.startswith(("backward: R", "backward: S")) for each in found) != backward
    assert any(each.startswith(("forward: R", "forward: S")) for each in found) != forward


VALUES: dict[str, Any] = {"long": 5, "int": 5, "double": 1.5, "boolean": True, "string": "x", "null": None}


def values(node: Any) -> list[Any]:
    """Give a value per branch and symbol of a schema."""
    if isinstance(node, list):
        return [value for each in node for value in values(each)]
    if isinstance(node, str):
        return [VALUES[node]]
    if node["type"] == "enum":
        return list(node["symbols"])
    if node["type"] == "array":
        return [[value] for value in values(node["items"])]
    if node["type"] == "map":
        return [{"k": value} for value in values(node["values"])]
    return [
        {each["name"]: values(each["type"])[index % len(values(each["type"]))] for each in node["fields"]}
        for index in range(max(len(values(each["type"])) for each in node["fields"]))
    ]


@pytest.mark.parametrize(
    ("what", "old", "new", "backward", "forward"), CASES, ids=[case[0] for case in CASES]
)
def test_the_judgement_is_that_of_avros_own_resolution(
    what: str, old: dict[str, Any], new: dict[str, Any], backward: bool, forward: bool
) -> None:
    for writer, reader, expected in ((old, new, backward), (new, old, forward)):
        assert _resolves(writer, reader) == expected, what


def _resolves(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    for value in values(writer):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(writer), value)
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
        except SchemaResolutionError:
            return False
    return True


def test_a_problem_names_the_field() -> None:
    old = record(field("a", ["null", record(A, name="I")]))
    new = record(field("a", ["null", record(field("a", "string"), name="I")]))
    assert problems(old, new) == ["R.a.a: long cannot be read as string"]


def test_todays_schemas_are_compatible_with_every_recorded_version_and_recorded() -> None:
    assert recorded()
    assert check() == []


def test_every_record_is_in_every_recorded_version_since_it_exists() -> None:
    assert set(recorded()[max(recorded())]) == set(RECORDS)


def test_a_change_that_breaks_readers_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = json.loads(json.dumps(today()))
    changed["Outcome"]["fields"].append(field("added", "long"))
    del changed["Metric"]
    monkeypatch.setattr(compatibility, "today", lambda: changed)
    monkeypatch.setattr(recording, "today", lambda: changed)
    found = check()
    assert "v1 Outcome, backward: Outcome.added: added without a default" in found
    assert "v1 Metric, the record was removed" in found
    assert any(each.startswith("Outcome differs from recorded v") for each in found)
    with pytest.raises(UsageError, match="added without a default"):
        record_today(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_compatible_change_is_recorded_as_a_new_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert record_today(tmp_path) == []
    changed = json.loads(json.dumps(today()))
    changed["Outcome"]["fields"].append(field("added", ["null", "long"], default=None))
    monkeypatch.setattr(compatibility, "today", lambda: changed)
    monkeypatch.setattr(recording, "today", lambda: changed)
    assert [each for each in check() if "differs" not in each] == []
    written = record_today(tmp_path)
    assert {each.parent.name for each in written} == {f"v{max(recorded()) + 1}"}
    assert len(written) == len(RECORDS)
