"""How long texts of the contract may be: the same bound in JSON, Avro, their schemas and the HTTP contract."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.codec.avro_form import load
from schemas.dictionary import Dictionary, Number
from schemas.errors import BadRecord
from schemas.limits import LIMITS, NAME, PARENTS, REASON, SCORES
from schemas.records import Outcome, Position, Prediction, Request, Score

FEATURES = Dictionary(Number(name="x"), entity_key="none", parents="none", reporter="none")
CODEC = Codec("task", "multiclass", FEATURES)
REQUEST = Request("r", 5, {"x": 1.0})
OUTCOME = Outcome("r", 5, "a class", reason="a reason", reporter="a service")
SCORE = Score("lr", 1, 0, {"a": 1.0}, "a")
PREDICTION = Prediction("r", 5, {"x": 1.0}, (SCORE,), Position("task.requests", 0, 7))
READ = {
    Request: CODEC.decode_request,
    Outcome: CODEC.decode_outcome,
    Prediction: CODEC.decode_prediction,
}


def longest(count: int) -> str:
    return "ü" * count  # characters, not bytes


def changed(record: Any, **changes: Any) -> Any:
    return dataclasses.replace(record, **changes)


def scored(**changes: Any) -> Prediction:
    return dataclasses.replace(PREDICTION, scores=(dataclasses.replace(SCORE, **changes),))


CASES: list[tuple[Any, Any, str]] = [
    (
        changed(record, **{field: longest(limit.characters)}),
        changed(record, **{field: longest(limit.characters + 1)}),
        field,
    )
    for record, field, limit in (
        (REQUEST, "request_id", NAME),
        (REQUEST, "entity_key", NAME),
        (OUTCOME, "request_id", NAME),
        (OUTCOME, "value", NAME),
        (OUTCOME, "reason", REASON),
        (OUTCOME, "reporter", NAME),
        (PREDICTION, "request_id", NAME),
        (PREDICTION, "entity_key", NAME),
    )
]
for record in (REQUEST, PREDICTION):
    full = changed(record, parents=(longest(NAME.characters),) * (PARENTS.items or 0))
    CASES.append((full, changed(record, parents=(*full.parents, "one more")), "parents"))
    CASES.append((full, changed(record, parents=(longest(NAME.characters + 1),)), "parents"))
CASES += [
    (scored(model=longest(200)), scored(model=longest(201)), "scores"),
    (scored(label=longest(200)), scored(label=longest(201)), "scores.label"),
    (scored(score={longest(200): 1.0}), scored(score={longest(201): 1.0}), "scores.score"),
    (
        dataclasses.replace(PREDICTION, scores=(SCORE,) * SCORES),
        dataclasses.replace(PREDICTION, scores=(SCORE,) * (SCORES + 1)),
        "scores",
    ),
    (
        dataclasses.replace(PREDICTION, source=Position("t" * 249, 0, 7)),
        dataclasses.replace(PREDICTION, source=Position("t" * 250, 0, 7)),
        "source.topic",
    ),
]


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "avro"])
@pytest.mark.parametrize(("fits", "too_long", "field"), CASES, ids=lambda each: str(each)[:40])
def test_a_text_is_read_up_to_its_limit_and_rejected_beyond_with_the_field_and_without_the_text(
    fits: Any, too_long: Any, field: str, as_json: bool
) -> None:
    read = READ[type(fits)]
    assert read(CODEC.encode(fits, json=as_json)) == fits
    with pytest.raises(BadRecord) as rejected:
        read(CODEC.encode(too_long, json=as_json))
    assert (rejected.value.reason, rejected.value.field) == ("out_of_range", field)
    assert "üü" not in rejected.value.message


def test_every_limited_field_exists_and_its_description_ends_with_the_limit() -> None:
    for (record, field), limit in LIMITS.items():
        docs = {each["name"]: each["doc"] for each in load(record)["fields"]}
        assert docs[field].endswith(limit.sentence()), (record, field)


def test_the_http_contract_has_the_limits_that_are_declared() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
    known = json.loads(path.read_text(encoding="utf-8"))["components"]["schemas"]
    checked = 0
    for (record, field), limit in LIMITS.items():
        if record not in known:
            continue
        found = known[record]["properties"][field]
        texts = found["items"] if limit.items else found
        assert (texts["maxLength"], found.get("maxItems")) == (limit.characters, limit.items), (record, field)
        checked += 1
    assert checked == 7
