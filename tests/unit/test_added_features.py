"""Features that requests do not carry: serving adds them, and predictions have them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from infra.taskfile import load_task
from infra.verify.extent import asked, mark
from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, TaskError
from schemas.export import contract, data_dictionary, export
from schemas.records import FeatureValue, Prediction, Request, Score
from schemas.remarks import Remarks
from streams.driver import MemoryDriver
from streams.native.serving import request_scan_of

FEATURES = (
    Number(name="price", low=0),
    Integer(name="orders", missing=-1),
    Category(name="band", optional=True),
)
ROOT = Path(__file__).parents[2]
PLAIN = Dictionary(*FEATURES)
ADDED = Dictionary(*FEATURES, added=["band", "orders"])
REQUEST = Request("r-1", 1_700_000_000_000, {"price": 3.0})
FULL: Mapping[str, FeatureValue] = {"price": 3.0, "orders": 4, "band": "gold"}


def codec(dictionary: Dictionary = ADDED) -> Codec:
    return Codec("t", "binary", dictionary)


def test_requests_lack_what_serving_adds_and_predictions_have_it() -> None:
    names = {
        record: [each["name"] for each in schema["fields"] if each["name"] == "features"]
        for record, schema in codec().schemas.items()
    }
    assert names["Request"] == ["features"]
    fields = codec().schemas["Request"]["fields"][2]["type"]["fields"]
    assert [each["name"] for each in fields] == ["price"]
    fields = codec().schemas["Prediction"]["fields"][2]["type"]["fields"]
    assert [each["name"] for each in fields] == ["price", "orders", "band"]


def test_nothing_on_the_wire_changes_for_a_task_without_them() -> None:
    plain, added = codec(PLAIN).fingerprints, codec().fingerprints
    assert plain == codec(Dictionary(*FEATURES, added=[])).fingerprints
    assert {name for name in plain if plain[name] != added[name]} == {"Request"}
    assert PLAIN.digest == ADDED.digest
    assert PLAIN.asked is PLAIN


@pytest.mark.parametrize("json_form", [False, True])
def test_a_request_goes_without_them_and_a_prediction_with_them(json_form: bool) -> None:
    made = codec()
    sent = made.encode(replace(REQUEST, features=FULL), json=json_form)
    assert b"gold" not in sent
    assert made.decode_request(sent) == REQUEST
    prediction = Prediction("r-1", REQUEST.ts, FULL, (Score("m", 1, 0, 0.5, False),))
    assert made.decode_prediction(made.encode(prediction, json=json_form)).features == FULL


def test_what_a_request_carries_of_them_is_not_taken_and_remarked_on() -> None:
    data = {"request_id": "r-1", "ts": 1_700_000_000_000, "features": {"price": 3, "orders": 9}}
    assert codec().decode_request(json.dumps(data).encode()).features == {"price": 3.0}
    assert [each.field for each in Remarks(ADDED).unknown(data)] == ["features.orders"]
    assert Remarks(PLAIN).unknown(data) == []


def test_the_missing_rule_of_the_dictionary_holds() -> None:
    assert ADDED.complete(REQUEST.features, {}) == {"price": 3.0, "orders": -1}
    assert list(ADDED.complete(REQUEST.features, {"band": "gold", "orders": 2.0})) == [
        "price",
        "orders",
        "band",
    ]
    required = Dictionary(Number(name="price"), Integer(name="orders"), added=["orders"])
    with pytest.raises(BadRecord, match="orders is required"):
        required.complete(REQUEST.features, {})
    with pytest.raises(BadRecord, match="orders must be a whole number"):
        required.complete(REQUEST.features, {"orders": "many"})


def test_a_row_of_a_data_file_keeps_its_own() -> None:
    assert ADDED.complete(FULL, {"orders": 9}) == FULL
    assert codec().stored_request(replace(REQUEST, features=FULL)).features == FULL
    assert codec(PLAIN).stored_request(replace(REQUEST, features=FULL)).features == FULL


@pytest.mark.parametrize(
    ("features", "added", "message"),
    [
        (FEATURES, ["orderz"], "does not have"),
        (FEATURES, ["price", "orders", "band"], "at least one"),
        ((Number(name="a"), Category(name="b", personal_data="tokenised")), ["b"], "personal data"),
    ],
)
def test_what_cannot_be_added_is_refused(features: tuple[Number], added: list[str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Dictionary(*features, added=added)


def test_verify_compares_a_prediction_with_what_was_asked() -> None:
    made = codec()
    prediction = Prediction("r-1", REQUEST.ts, FULL, (Score("m", 1, 0, 0.5, False),), log_offset=3)
    other = replace(prediction, features=dict(FULL) | {"price": 4.0})
    marks = [mark(made, asked(made, each)) for each in (REQUEST, prediction, other)]
    assert marks[0] == marks[1] != marks[2]


def test_the_core_leaves_such_requests_to_the_reference() -> None:
    assert request_scan_of(codec()) is None


def test_the_contract_says_so(tmp_path: Path) -> None:
    export(codec(), tmp_path)
    schema = json.loads((tmp_path / "json-schema" / "request.schema.json").read_text())
    assert list(schema["properties"]["features"]["properties"]) == ["price"]
    assert "serving adds them, and predictions have them: `orders`, `band`" in data_dictionary("t", ADDED)
    assert "serving adds" not in data_dictionary("t", PLAIN)
    assert contract(codec())["dictionary"] == PLAIN.digest
    example = json.loads((tmp_path / "examples" / "request.json").read_text())
    assert list(example["features"]) == ["price"]


TASK = """
from datetime import timedelta
from river import linear_model, preprocessing
from schemas import Dictionary, Integer, Number
from streams import Model, Task

task = Task(
    name="t", question="?", horizon=timedelta(days=1),
    features=Dictionary(Number(name="price"), Integer(name="orders", missing=-1), added=["orders"]),
    models=(Model("champion", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()),),
)
"""


def test_the_driver_completes_a_request_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    driver = MemoryDriver(load_task(str(tmp_path / "task.py")).task)
    assert driver.ask(REQUEST).features == {"price": 3.0, "orders": -1}
    driver.server.additions.append(lambda request: {"orders": int(request.features["price"])})
    assert driver.ask(replace(REQUEST, request_id="r-2")).features == {"price": 3.0, "orders": 3}
    full = replace(REQUEST, request_id="r-3", features={"price": 3.0, "orders": 7})
    assert driver.ask(full).features == {"price": 3.0, "orders": 7}


def test_a_worker_without_look_ups_imports_none_of_it() -> None:
    code = (
        "import sys, agents.app, agents.http.routes, agents.cli.worker\n"
        "print([name for name in sys.modules if name == 'redis' or name.startswith('infra.features')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
