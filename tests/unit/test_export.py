from __future__ import annotations

import json
from dataclasses import astuple
from inspect import signature
from pathlib import Path
from typing import Any

import fastavro
import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]

from infra.kafka.partitioner import partition_of
from schemas.clients import CLIENTS
from schemas.codec import Codec
from schemas.codec.avro_form import RECORDS, fingerprint
from schemas.codec.checks import TaskKind
from schemas.codec.compatibility import EXAMPLE
from schemas.codec.json_form import record_word
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.event_time import EARLIEST, TimeBounds, millis_of
from schemas.export import CHECKED, export
from schemas.remarks import Remarks

STRICT = Dictionary(
    *EXAMPLE,
    Number(name="share", unit="ratio", low=0, high=1, on_range="reject", purpose="a | b"),
    Integer(name="rooms", low=1, on_range="reject", missing=1),
    Category(name="meal", levels=("BB", "HB"), on_new_level="reject", optional=True),
    Category(name="phone", personal_data="left_out"),
)
KINDS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


@pytest.fixture(params=KINDS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return Codec("hotel", request.param, STRICT, b"a key")


def schema(directory: Path, record: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / f"json-schema/{record}.schema.json").read_text())
    return found


def test_the_same_task_gives_the_same_bytes(codec: Codec, tmp_path: Path) -> None:
    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in export(codec, tmp_path / "a")}
    again = export(Codec("hotel", codec.kind, STRICT), tmp_path / "b")
    assert first == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in again}
    assert sorted(tmp_path.joinpath("a").rglob("*.*")) == sorted(tmp_path / "a" / each for each in first)


def test_another_language_reads_the_examples_with_the_exported_schema_alone(
    codec: Codec, tmp_path: Path
) -> None:
    export(codec, tmp_path)
    for record in RECORDS:
        word = record_word(record)
        written = json.loads((tmp_path / f"avro/{word}.avsc").read_text())
        with (tmp_path / f"examples/{word}.avro.bin").open("rb") as data:
            assert data.read(10) == b"\xc3\x01" + fingerprint(written)
            found = fastavro.schemaless_reader(data, fastavro.parse_schema(written), None)
            assert data.read() == b""
        assert isinstance(found, dict)
        assert set(found) == set(json.loads((tmp_path / f"examples/{word}.json").read_text())) - {"record"}


def test_both_examples_of_a_record_are_the_same_record(codec: Codec, tmp_path: Path) -> None:
    export(codec, tmp_path)
    for word, read in (
        ("request", codec.decode_request),
        ("prediction", codec.decode_prediction),
        ("outcome", codec.decode_outcome),
        ("punctuation", codec.decode_outcome),
        ("entry", codec.decode_entry),
        ("join_record", codec.decode_state),
        ("join_position", codec.decode_state),
        ("resolution", codec.decode_state),
        ("dead_letter", codec.decode_dead_letter),
        ("manifest", codec.decode_manifest),
        ("control", codec.decode_control),
        ("metric", codec.decode_metric),
        ("alert", codec.decode_alert),
        ("tally", codec.decode_tally),
    ):
        from_json = read((tmp_path / f"examples/{word}.json").read_bytes())
        assert from_json == read((tmp_path / f"examples/{word}.avro.bin").read_bytes())


def test_the_examples_pass_their_json_schema(codec: Codec, tmp_path: Path) -> None:
    export(codec, tmp_path)
    for record in CHECKED:
        made = schema(tmp_path, record_word(record))
        jsonschema.Draft202012Validator.check_schema(made)
        example = json.loads((tmp_path / f"examples/{record_word(record)}.json").read_text())
        jsonschema.Draft202012Validator(made).validate(example)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ts": 5.0},
        {"ts": -1},
        {"ts": 2**53},
        {"ts": "5"},
        {"ts": True},
        {"request_id": ""},
        {"request_id": "\0a"},
        {"request_id": "a" * 201},
        {"entity_key": None},
        {"entity_key": 5},
        {"parents": ["a"]},
        {"parents": "a"},
        {"entity_key": "a" * 200},
        {"entity_key": "a" * 201},
        {"parents": ["a" * 200] * 100},
        {"parents": ["a" * 201]},
        {"parents": ["a"] * 101},
        {"record": "outcome"},
        {"unknown": 1},
        {"features": {}},
        {"features.price": "1"},
        {"features.price": None},
        {"features.distance": None},
        {"features.items": 1.5},
        {"features.items": 2.0},
        {"features.items": 2**63},
        {"features.returning": 1},
        {"features.channel": "fair"},
        {"features.channel": 1},
        {"features.share": 1.5},
        {"features.rooms": 0},
        {"features.rooms": None},
        {"features.meal": "SC"},
        {"features.meal": None},
        {"features.unknown": [1]},
        {"features.phone": 5},
    ],
    ids=str,
)
def test_a_request_passes_its_json_schema_exactly_when_it_is_read(
    change: dict[str, Any], tmp_path: Path
) -> None:
    codec = Codec("hotel", "binary", STRICT, b"a key")
    export(codec, tmp_path)
    sent = json.loads((tmp_path / "examples/request.json").read_text())
    for path, value in change.items():
        into = sent["features"] if path.startswith("features.") else sent
        into[path.removeprefix("features.")] = value
    try:
        codec.decode_request(json.dumps(sent).encode())
        read = True
    except BadRecord:
        read = False
    assert jsonschema.Draft202012Validator(schema(tmp_path, "request")).is_valid(sent) == read


@pytest.mark.parametrize(
    "change",
    [
        {"value": True},
        {"value": 1},
        {"value": 0.0},
        {"value": 2},
        {"value": 1.5},
        {"value": "a class"},
        {"value": None},
        {"value": None, "reason": ""},
        {"value": None, "reason": "deleted"},
        {"value": [1]},
        {"revision": 1.5},
        {"reporter": None},
        {"reporter": "a" * 200},
        {"reporter": "a" * 201},
        {"reason": "a" * 1000},
        {"reason": "a" * 1001},
        {"value": None, "reason": "a" * 1001},
    ],
    ids=str,
)
def test_an_outcome_passes_its_json_schema_exactly_when_it_is_read(
    codec: Codec, change: dict[str, Any], tmp_path: Path
) -> None:
    export(codec, tmp_path)
    sent = json.loads((tmp_path / "examples/outcome.json").read_text()) | change
    try:
        codec.decode_outcome(json.dumps(sent).encode())
        read = True
    except BadRecord:
        read = False
    assert jsonschema.Draft202012Validator(schema(tmp_path, "outcome")).is_valid(sent) == read


def test_the_data_dictionary_names_every_feature_with_what_it_is(codec: Codec, tmp_path: Path) -> None:
    export(codec, tmp_path)
    table = (tmp_path / "data-dictionary.md").read_text()
    assert "| price | number | EUR | 0 … | required | no | sales | what is at stake |" in table
    assert "| share | number | ratio | 0 … 1 (others rejected) | required | no |  | a \\| b |" in table
    assert "| rooms | integer |  | 1 … (others rejected) | stored as `1` | no |  |  |" in table
    assert "| phone | category |  | any | required | yes: never stored |  |  |" in table
    assert "`registry_framing`" in table


def test_the_readme_says_framing_keys_partitioner_and_topics(codec: Codec, tmp_path: Path) -> None:
    text = (export(codec, tmp_path)[0]).read_text()
    for said in ("C3 01", "CRC-64-AVRO", "murmur2_random", "`hotel.requests` | request_id | P", codec.kind):
        assert said in text
    assert all(each in text for each in codec.fingerprints.values())


def test_the_examples_of_a_fresh_export_are_taken_as_they_are(codec: Codec, tmp_path: Path) -> None:
    now = 1_800_000_000_000
    export(codec, tmp_path, now)
    bounds = TimeBounds(millis_of(EARLIEST), 300_000)
    for form in ("json", "avro.bin"):
        request = codec.decode_request(
            (tmp_path / f"examples/request.{form}").read_bytes().removesuffix(b"\n")
        )
        outcome = codec.decode_outcome((tmp_path / f"examples/outcome.{form}").read_bytes())
        assert (request.ts, outcome.ts) == (now, now + 1)
        bounds.check(outcome.ts, now)
        assert Remarks(codec.dictionary).outside(request.features) == []
    sent = json.loads((tmp_path / "examples/request.json").read_text())
    assert Remarks(codec.dictionary).unknown(sent) == []


def test_the_contract_says_for_programs_what_clients_need(codec: Codec, tmp_path: Path) -> None:
    export(codec, tmp_path)
    reported = json.loads((tmp_path / "contract.json").read_text())
    assert (reported["partitioner"], reported["isolation_level"]) == ("murmur2_random", "read_committed")
    assert reported["rejections"]["topic"] == "hotel.dead-letters"
    for record in RECORDS:
        entry = reported["schemas"][record_word(record)]
        written = json.loads((tmp_path / entry["avro"]).read_text())
        assert fingerprint(written).hex() == entry["fingerprint"]
        again = json.loads((tmp_path / f"avro/by-fingerprint/{entry['fingerprint']}.avsc").read_text())
        assert again == written
    text = (tmp_path / "README.md").read_text()
    for each in ("isolation.level=read_committed", "partitioner=murmur2_random"):
        assert each in text
    assert [each["family"] for each in reported["clients"]] == [each.family for each in CLIENTS]
    for client in CLIENTS:
        assert f"| {' | '.join(astuple(client))} |" in text
    assert "`hotel.dead-letters`" in text


def test_what_is_said_of_aiokafka_is_what_it_does() -> None:
    """Of the clients it is the one that is installed here and brings its own partitioner."""
    placed = DefaultPartitioner()
    for number in range(200):
        key = f"r-{number}".encode()
        assert placed(key, list(range(7)), list(range(7))) == partition_of(key, 7)
    default = signature(AIOKafkaConsumer.__init__).parameters["isolation_level"].default
    assert default == "read_uncommitted"


def test_an_export_keeps_the_schemas_of_an_older_dictionary(tmp_path: Path) -> None:
    before = Codec("hotel", "binary", Dictionary(Number(name="x")))
    after = Codec("hotel", "binary", Dictionary(Number(name="x"), Number(name="y", optional=True)))
    export(before, tmp_path)
    export(after, tmp_path)
    marks = {path.stem for path in (tmp_path / "avro/by-fingerprint").iterdir()}
    assert {before.fingerprints["Prediction"], after.fingerprints["Prediction"]} <= marks
    assert before.fingerprints["Prediction"] != after.fingerprints["Prediction"]
