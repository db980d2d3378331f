"""The monitors of a task: their snapshots, the loop's health, and what a task may say about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from river import linear_model

from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import pack_monitors, restore_monitors
from infra.snapshots.store import SnapshotStore
from schemas import Category, Dictionary, Number
from schemas.errors import TaskError
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Request
from streams import MemoryDriver, MetricRules, Model, Select, Task
from streams.fold import Monitor
from streams.metrics.loop_health import LoopHealth
from streams.monitors import monitors
from streams.snapshot import dump
from streams.snapshot.digest import state_digest

PLACE = LogPlace("sight.log", "topic-id")
SECOND_MS = 1000


def build() -> Any:
    return Select("x") | linear_model.LogisticRegression()


TASK = Task(
    name="sight",
    question="Is it seen?",
    features=Dictionary(
        Number(name="x"), Category(name="shop"), Category(name="who", personal_data="tokenised")
    ),
    horizon=timedelta(seconds=60),
    earliest=EPOCH,
    revision_horizon=timedelta(seconds=600),
    models=(Model("lr", build), Model("other", build)),
    metrics=MetricRules(segments=("shop",), least=1),
)


def driven(task: Task = TASK, count: int = 12) -> MemoryDriver:
    """Drive requests of which every third never gets an outcome, and one a correction."""
    driver = MemoryDriver(task)
    for n in range(count):
        ts = n * 10 * SECOND_MS
        features: dict[str, Any] = {"x": float(n), "shop": "ab"[n % 2]}
        driver.complete(ts)
        driver.ask(Request(f"r{n}", ts, features))
        if n % 3:
            driver.report(Outcome(f"r{n}", ts + 2 * SECOND_MS, n % 2 == 0, 1))
    driver.report(Outcome("r1", count * 10 * SECOND_MS, True, 2))
    driver.complete(count * 10 * SECOND_MS)
    return driver


def folded(task: Task, log: list[Entry]) -> list[Monitor[Entry]]:
    made = monitors(task)
    for offset, entry in enumerate(log):
        for each in made:
            each.apply(offset, entry)
    return made


def restored(task: Task, store: SnapshotStore, at_most: int) -> int:
    return restore_monitors("metrics", monitors(task), store, task.name, PLACE, at_most)


def loop_values(log: list[Entry]) -> dict[str, float]:
    health = LoopHealth(TASK)
    for offset, entry in enumerate(log):
        health.apply(offset, entry)
    return {f"{m.name} {m.window} {m.segment}".strip(): m.value for m in health.measurements()}


def test_join_health_is_that_of_the_join() -> None:
    driver = driven()
    found = loop_values(driver.log)
    join = driver.join
    assert found["waiting all"] == join.waiting == 1  # r9 is within its horizon
    assert found["predictions all"] == 12
    assert found["coverage all"] == 11 / 12
    for name in ("labelled", "expired", "revised", "outcomes"):
        assert found[f"{name} all"] == join.counters[name] > 0
    assert found["oldest_waiting all"] == 30.0  # r9 was asked at 90 s, and it is 120 s
    assert found["outcome_delay all p50"] == pytest.approx(2.0, rel=0.022)


def test_partitions_add_up_and_a_replayed_entry_counts_once() -> None:
    health = LoopHealth(TASK)
    reported = {"predictions": 10, "waiting": 4, "stream_time": 9000, "oldest_waiting": 2000}
    first = Entry("a", "time", 9000, partition=0, progress=reported)
    second = Entry("b", "time", 5000, partition=1, progress=reported | {"stream_time": 5000, "waiting": 1})
    for offset, entry in (
        (0, first),
        (1, second),
        (0, first),
        (1, second),
        (2, replace(first, entry_id="c")),
    ):
        health.apply(offset, entry)
    found = {each.name: each.value for each in health.measurements()}
    assert (found["predictions"], found["waiting"], found["coverage"]) == (20, 5, 0.75)
    assert (found["watermark_lag"], found["oldest_waiting"]) == (4.0, 7.0)


def test_monitors_come_back_from_their_snapshot(tmp_path: Path) -> None:
    log = driven().log
    made, store = folded(TASK, log[:20]), SnapshotStore(str(tmp_path))
    taken = pack_monitors("metrics", made, 20, PLACE, TASK, "", 0)
    store.save(taken.manifest, taken.state, taken.probes)
    again = monitors(TASK)
    assert restored(TASK, store, 19) == 0  # it lies beyond what was published
    assert restore_monitors("quality", again, store, TASK.name, PLACE, 25) == 0  # it is another topic's
    assert restore_monitors("metrics", again, store, TASK.name, PLACE, 25) == 20
    for offset, entry in enumerate(log):
        for each in again:
            each.apply(offset, entry)
    for ours, theirs in zip(again, folded(TASK, log), strict=True):
        assert state_digest(ours.snapshot()) == state_digest(theirs.snapshot())
        assert list(ours.measurements()) == list(theirs.measurements())


def test_a_snapshot_under_other_rules_or_with_another_state_is_skipped(tmp_path: Path) -> None:
    made, store = folded(TASK, driven().log), SnapshotStore(str(tmp_path))
    offset = made[0].next_offset
    taken = pack_monitors("metrics", made, offset, PLACE, TASK, "", 0)
    store.save(taken.manifest, taken.state, taken.probes)
    wider = replace(TASK, metrics=replace(TASK.metrics, window=timedelta(days=2)))
    assert restored(wider, store, offset) == 0
    assert restored(TASK, store, offset) == offset

    states = {each.name: each.snapshot() for each in made}
    del states["lr"]["scopes"]["served"]["rolling"]
    bad = replace(taken.manifest, state_digest=state_digest(states))
    other = SnapshotStore(str(tmp_path / "bad"))
    other.save(bad, dump(states), [])
    assert restored(TASK, other, offset) == 0


def test_segments_and_revisions_are_measured_on_their_own() -> None:
    lr = folded(TASK, driven().log)[0]
    found = {
        (m.segment, m.version.partition("@")[0]): m.count for m in lr.measurements() if m.window == "all"
    }
    whole = found[("", "lr.1")]
    assert found[("shop=a", "lr.1")] + found[("shop=b", "lr.1")] == whole == 8


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (MetricRules(segments=("x",)), "not a category or boolean"),
        (MetricRules(segments=("who",)), "personal data"),
        (MetricRules(rolling=0), "whole number"),
        (MetricRules(window=timedelta(0)), "a second or more"),
        ("all", r"must be MetricRules"),
    ],
)
def test_rules_that_cannot_be_are_rejected_with_the_reason(rules: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        replace(TASK, metrics=rules)


def test_no_model_takes_a_monitors_name() -> None:
    with pytest.raises(TaskError, match="the measurements of the loop"):
        replace(TASK, models=(Model("loop", build),))


def test_the_measurements_of_a_window_rest_on_its_requests() -> None:
    task = replace(TASK, metrics=MetricRules(window=timedelta(seconds=48)))
    lr = folded(task, driven(task).log)[0]
    counts = {m.window: m.count for m in lr.measurements() if m.name == "accuracy"}
    # Stream time is 120 s; asked within 48 s and labelled: r8 (80 s), r10, r11.
    assert counts[task.metrics.window_name] == 3
    assert counts["age_mature"] == 3  # asked from 12 s to 60 s: r2, r4, r5
    assert counts["age_50-100%"] == 2  # from 60 s to 90 s: r7, r8
    health = LoopHealth(task)
    for offset, entry in enumerate(driven(task).log):
        health.apply(offset, entry)
    rates = {m.window: m.value for m in health.measurements() if m.name == "label_rate"}
    assert rates["age_mature"] == 3 / 4  # r3 never got an outcome


def test_a_horizon_that_is_shorter_than_eight_panes_is_not_split() -> None:
    windows = {m.window for m in folded(TASK, driven().log)[0].measurements()}
    assert windows & {"age_0-12%", "age_50-100%"} == set()
