"""What the live page shows, as a fold of the topics: rates, histories, episodes, versions, dead letters."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.web.board import MOST_EPISODES, Board
from infra.web.dead_letters import DeadLetterSummary
from infra.web.history import History
from infra.web.rates import Rate
from schemas.alert import Alert, Evidence
from schemas.codec import Codec
from schemas.records import DeadLetter, Manifest, Metric, Position
from streams.fold import Measurement
from streams.metrics.registry import METRICS
from tests.unit.http_worker import SECRET, make_task

TASK = make_task("stay")
ROLLING = TASK.metrics.rolling_name


def metric(name: str, value: float, offset: int = 10, **more: Any) -> Metric:
    reported: dict[str, Any] = {
        "unit": "ratio",
        "model": "",
        "version": "",
        "role": "loop",
        "window": "all",
        "count": 5,
        "ts": 1000,
    }
    return Metric(name, value, log_offset=offset, **(reported | more))


def served(name: str, value: float, offset: int = 10, window: str = ROLLING, **more: Any) -> Metric:
    reported = {"model": "lr", "version": f"lr.1@{offset}", "role": "served", "window": window}
    return metric(name, value, offset, **(reported | more))


# ---------------------------------------------------------------------- rates


def test_a_rate_is_that_of_the_newest_seconds_and_not_of_all_time() -> None:
    rate = Rate()
    for second in range(100):
        rate.observe(second * 1000, second * 10.0)
    for second in range(100, 115):
        rate.observe(second * 1000, 990 + (second - 99) * 200.0)
    assert rate.per_second(114_000) == pytest.approx(200)


def test_a_counter_that_is_reported_once_a_minute_has_its_rate_all_the_same() -> None:
    rate = Rate()
    for minute in range(3):
        rate.observe(minute * 60_000, minute * 600.0)
    assert rate.per_second(122_000) == pytest.approx(10)


def test_a_counter_that_began_anew_has_no_rate_until_it_grows_again() -> None:
    rate = Rate()
    for at, value in ((0, 100.0), (1000, 200.0), (2000, 3.0)):
        rate.observe(at, value)
    assert rate.per_second(2000) is None
    rate.observe(3000, 5.0)
    assert rate.per_second(3000) == pytest.approx(2)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 1000)), min_size=2, max_size=30),
    st.integers(0, 10**6),
)
def test_a_rate_is_never_negative_and_never_above_the_steepest_step(
    steps: list[tuple[int, int]], later: int
) -> None:
    rate, at, value, steepest = Rate(), 0, 0, 0.0
    rate.observe(0, 0)
    for gap, more in steps:
        at, value = at + gap + 1, value + more
        steepest = max(steepest, 1000 * more / (gap + 1))
        rate.observe(at, value)
    found = rate.per_second(at + later)
    assert found is not None
    assert 0 <= found <= steepest + 1e-9


# ---------------------------------------------------------------------- history


@given(st.integers(4, 50), st.integers(1, 400))
def test_a_history_is_bounded_spans_all_and_ends_with_the_newest(most: int, rows: int) -> None:
    history = History(most)
    for at in range(rows):
        history.add(at, at, {"x": float(at)})
    kept = [at for at, _, _ in history.rows]
    assert len(kept) <= most + 1
    assert (kept[0], kept[-1]) == (0, rows - 1)
    gaps = [b - a for a, b in pairwise(kept[:-1])]
    assert len(set(gaps)) <= 1, "evenly spread but for the newest"


# ---------------------------------------------------------------------- the board


def test_every_declared_metric_reaches_the_page_or_is_one_that_it_counts_elsewhere() -> None:
    """A metric that is added must not vanish between the topic and the page in silence."""
    # The first three are counted from the episodes and the dead letters themselves; each worker has the gate.
    elsewhere = {"open_episodes", "episodes", "rejected"}
    elsewhere |= {each.name for each in METRICS if each.name.startswith("gate_")}
    for each in METRICS:
        board = Board(TASK)
        segment = {"signal_mean": "error", "rejected": "stale", "warned": "outside features.Rate"}.get(
            each.name, ""
        )
        if each.name.startswith("calibration_") and each.name.split("_")[1] in {"score", "rate"}:
            segment = "score=0.1-0.2"
        elif each.name.startswith("feature_"):
            segment = "Rate"
        elif each.name in {"open_episodes", "episodes"}:
            segment = "drift"
        reported: dict[str, Any] = (
            {"model": "lr", "version": "lr.1@3", "role": "served"} if each.kinds or each.by_model else {}
        )
        board.metric(metric(each.name, 0.123456, segment=segment, unit=each.unit, **reported), 5000)
        shown = json.dumps([board.sections(), board.loop(5000)])
        assert ("0.123456" in shown) == (each.name not in elsewhere), each.name


def test_the_newest_values_are_shown_by_model_window_and_segment() -> None:
    board = Board(TASK)
    for value in (0.5, 0.75):
        board.metric(served("accuracy", value), 5000)
    board.metric(served("accuracy", 0.25, segment="Meal=BB", window="all"), 5000)
    board.metric(served("accuracy", 0.125, version="lr.1", window="all"), 5000)
    shown = board.sections()["quality"]["lr"]
    assert shown["windows"] == {ROLLING: {"accuracy": 0.75, "count": 5}}
    assert shown["segments"] == {"Meal=BB": {"accuracy": 0.25, "count": 5}}
    assert shown["revisions"] == {"lr.1": {"accuracy": 0.125, "count": 5}}
    assert (shown["role"], shown["version"]) == ("served", "lr.1@10")


def test_a_shadow_s_gain_is_shown_with_its_interval_and_not_as_quality() -> None:
    board = Board(TASK)
    reported: dict[str, Any] = {
        "model": "other",
        "version": "other.2",
        "role": "shadow",
        "segment": "against=lr.1",
        "count": 150,
    }
    for end, value in (("", 0.25), ("_low", 0.125), ("_high", 0.375)):
        board.metric(metric(f"log_loss_gain{end}", value, unit="nats", **reported), 5000)
    shown = board.sections()
    assert shown["gains"] == {
        "other": {
            "shadow": "other.2",
            "against": "lr.1",
            "count": 150,
            "gain": 0.25,
            "low": 0.125,
            "high": 0.375,
        }
    }
    assert shown["quality"] == {}
    # Promoted, it is measured as the served model, and compared no longer.
    for offset in (20, 30):
        more = {"model": "other", "version": f"other.2@{offset}"}
        board.metric(served("accuracy", 0.5, offset, **more), 6000 + offset)
    assert board.sections()["gains"] == {}


def test_a_window_that_nobody_measures_any_more_is_not_shown_with_its_old_value() -> None:
    board = Board(TASK)
    for offset in (10, 20, 30):
        board.metric(served("accuracy", 0.5, offset), 1000 * offset)
        if offset == 10:
            board.metric(served("accuracy", 0.9, offset, window="age_0-12%"), 1000 * offset)
            board.metric(metric("label_rate", 0.9, offset, window="age_0-12%"), 1000 * offset)
        board.metric(metric("waiting", 5.0, offset), 1000 * offset)
    shown = board.sections()
    assert shown["quality"]["lr"]["windows"].keys() == {ROLLING}
    assert shown["labels"]["label_rate"] == {}


def test_a_burst_becomes_one_row_of_the_history() -> None:
    board = Board(TASK)
    for burst in range(3):
        at = 1000 * burst
        for model in ("lr", "other"):
            reported = {"model": model, "version": f"{model}.1@{burst}"}
            board.metric(served("log_loss", burst + 0.5, burst, ts=burst, **reported), at)
        board.metric(metric("waiting", 7.0, burst, ts=burst), at + 5)
    assert [(number, name) for number, name, _ in board.fresh] == [(1, "log"), (2, "log")]
    board.settle(2600)
    assert len(board.fresh) == 2, "its burst may still go on"
    board.settle(3000)
    log = board.histories()["log"]
    assert (log["at"], log["ts"]) == ([0, 1000, 2000], [0, 1, 2])
    assert log["values"]["log_loss|lr|"] == log["values"]["log_loss|other|"] == [0.5, 1.5, 2.5]
    assert log["values"]["waiting||"] == [7.0] * 3


def test_what_was_predicted_and_does_not_wait_is_resolved() -> None:
    board = Board(TASK)
    for second in range(4):
        for name, value in (("predictions", 100.0 * second), ("waiting", 25.0 * second)):
            board.metric(metric(name, value, second), second * 1000)
    reported = board.loop(3000)
    assert (reported["counts"]["predictions"], reported["counts"]["resolved"]) == (300, 225)
    assert (reported["rates"]["predictions"], reported["rates"]["resolved"]) == (100, 75)


def test_a_new_revision_and_a_new_role_are_marked_where_they_came() -> None:
    board = Board(TASK)
    for offset, version, role in ((1, "lr.1@1", "shadow"), (2, "lr.1@2", "shadow"), (3, "lr.2@3", "served")):
        board.metric(served("accuracy", 0.5, offset, version=version, role=role, ts=offset), offset * 10)
    (mark,) = board.sections()["versions"]["marks"]
    assert mark == {"at": 30, "ts": 3, "model": "lr", "what": "lr.1 shadow → lr.2 served"}


def alert(number: int, state: Any = "opened", **more: Any) -> Alert:
    reported: dict[str, Any] = {
        "severity": "warning",
        "family": "drift",
        "signal": "error",
        "direction": "up",
        "model": "lr",
        "version": "lr.1@4",
        "feature": "",
        "evidence": Evidence("ADWIN", "difference of means", 0.3, 0.2, 0.1, 100, 0.4, 50),
        "alarms": 1,
        "held_back": False,
        "log_offset": 4,
        "ts": 70,
        "opened_ts": 50,
        "text": "It is wrong more often.",
    }
    return Alert(f"stay/drift@{number}", state, **(reported | more))


def test_an_episode_is_one_line_from_its_opening_to_its_end() -> None:
    board = Board(TASK)
    board.alert(alert(1), 1000)
    board.alert(alert(1, "updated", alarms=2, ts=80), 2000)
    board.alert(alert(1, "closed", ts=90, text="Over."), 3000)
    (shown,) = board.sections()["episodes"]
    assert (shown["state"], shown["opened_at"], shown["at"], shown["opened_ts"], shown["ts"]) == (
        "closed",
        1000,
        3000,
        50,
        90,
    )
    assert (shown["text"], shown["ended"]) == ("It is wrong more often.", "Over.")
    assert shown["evidence"]["reference_count"] == 100


def test_open_episodes_stay_when_there_are_too_many() -> None:
    board = Board(TASK)
    board.alert(alert(0), 0)
    for number in range(1, MOST_EPISODES + 20):
        board.alert(alert(number, "closed"), number)
    shown = board.sections()["episodes"]
    assert len(shown) == MOST_EPISODES
    assert shown[-1]["episode"] == "stay/drift@0"


def test_a_snapshot_shows_until_retention_removes_it() -> None:
    board = Board(TASK)
    manifest = Manifest(
        version="lr.1@7",
        parents=("lr.1@3",),
        kind="model",
        task="stay",
        model="lr",
        revision=1,
        log_topic="stay.log",
        log_topic_id="id",
        log_offset=7,
        next_offset=8,
        learned=5,
        spec="s",
        spec_text="lr()",
        state_digest="d",
        state_sha256="e",
        dictionary="f",
        schemas={},
        runtime="r",
        runtime_text="river",
        metrics={"accuracy": 0.5},
        author="ann",
        git_commit="c",
        created_at=1,
        signature="secret-signature",
    )
    board.snapshots.take(manifest.version, manifest)
    board.snapshots.take("metrics@7", replace(manifest, version="metrics@7", kind="metrics"))
    (shown,) = board.sections()["versions"]["snapshots"]
    assert (shown["version"], shown["parents"], shown["signed"]) == ("lr.1@7", ["lr.1@3"], True)
    assert "secret-signature" not in json.dumps(shown)
    board.snapshots.take(manifest.version, None)
    assert board.sections()["versions"]["snapshots"] == []


# ---------------------------------------------------------------------- dead letters


def dead_letter(reason: str, arrived: int, value: bytes) -> DeadLetter:
    message = f"feature Guest must be text, not {SECRET}"
    return DeadLetter(
        reason, message, "features.Guest", Position("stay.requests", 0, 5), b"k", value, arrived
    )


def reported_of(value: bytes, *, open_: bool) -> dict[str, Any]:
    dead_letters = DeadLetterSummary(
        Codec("stay", "binary", TASK.features, b"a key", serving=True), open_=open_
    )
    dead_letters.add("0@1", dead_letter("wrong_type", 5, b"{}"))
    dead_letters.add("0@2", dead_letter("wrong_type", 9, value))
    dead_letters.add("1@0", dead_letter("no such reason <b>", 7, value))
    return dead_letters.as_data()


def test_letters_are_counted_by_reason_with_the_newest_as_example_and_personal_data_hidden() -> None:
    value = json.dumps({"request_id": "b-1", "features": {"Guest": SECRET, "LeadTime": 3}}).encode()
    reported = reported_of(value, open_=True)
    first, second = reported["reasons"]
    assert (reported["counted"], first["reason"], first["count"]) == (3, "wrong_type", 2)
    assert (first["example"]["place"], first["example"]["record"]["features"]["LeadTime"]) == ("0@2", 3)
    assert SECRET not in json.dumps(first["example"]["record"])
    assert second["reason"] == "unknown"


def test_where_predictions_need_a_token_nothing_of_what_a_request_says_is_shown() -> None:
    value = json.dumps({"request_id": "b-1", "features": {"LeadTime": 3}}).encode()
    reported = reported_of(value, open_=False)
    assert not reported["open"]
    example = reported["reasons"][0]["example"]
    assert example.keys() == {"place", "reason", "field", "source", "arrived", "bytes"}
    assert SECRET not in json.dumps(reported)
    assert "b-1" not in json.dumps(reported)


def test_a_measurement_has_the_fields_that_the_board_takes() -> None:
    assert {
        "name",
        "value",
        "unit",
        "model",
        "version",
        "role",
        "window",
        "segment",
        "count",
        "monitor",
    } == set(Measurement.__slots__)


def test_of_a_model_that_was_promoted_the_page_shows_what_it_serves_and_marks_the_change_once() -> None:
    """The numbers of its time as a shadow are published on: they must not take turns with the new ones."""
    board = Board(TASK, lambda model, offset: (model == "lr") == (offset < 10))
    for offset in range(5, 15):
        for model in ("lr", "other"):
            for role in ("served", "shadow"):
                loss = 0.5 if role == "served" else 0.25
                told = {"count": offset, "log_offset": offset, "ts": offset * 1000}
                metric = Metric("log_loss", loss, "nats", model, f"{model}.1@{offset}", role, "all", **told)  # type: ignore[arg-type]  # the names of the two roles
                board.metric(metric, offset * 1000)
    models, versions = board.sections()["quality"], board.sections()["versions"]
    assert {name: each["role"] for name, each in models.items()} == {"lr": "shadow", "other": "served"}
    assert models["other"]["windows"]["all"]["log_loss"] == 0.5
    assert sorted(each["what"] for each in versions["marks"]) == [
        "lr.1 served → lr.1 shadow",
        "other.1 shadow → other.1 served",
    ]
