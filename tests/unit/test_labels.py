"""Labels, keys and pages have names of the contract and the dictionary: a sender's text makes no series."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import pytest

from infra.exporter import Exporter
from infra.web.dead_letters import DeadLetterSummary
from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Number
from schemas.errors import BadRecord
from schemas.records import DeadLetter, Entry, Outcome, Position, Prediction, Score
from schemas.tally import FeatureTally, Tally
from streams.join.join import MAX_COUNTERS
from streams.metrics.served import ServedMetrics
from streams.metrics.waiting import Waiting
from streams.quality import EdgeCounter, QualityMonitor
from streams.quality.tally import MAX_BINS, MAX_KINDS, Total
from tests.joining import Bench
from tests.unit.http_worker import make_task
from tests.unit.test_exporter import samples, view

DICTIONARY = Dictionary(Number(name="x"), Category(name="colour"))
CODEC = Codec("task", "binary", DICTIONARY)
TEXT = "Ada-Lovelace"


def rejected(body: bytes) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        CODEC.decode_request(body)
    return caught.value


def bodies(burst: int) -> Iterable[bytes]:
    """Requests with keys that nobody knows, given twice, at each place where there are keys."""
    for number in range(60):
        key = f"{TEXT}-{burst}-{number}"
        twice = f'"{key}": 1, "{key}": 2'
        yield f"{{{twice}}}".encode()
        yield f'{{"request_id": "r", "ts": 5, "features": {{"x": 1, "colour": "a", {twice}}}}}'.encode()
        yield json.dumps({"request_id": "r", "ts": 5, "features": {key: 1}}).encode()


def series(monitor: QualityMonitor) -> set[Any]:
    page = Exporter(lambda: [view(*monitor.measurements())], "1", "r").page()
    assert TEXT.encode() not in page
    return set(samples(page))


def test_a_key_that_is_unknown_or_given_twice_makes_no_series_however_many_come() -> None:
    counter, monitor = EdgeCounter(DICTIONARY, "worker-1"), QualityMonitor("stay", DICTIONARY)
    found = []
    for burst in range(3):
        for body in bodies(burst):
            counter.rejected(0, rejected(body), 60_000)
        for offset, tally in enumerate(counter.tallies(), start=monitor.next_offset):
            assert TEXT not in repr(tally)
            monitor.apply(offset, tally)
        counter.commit()
        found.append(series(monitor))
    assert found[0] == found[1] == found[2]
    assert dict(monitor.sum.rejected) == {"malformed": 360, "missing_field features.x": 180}


def test_a_tally_that_somebody_else_wrote_makes_no_series_either() -> None:
    monitor = QualityMonitor("stay", DICTIONARY)
    bins = {f"{TEXT} {number}": 1 for number in range(3 * MAX_BINS)}
    for offset in range(3):
        tally = Tally(
            "slot",
            "topic",
            60_000,
            60_000,
            5,
            rejected={f"{TEXT} {offset}": 1, f"wrong_type {TEXT}{offset}": 1, "wrong_type features.x": 1},
            written={f"{TEXT}{offset}": 1, "json": 1},
            features={
                "colour": FeatureTally(bins, 0, 0, 0.0),
                f"{TEXT}{offset}": FeatureTally({}, 0, 0, 0.0),
            },
        )
        monitor.apply(offset, tally)
    assert dict(monitor.sum.rejected) == {"other": 3, "wrong_type other": 3, "wrong_type features.x": 3}
    assert dict(monitor.sum.written) == {"other": 3, "json": 3}
    [cell] = monitor._cells.values()
    assert list(cell.features) == ["colour"]
    kept = cell.features["colour"]
    assert len(kept.bins) == MAX_BINS + 1
    assert kept.present == 9 * MAX_BINS
    series(monitor)


def test_what_is_summed_is_capped_and_nothing_is_lost() -> None:
    total = Total()
    for number in range(3 * MAX_KINDS):
        total.add(Tally("slot", "topic", 0, 1, 0, rejected={f"kind {number}": 2}))
    assert len(total.rejected) == MAX_KINDS + 1
    assert sum(total.rejected.values()) == 6 * MAX_KINDS


def test_models_that_a_foreign_prediction_names_become_neither_counters_without_end_nor_a_crash() -> None:
    bench = Bench()
    for number in range(2 * MAX_COUNTERS):
        at = Position("predictions", 3, number)
        prediction = Prediction(f"r{number}", 5, {"x": 1.0}, ())
        bench.join.prediction(f"r{number}", 5, prediction, at, 5, f"score {TEXT}{number} 3")
    bench.commit()
    assert len(bench.join.counters) == MAX_COUNTERS
    task = make_task("stay")
    waiting, served = Waiting(task), ServedMetrics(task, task.models[0])
    before = waiting.snapshot()
    for offset, model in enumerate((TEXT, task.models[0].name)):
        score = Score(model, -7, 0, 0.5, True)
        prediction = Prediction("r", 5, {}, (score,))
        entry = Entry("id", "labelled", 5, prediction=prediction, outcome=Outcome("r", 6, True))
        served.apply(offset, entry)
        if model == TEXT:
            waiting.apply(offset, entry)
    assert waiting.snapshot() == before | {"next_offset": 1}
    assert served.n == 1


def test_a_segment_has_the_levels_of_the_dictionary_or_of_an_open_set_the_first_characters() -> None:
    closed = Category(name="Meal", levels=("BB",), missing="NA")
    features = Dictionary(Number(name="LeadTime"), Number(name="Rate"), closed, Category(name="Guest"))
    task = make_task("stay")
    rules = dataclasses.replace(task.metrics, segments=("Meal", "Guest"), least=1)
    task = dataclasses.replace(task, features=features, metrics=rules)
    served = ServedMetrics(task, task.models[0])
    for offset, meal in enumerate(("BB", "NA", TEXT)):
        score = Score(task.models[0].name, 1, 0, 0.5, True)
        prediction = Prediction(f"r{offset}", 5, {"Meal": meal, "Guest": "x" * 9_000}, (score,))
        entry = Entry("id", "labelled", 5, prediction=prediction, outcome=Outcome(f"r{offset}", 6, True))
        served.apply(offset, entry)
    segments = {each.segment for each in served.measurements() if each.segment[:5] in ("Meal=", "Guest")}
    assert segments == {"Meal=BB", "Meal=NA", "Meal=other", f"Guest={'x' * 64}"}


@pytest.mark.parametrize("field", [TEXT, "features.Rate"])
def test_the_page_shows_no_field_that_is_not_ours_to_those_who_may_not_read_records(field: str) -> None:
    task = make_task("stay")
    dead_letters = DeadLetterSummary(
        Codec("stay", "binary", task.features, b"a key", serving=True), open_=False
    )
    dead_letters.add("0@1", DeadLetter("wrong_type", "message", field, None, None, b"{}", 5))
    [reason] = dead_letters.as_data()["reasons"]
    assert reason["example"]["field"] == ("" if field == TEXT else field)
