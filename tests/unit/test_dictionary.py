from __future__ import annotations

import math
from typing import Any

import pytest

from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number, subset
from schemas.errors import BadRecord, TaskError


def rejected(feature: Feature, value: Any) -> BadRecord:
    with pytest.raises(BadRecord) as error:
        Dictionary(feature).canonical({feature.name: value})
    assert error.value.field == f"features.{feature.name}"
    assert feature.name in error.value.message
    return error.value


@pytest.mark.parametrize(
    ("value", "canonical"), [(1, 1.0), (-0.0, 0.0), (1.5, 1.5), (2**53 + 1, float(2**53)), (5e-324, 5e-324)]
)
def test_a_number_becomes_a_double(value: Any, canonical: float) -> None:
    found = Dictionary(Number(name="x")).canonical({"x": value})["x"]
    assert type(found) is float
    assert found == canonical
    assert math.copysign(1, found) == math.copysign(1, canonical)


@pytest.mark.parametrize("value", [True, "1", "NaN", [1], {"a": 1}, b"1"])
def test_a_number_is_never_a_boolean_or_text(value: Any) -> None:
    assert rejected(Number(name="x"), value).reason == "wrong_type"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 10**400])
def test_a_number_is_finite(value: Any) -> None:
    assert rejected(Number(name="x"), value).reason == "out_of_range"


@pytest.mark.parametrize(("value", "canonical"), [(3, 3), (3.0, 3), (-(2**63), -(2**63)), (-0.0, 0)])
def test_an_integer_is_a_whole_number(value: Any, canonical: int) -> None:
    found = Dictionary(Integer(name="x")).canonical({"x": value})["x"]
    assert type(found) is int
    assert found == canonical


@pytest.mark.parametrize(
    ("value", "reason"),
    [(3.5, "wrong_type"), (True, "wrong_type"), ("3", "wrong_type"), (2**63, "out_of_range")],
)
def test_an_integer_is_rejected_beyond_64_bits_and_between_whole_numbers(value: Any, reason: str) -> None:
    assert rejected(Integer(name="x"), value).reason == reason


@pytest.mark.parametrize("value", [0, 1, "true", 1.0])
def test_a_boolean_is_true_or_false_only(value: Any) -> None:
    assert rejected(Boolean(name="x"), value).reason == "wrong_type"


@pytest.mark.parametrize("value", [1, True, 1.5, ["a"], "\ud800"])
def test_a_category_is_unicode_text(value: Any) -> None:
    assert rejected(Category(name="x"), value).reason == "wrong_type"


def test_a_category_has_at_most_10000_characters() -> None:
    assert rejected(Category(name="x"), "a" * 10_001).reason == "out_of_range"


@pytest.mark.parametrize("absent", [{}, {"x": None}, {"x": math.nan}])
def test_a_missing_value_is_rejected_left_out_or_stood_for(absent: dict[str, Any]) -> None:
    with pytest.raises(BadRecord) as error:
        Dictionary(Number(name="x")).canonical(absent)
    assert error.value.reason == "missing_field"
    assert Dictionary(Number(name="x", optional=True)).canonical(absent) == {}
    assert Dictionary(Number(name="x", missing=-1.0)).canonical(absent) == {"x": -1.0}


def test_what_stands_for_missing_is_canonical_and_may_lie_outside_the_range() -> None:
    found = Dictionary(Number(name="x", missing=-1, low=0, on_range="reject")).canonical({})["x"]
    assert (type(found), found) == (float, -1.0)


def test_features_come_in_the_dictionarys_order_and_no_others() -> None:
    dictionary = Dictionary(Number(name="b"), Number(name="a"))
    assert list(dictionary.canonical({"a": 1, "other": 2, "b": 3})) == ["b", "a"]


def test_a_range_marks_or_rejects() -> None:
    assert Dictionary(Number(name="x", low=0)).canonical({"x": -1}) == {"x": -1.0}
    assert rejected(Number(name="x", low=0, on_range="reject"), -1).reason == "out_of_range"
    assert rejected(Integer(name="x", high=5, on_range="reject"), 6).reason == "out_of_range"


def test_levels_mark_or_reject() -> None:
    assert Dictionary(Category(name="x", levels=("a",))).canonical({"x": "b"}) == {"x": "b"}
    assert rejected(Category(name="x", levels=("a",), on_new_level="reject"), "b").reason == "out_of_range"


def test_what_was_stored_stays_readable_when_ranges_and_levels_change() -> None:
    stored = Dictionary(
        Number(name="n", low=0, on_range="reject"),
        Category(name="c", levels=("a",), on_new_level="reject"),
        Category(name="gone", personal_data="left_out"),
    ).stored()
    assert stored.canonical({"n": -1.0, "c": "b", "gone": "x"}) == {"n": -1.0, "c": "b"}


def test_a_feature_that_is_left_out_is_never_stored_or_required() -> None:
    dictionary = Dictionary(Number(name="n"), Category(name="guest", personal_data="left_out"))
    assert dictionary.canonical({"n": 1, "guest": "Ada"}) == {"n": 1.0}
    assert dictionary.canonical({"n": 1}) == {"n": 1.0}


@pytest.mark.parametrize("personal", ["left_out", "tokenised"])
def test_a_personal_value_is_never_shown(personal: Any) -> None:
    feature = Category(name="guest", personal_data=personal)
    assert "Ada" not in str(feature.wrong("Ada", "a number"))
    assert "Ada" not in str(feature.outside("Ada", "one of x"))


@pytest.mark.parametrize("field", ["entity_key", "parents", "reporter"])
def test_what_is_kept_of_a_personal_field_is_one_of_three(field: str) -> None:
    options: dict[str, Any] = {field: "tokenized"}
    with pytest.raises(TaskError, match=rf"{field}='tokenized'; it must be one of none, left_out, tokenised"):
        Dictionary(Number(name="n"), **options)
    kept = Dictionary(Number(name="n"), **{field: "tokenised"})  # type: ignore[arg-type]
    assert getattr(kept.stored(), field) == getattr(kept.past(), field) == "tokenised"


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([], "at least one feature"),
        ([Number(name="a"), Number(name="a")], "names a twice"),
        ([Number(name="Lead Time")], "letters, digits and _"),
        ([Number(name="a", missing="x")], "missing='x' is not a value of type number"),
        ([Integer(name="a", missing=1.5)], "missing=1.5 is not a value of type integer"),
        ([Number(name="a", personal_data="tokenised")], "only a category can be tokenised"),
    ],
)
def test_a_wrong_dictionary_fails_where_it_is_written(features: list[Feature], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        Dictionary(*features)


def test_cells_of_a_text_file_are_read_by_type() -> None:
    dictionary = Dictionary(
        Number(name="n", column="N"), Integer(name="i"), Boolean(name="b"), Category(name="c", optional=True)
    )
    assert dictionary.parse({"N": "1.5", "i": "2.0", "b": "TRUE", "c": ""}) == {"n": 1.5, "i": 2.0, "b": True}
    with pytest.raises(BadRecord, match="n must be a number"):
        dictionary.canonical(dictionary.parse({"N": "x", "i": "2", "b": "0"}))


def test_the_digest_follows_what_decides_the_canonical_form() -> None:
    plain = Dictionary(Number(name="a", unit="days"))
    assert plain.digest == Dictionary(Number(name="a", owner="sales", purpose="price", column="A")).digest
    for other in (Number(name="a", optional=True), Integer(name="a"), Number(name="a", missing=0.0)):
        assert plain.digest != Dictionary(other).digest


def test_names_of_one_type_can_be_taken_from_a_list() -> None:
    assert subset([Number(name="a"), Category(name="b"), Number(name="c")], Number) == ("a", "c")
