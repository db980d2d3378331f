"""The verdict of the live page: never healthy while something is wrong, and since when."""

from __future__ import annotations

from typing import Any

import pytest

from infra.web.verdict import (
    Reason,
    Verdict,
    episode_reasons,
    lag_reasons,
    model_reasons,
    readiness_reasons,
    rejection_reasons,
    stale_reasons,
)


def episode(**changes: Any) -> dict[str, Any]:
    reported = {
        "state": "opened",
        "severity": "warning",
        "family": "loss",
        "text": "It rose.",
        "opened_ts": 7,
    }
    return reported | changes


def test_nothing_wrong_is_healthy_since_it_was_first_seen() -> None:
    verdict = Verdict()
    assert verdict.of([], 5) == {"state": "healthy", "since": 5, "reasons": []}
    assert verdict.of([], 9)["since"] == 5


def test_the_worst_reason_comes_first_and_makes_the_state() -> None:
    reasons = [*episode_reasons([episode()]), *readiness_reasons({"ready": False, "why": "reading the log"})]
    reported = Verdict().of(reasons, 5)
    assert reported["state"] == "down"
    assert [each["state"] for each in reported["reasons"]] == ["down", "degraded"]
    assert reported["reasons"][0]["why"] == "reading the log"
    assert reported["reasons"][0]["runbook"] == "worker-not-ready"


def test_a_worker_may_give_several_reasons_and_their_runbooks() -> None:
    ready = {
        "ready": False,
        "reasons": ["a sentence", {"text": "no broker", "runbook": "cluster-unreachable"}],
    }
    found = [(each.why, each.runbook) for each in readiness_reasons(ready)]
    assert found == [("a sentence", "worker-not-ready"), ("no broker", "cluster-unreachable")]
    assert list(readiness_reasons({"ready": True})) == []


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "degraded"),
        ({"severity": "critical", "family": "outage"}, "degraded"),
        ({"severity": "info", "family": "drift"}, "healthy"),
        ({"state": "closed"}, "healthy"),
    ],
)
def test_what_only_informs_leaves_it_healthy(changes: dict[str, Any], state: str) -> None:
    assert Verdict().of(list(episode_reasons([episode(**changes)])), 5)["state"] == state


def test_an_episode_is_open_since_its_event_time() -> None:
    (reason,) = Verdict().of(list(episode_reasons([episode()])), 5)["reasons"]
    assert (reason["since"], reason["since_event"]) == (7, True)


def test_a_stage_is_late_by_time_and_one_that_stands_still_by_records() -> None:
    assert [each.what for each in lag_reasons({"requests": 301}, {"requests": 10.0})] == [
        "The consumers of requests lag"
    ]
    assert list(lag_reasons({"requests": 299}, {"requests": 10.0})) == []
    assert list(lag_reasons({"requests": 999}, {"requests": None})) == []
    assert list(lag_reasons({"outcomes": 1_001}, {"outcomes": 0.0})) != []
    # Of a topic outside the task no rate is known.
    [outside] = lag_reasons({"outcomes": 0, "shop.orders": 1_001}, {"outcomes": 0.0})
    assert (outside.what, outside.why) == ("The consumers of shop.orders lag", "The lag is 1,001 records.")


def test_old_metrics_are_stale_only_where_something_waits() -> None:
    assert list(stale_reasons(1_000, 62_000, {"requests": 1})) != []
    assert list(stale_reasons(1_000, 62_000, {"requests": 0})) == []
    assert list(stale_reasons(1_000, 60_000, {"requests": 1})) == []


def test_rejections_degrade_above_one_in_a_hundred() -> None:
    assert list(rejection_reasons({"requests": 98.0, "requests_rejected": 2.0})) != []
    assert list(rejection_reasons({"requests": 100.0, "requests_rejected": 1.0})) == []
    assert list(rejection_reasons({"requests": None, "requests_rejected": None})) == []


def test_figures_that_change_do_not_restart_the_clock_of_a_reason() -> None:
    verdict = Verdict()
    verdict.of([Reason("degraded", "Late", "5 wait", "consumer-lag")], 10)
    reported = verdict.of([Reason("degraded", "Late", "9 wait", "consumer-lag")], 20)
    assert (reported["since"], reported["reasons"][0]["since"]) == (10, 10)
    verdict.of([], 30)
    assert verdict.of([Reason("degraded", "Late", "9 wait", "consumer-lag")], 40)["reasons"][0]["since"] == 40


def model(**changes: Any) -> dict[str, Any]:
    return {"model": "ht", "role": "shadow", "stopped": None, "failures": 0} | changes


def test_a_model_that_has_stopped_or_fails_degrades_the_task_and_leads_to_its_runbook() -> None:
    assert [*model_reasons([model(failures=7)], {"ht": 0.0})] == []
    assert [*model_reasons([model(failures=7)], {"ht": None})] == []
    (stopped,) = model_reasons([model(stopped={"offset": 70, "why": "its code raised"})], {})
    assert (stopped.state, stopped.what) == ("degraded", "ht (shadow) has stopped learning")
    assert (stopped.why, stopped.runbook) == ("At log offset 70: its code raised.", "model-stopped")
    (fails,) = model_reasons([model(failures=1234)], {"ht": 0.5})
    assert (fails.what, fails.runbook) == ("ht (shadow) fails", "model-fails")
    assert fails.why == "It fails to score 0.5 requests/s, 1,234 since this worker started."


def test_entries_skipped_degrade_once_they_are_many_and_a_stop_is_not_said_twice() -> None:
    reported = {"family": "learning", "signal": "skipped"}
    assert [*episode_reasons([episode(**reported, severity="info")])] == []
    (reason,) = episode_reasons([episode(**reported)])
    assert (reason.what, reason.runbook) == (
        "A model skips entries",
        "model-skips-entries",
    )
    assert [*episode_reasons([episode(family="learning", signal="stopped", severity="critical")])] == []
