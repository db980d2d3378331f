"""What /metrics tells: from state, with bounded labels, and never a step that nothing in the loop has made."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from agents.http.metrics import views
from agents.http.routes import add_routes
from agents.http.task import HttpTask
from agents.settings import Settings
from infra.exporter import Exporter
from infra.notify.metrics import HOOK_METRICS
from infra.worker_metrics import WORKER_METRICS
from infra.worker_views import Lag, LocalState, TaskView
from schemas.reasons import REASONS
from schemas.records import Command, Entry
from streams import ScoreRange, Validation
from streams.fold import Measurement
from streams.metrics.registry import METRICS
from streams.monitors import monitors, tally_monitors
from streams.rollout import VALIDATION
from tests.unit.http_worker import HeldWriter, LocalStatus, make_http_task

Labels = frozenset[tuple[str, str]]


def samples(page: bytes) -> dict[tuple[str, Labels], float]:
    found = [
        ((each.name, frozenset(each.labels.items())), each.value)
        for family in text_string_to_metric_families(page.decode())
        for each in family.samples
    ]
    assert len(dict(found)) == len(found), "a series stands twice"
    return dict(found)


def values(page: bytes, name: str) -> dict[Labels, float]:
    return {labels: value for (each, labels), value in samples(page).items() if each == name}


def view(*measurements: Measurement, task: HttpTask | None = None) -> TaskView:
    task = task or make_http_task()
    (made,) = views({"stay": task})
    return replace(made, measurements=measurements)


def counted(value: float) -> Measurement:
    return Measurement("expired", value, "count", 10)


def test_metrics_answers_in_the_text_format_and_needs_no_token() -> None:
    async def run() -> None:
        app, settings = web.Application(), Settings(http_token="a token that is long enough")
        add_routes(app, {"stay": make_http_task(settings=settings)}, HeldWriter(), settings)
        async with TestClient(TestServer(app, host="127.0.0.1")) as client, client.get("/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            page = await answer.read()
        assert values(page, "riverloop_ready") == {frozenset({("task", "stay")}): 1}

    asyncio.run(run())


def test_a_worker_without_the_log_tells_its_own_part_only() -> None:
    status = LocalStatus()
    task = replace(make_http_task(), status=status)
    page = Exporter(lambda: views({"stay": task}), "1", "r").page()
    reported = {name for name, _ in samples(page)}
    assert not reported & {each.exported for each in METRICS}
    assert {"riverloop_ready", "riverloop_owner", "riverloop_log_next_offset"} <= reported
    assert not reported & {
        "riverloop_log_end_offset",
        "riverloop_log_stable_offset",
        "riverloop_lag_records",
        "riverloop_lag_seconds",
    }
    status.lag, status.local = (
        Lag({"stay.requests": 7}, {"stay.requests": 2.5}, 12, 10),
        LocalState(True, 2, 5),
    )
    page = Exporter(lambda: views({"stay": task}), "1", "r").page()
    named = ("task", "stay")
    assert values(page, "riverloop_lag_records") == {frozenset({named, ("topic", "stay.requests")}): 7}
    assert values(page, "riverloop_lag_seconds") == {frozenset({named, ("topic", "stay.requests")}): 2.5}
    assert values(page, "riverloop_log_stable_offset") == {frozenset({named}): 10}
    assert values(page, "riverloop_owner") == {frozenset({named}): 1}
    assert values(page, "riverloop_join_waiting") == {frozenset({named}): 5}


def test_a_counter_of_the_log_does_not_fall_when_a_transaction_is_taken_back_or_the_owner_changes() -> None:
    now: list[TaskView] = [view(counted(10))]
    exporter = Exporter(lambda: now, "1", "r")
    seen: list[float] = []
    for measured in ([counted(10)], [counted(12)], [counted(9)], [counted(12)], [], [counted(13)]):
        now[0] = view(*measured)
        seen += values(exporter.page(), "riverloop_expired_total").values()
    assert seen == [10, 12, 12, 12, 13]
    # A new owner goes on from the state that it restored: Prometheus sees no increase in a series' first value.
    assert list(values(Exporter(lambda: now, "1", "r").page(), "riverloop_expired_total").values()) == [13]


def test_a_gauge_may_fall_and_what_is_no_longer_measured_ends() -> None:
    now: list[TaskView] = [view()]
    exporter = Exporter(lambda: now, "1", "r")
    seen = []
    for level, value in (("a", 5.0), ("b", 3.0)):
        now[0] = view(
            Measurement("accuracy", value, "ratio", 9, "lr", "lr.1@9", "served", "all", f"Meal={level}")
        )
        seen.append(
            {
                dict(labels)["segment"]: v
                for labels, v in values(exporter.page(), "riverloop_accuracy_ratio").items()
            }
        )
    assert seen == [{"Meal=a": 5.0}, {"Meal=b": 3.0}]


def test_a_version_is_no_label_and_the_newest_revision_is_the_one_that_is_shown() -> None:
    def accuracy(value: float, version: str) -> Measurement:
        return Measurement("accuracy", value, "ratio", 9, "lr", version, "served")

    page = Exporter(lambda: [view(accuracy(0.9, "lr.2@80"), accuracy(0.5, "lr.1"))], "1", "r").page()
    assert list(values(page, "riverloop_accuracy_ratio").values()) == [0.9]
    assert b"@" not in page
    revisions = [dict(labels) for labels in values(page, "riverloop_model_revision_info")]
    specs = {fold.model.name: fold.spec for fold in make_http_task().server.models}
    assert {(each["model"], each["revision"]): each["spec"] for each in revisions} == {
        ("lr", "lr.1"): specs["lr"],
        ("other", "other.1"): specs["other"],
    }


def of_labels(page: bytes, name: str, *names: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(dict(labels).get(each, "") for each in names): value
        for labels, value in values(page, name).items()
    }


def test_what_models_do_and_which_commands_are_applied_follows_the_log() -> None:
    task = make_http_task()
    exporter = Exporter(lambda: views({"stay": task}), "1", "r")
    before = exporter.page()
    shares = {"share.lr": "0.75", "share.other": "0.25", "salt": "c-1"}
    commands = (Command("share", "", shares), Command("freeze", "lr"), Command("promote", "other"))
    page, shown = before, []
    for offset, command in enumerate(commands, 5):
        for fold in task.server.models:
            fold.apply(offset, Entry(f"e-{offset}", "command", 0, command=command))
        page = exporter.page()
        shown.append(of_labels(page, "riverloop_model_share_ratio", "model"))
    assert shown[0] == shown[1] == {("lr",): 0.75, ("other",): 0.25}
    assert shown[2] == {("lr",): 0, ("other",): 1}
    roles = of_labels(page, "riverloop_model_role", "model", "role")
    assert {of for of, value in roles.items() if value} == {("lr", "shadow"), ("other", "served")}
    assert len(roles) == 6, "each role of each model, so that a change is a step"
    assert of_labels(page, "riverloop_model_frozen", "model") == {("lr",): 1, ("other",): 0}
    first = of_labels(before, "riverloop_command_offset", "command", "model")
    newest = of_labels(page, "riverloop_command_offset", "command", "model")
    assert first.keys() == newest.keys(), "a first command is a step, too"
    assert {of: (first[of], at) for of, at in newest.items() if first[of] != at} == {
        ("share", ""): (-1, 5),
        ("freeze", "lr"): (-1, 6),
        ("promote", "other"): (-1, 7),
    }
    task.readiness.not_ready("it reads the log")
    assert values(exporter.page(), "riverloop_command_offset") == {}, "how far it is says nothing yet"


def test_the_newest_validations_and_how_far_the_log_is_beyond_them() -> None:
    task, rules = make_http_task(), Validation(checks=(ScoreRange(),), every=4)
    exporter = Exporter(lambda: views({"stay": task}), "1", "r")
    assert values(exporter.page(), "riverloop_validation_lag_ratio") == {}, "the task has no validation"
    task.server.task = replace(task.server.task, validation=rules)
    end = min(fold.next_offset for fold in task.server.models)
    assert list(values(exporter.page(), "riverloop_validation_lag_ratio").values()) == [end / 4]
    page, shown = b"", []
    for offset, verdict in enumerate(("failed", "passed"), end):
        for name in ("lr", "other"):
            about = {"version": f"{name}.1@1", "at": str(end), "configuration": rules.digest}
            command = Command(VALIDATION, name, about | {"verdict": verdict if name == "lr" else "passed"})
            for fold in task.server.models:
                fold.apply(
                    2 * offset + (name == "other"), Entry(f"e-{offset}-{name}", "command", 0, command=command)
                )
        page = exporter.page()
        shown.append(of_labels(page, "riverloop_validation_failed", "model"))
    assert shown == [{("lr",): 1, ("other",): 0}, {("lr",): 0, ("other",): 0}]
    behind = min(fold.next_offset for fold in task.server.models) - end
    assert list(values(page, "riverloop_validation_lag_ratio").values()) == [behind / 4]


def test_a_command_without_decision_and_a_log_not_applied_are_measured_where_they_are_known() -> None:
    status = LocalStatus()
    task = replace(make_http_task(), status=status)
    names = ("riverloop_command_waiting_seconds", "riverloop_warming_entries_left")
    for local, found in (
        (LocalState(), [[], []]),
        (LocalState(asked_s=0.0, warming_left=0), [[0], [0]]),
        (LocalState(asked_s=61.5, warming_left=200), [[61.5], [200]]),
    ):
        status.local = local
        page = Exporter(lambda: views({"stay": task}), "1", "r").page()
        assert [list(values(page, name).values()) for name in names] == found


def test_counters_begin_at_zero_so_that_the_first_dead_letter_is_seen() -> None:
    task = make_http_task()
    exporter = Exporter(lambda: views({"stay": task}), "1", "r")
    first = values(exporter.page(), "riverloop_dead_letters_total")
    assert {dict(labels)["reason"] for labels in first} == set(REASONS)
    assert set(first.values()) == {0}
    task.statistics.dead_letters.update(["wrong_type"])
    assert sum(values(exporter.page(), "riverloop_dead_letters_total").values()) == 1


def test_freshness_is_a_histogram_in_seconds() -> None:
    task = make_http_task()
    for span_s in (0.02, 0.3, 700.0):
        task.statistics.freshness["arrival_to_log"].add(span_s)
    page = Exporter(lambda: views({"stay": task}), "1", "r").page()
    buckets = {
        dict(labels)["le"]: value
        for labels, value in values(page, "riverloop_freshness_seconds_bucket").items()
        if ("stage", "arrival_to_log") in labels
    }
    assert (buckets["0.01"], buckets["0.025"], buckets["0.5"], buckets["600.0"], buckets["+Inf"]) == (
        0,
        1,
        2,
        2,
        3,
    )


@pytest.mark.parametrize("declared", METRICS, ids=lambda each: each.name)
def test_a_declared_metric_is_exported_under_its_declared_name_with_its_labels(declared: object) -> None:
    each = next(each for each in METRICS if each is declared)
    measured = Measurement(each.name, 0.5, each.unit, 3, "lr" if "model" in each.labels else "")
    page = Exporter(lambda: [view(measured)], "1", "r").page()
    (found,) = values(page, each.exported)
    assert {name for name, _ in found} == set(each.labels)


def test_names_are_unique_and_follow_the_rules() -> None:
    names = Counter([each.exported for each in METRICS] + [*WORKER_METRICS, *HOOK_METRICS])
    assert max(names.values()) == 1
    assert all(re.fullmatch(r"riverloop_[a-z0-9_]+", name) for name in names)
    assert {"ms", "milliseconds", "bytes_total"}.isdisjoint(
        part for name in names for part in name.split("_")
    )


def test_open_episodes_of_requests_stand_beside_those_of_drift_and_each_names_its_monitor() -> None:
    task = make_http_task().context.task
    found = [each for made in monitors(task) for each in made.measurements()]
    found += [each for made in tally_monitors(task) for each in made.measurements()]
    page = Exporter(lambda: [view(*found)], "1", "r").page()
    named = {
        (dict(each)["monitor"], dict(each)["segment"]) for each in values(page, "riverloop_open_episodes")
    }
    of_drift = {("drift", family) for family in ("drift", "delay", "outage", "loss")}
    assert named == of_drift | {("quality", "features")}
