"""The owners of the log and of the tallies die in mid-run: what is published is what one owner alone publishes."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.alert import Alert
from schemas.records import Entry, Metric
from streams.fold import Measurement, Monitor
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors, tally_monitors
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
# So many alarms that episodes are open at every change of owner.
WATCHED = """\
    drift=DriftRules(one_false_alarm_in=500, warm_up=100, cool_down=100),
    quality=QualityRules(reference=150, window=50, budget=0.01),
    revision_horizon=timedelta(days=800),
"""
CHANGES = {
    "    revision_horizon=timedelta(days=800),\n": WATCHED,
    "from streams import DataFile": "from streams.quality.quality_rules import QualityRules\n"
    "from streams import DriftRules, DataFile",
}
SENT = 1000


def test_a_change_of_owner_publishes_each_metric_and_alert_once(
    broker: Broker, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 6)
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name, CHANGES)
    settings = {"max_batch": 20, "metrics_every_ms": 1, "snapshot_every": 300}
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, **settings) as loop:
        first, second = loop.owner_and_survivor()
        # It dies with metrics and alerts written, and neither committed.
        first.start(crash_point="between-publish-and-commit:40")
        first.wait_ready()
        until(lambda: owns(first) == {"log", "tallies"}, 30, "the first owns both")
        with loop.replaying(loop.events(SENT)):
            second.start()
            assert first.wait_ended(60) < 0
            until(lambda: owns(second) == {"log", "tallies"}, 60, "the survivor owns both")
        loop.assert_resolved()
        until(loop.published, 30, "everything is published")

        entries = loop.entries()
        tallies = [
            (message.offset() or 0, loop.codec.decode_tally(message.value()))
            for message in read_all(connection, loop.topics.quality)
        ]
        metrics = read(loop, loop.topics.metrics, loop.codec.decode_metric)
        alerts = read(loop, loop.topics.alerts, loop.codec.decode_alert)
        for made, records in ((monitors(loop.task), entries), (tally_monitors(loop.task), tallies)):
            assert_as_alone(loop, made, records, metrics, alerts)
        assert {"drift", "features"} <= {alert.family for _, alert in alerts}
        assert_snapshots_metrics(loop, entries)
        assert "Traceback" not in first.log + second.log


def test_the_last_metrics_of_a_burst_are_published_once_though_nothing_follows(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, metrics_every_ms=3000) as loop:
        worker = loop.worker()
        worker.restart()
        loop.play(loop.events(300))
        loop.assert_resolved()
        last, _ = loop.entries()[-1]
        names = {each.name for each in monitors(loop.task)}

        def published() -> list[tuple[int, tuple[Any, ...]]]:
            found = read(loop, loop.topics.metrics, loop.codec.decode_metric)
            return [
                (
                    each.log_offset,
                    (name, each.name, each.model, each.version, each.role, each.window, each.segment),
                )
                for name, each in found
                if name in names
            ]

        until(lambda: last in dict(published()), 30, "the last metrics are published")
        time.sleep(4)
        assert len(published()) == len(set(published()))
        # A run in which nothing happens has nothing to warn of; its log is for files, too.
        assert "WARNING" not in worker.log
        assert "\x1b" not in worker.log


def assert_snapshots_metrics(loop: Loop, entries: Iterable[tuple[int, Entry]]) -> None:
    """A model snapshot's metrics are those of all entries that its state has folded, and of no other."""
    manifests = {
        (each.model, each.next_offset): each
        for _, each in read(loop, loop.topics.snapshots, loop.codec.decode_manifest)
        if each.kind == "model"
    }
    assert manifests, "a new owner that comes late writes one for all that it has missed"
    served = [each for each in monitors(loop.task) if isinstance(each, ServedMetrics)]
    for offset, entry in entries:
        for monitor in served:
            monitor.apply(offset, entry)
            if (manifest := manifests.pop((monitor.name, offset + 1), None)) is not None:
                assert manifest.metrics == monitor.get()
    assert not manifests


def owns(worker: Worker) -> set[str]:
    """Give what a worker owns; nothing while it does not answer yet."""
    try:
        reported = worker.status()
    except (urllib.error.URLError, ConnectionError):
        return set()
    return {name for name, mark in (("log", reported["owner"]), ("tallies", "quality" in reported)) if mark}


def read(loop: Loop, topic: str, decode: Any) -> list[tuple[str, Any]]:
    """Give a topic's records with their keys."""
    found = []
    for message in read_all(loop.connection, topic):
        if message.value() is None:
            continue
        key = message.key()
        found.append(((key or b"").decode() if isinstance(key, bytes) else str(key), decode(message.value())))
    return found


def assert_as_alone(
    loop: Loop,
    made: Sequence[Monitor[Any]],
    records: Iterable[tuple[int, Any]],
    metrics: Sequence[tuple[str, Metric]],
    alerts: Sequence[tuple[str, Alert]],
) -> None:
    """Fold the records once, undisturbed: its alerts, and its measurements wherever some were published."""
    names = {each.name for each in made}
    reported: dict[tuple[str, int], list[Metric]] = {}
    for name, metric in metrics:
        if name in names:
            reported.setdefault((name, metric.log_offset), []).append(metric)
    expected: list[tuple[str, Alert]] = []
    checked = 0
    for offset, item in records:
        for monitor in made:
            monitor.apply(offset, item)
            expected += [(monitor.name, alert) for alert in monitor.alerts()]
        for monitor in made:
            once = reported.pop((monitor.name, offset), None)
            if once is not None:
                assert [plain(each) for each in once] == [plain(each) for each in monitor.measurements()]
                checked += 1
    assert not reported, "metrics of what is no record"
    assert checked > 20
    assert len(expected) > 2
    assert [alert for alert in alerts if alert[0] in names] == expected


def plain(reported: Metric | Measurement) -> tuple[Any, ...]:
    """Give what a measurement and its record have in common; NaN as text, which equals itself."""
    place = (reported.model, reported.version, reported.role, reported.window, reported.segment)
    return reported.name, repr(float(reported.value)), reported.unit, reported.count, *place
