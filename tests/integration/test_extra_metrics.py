"""The task's own metrics, live: a worker dies twice in mid-run, and what it publishes is what a backtest gives."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.embedded.pytest_plugin import Broker
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.replay import Replay
from streams.backtest import backtest
from streams.datafile import Event
from streams.join.join_rules import JoinRules
from streams.metrics.per_class import cell_of
from tests.integration.loops import Loop, Worker, bookings, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
OWN = """\
    metrics=MetricRules(segments=("Meal",), extra={
        "mcc": metrics.MCC,
        "f2": lambda: metrics.FBeta(2.0),
        "false_alarms": FalseAlarms,
        "cost": lambda: DecisionCost(false_alarm=1, missed=5),
    }),
    horizon=timedelta(days=800),
"""
CHANGES = {
    "    horizon=timedelta(days=800),\n": OWN,
    "from river import compose": "from river import metrics, compose",
    "from streams import DataFile": "from streams.metrics.further import DecisionCost\n"
    "from streams import MetricRules, DataFile",
    "NUMBERS = (": '''\
class FalseAlarms(metrics.base.BinaryMetric):
    """A metric of the task file's own."""

    @property
    def bigger_is_better(self):
        return False

    def get(self):
        return float(self.cm.false_positives(True))


NUMBERS = (''',
}
SENT = 300
KILLED_AT = (100, 200)
"""Outcomes after which the worker is killed."""


def test_a_worker_that_is_killed_publishes_what_a_backtest_gives(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name, CHANGES)
    settings = {"metrics_every_ms": 1, "snapshot_every": 60}
    with Loop(f"{file}:cancellation", connection, tmp_path, **settings) as loop:
        worker = loop.worker(lockstep=True)
        worker.restart()
        assert loop.task.data is not None
        rows = bookings()[:: len(bookings()) // SENT][
            :SENT
        ]  # from all years, so that outcomes come between them
        events = list(loop.task.data.events(rows, loop.task.features))
        play_with_deaths(loop, worker, events)
        last, _ = loop.entries()[-1]
        until(
            lambda: last in {each.log_offset for each in records(loop)}, 30, "the last metrics are published"
        )
        found = [each for each in records(loop) if each.log_offset == last and each.model == "lr"]
        figures = backtest(loop.task, events)["models"]["lr"]
        assert figures["n"] == SENT

        whole = {
            each.name: each.value
            for each in found
            if not each.segment and "@" in each.version and each.window == "all"
        }
        names = ("mcc", "f2", "false_alarms", "cost", "pr_auc", "roc_auc", "accuracy", "f1")
        assert {name: whole[name] for name in names} == {name: figures[name] for name in names}
        confusion = {cell_of(each.segment): each.value for each in found if each.name == "confusion"}
        assert confusion == {(a, b): n for a, row in figures["confusion"].items() for b, n in row.items()}
        recall = {each.segment: each.value for each in found if each.name == "class_recall"}
        assert recall == {f"class={name}": each["class_recall"] for name, each in figures["classes"].items()}
        meals = {each.segment: each.value for each in found if each.name == "mcc" and each.segment}
        assert meals == {name: each["mcc"] for name, each in figures["segments"].items() if "mcc" in each}
        assert len(meals) > 1

        with urllib.request.urlopen(f"{worker.url}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        exported = {
            (each.name, each.labels.get("metric", ""), each.labels["segment"]): each.value
            for family in text_string_to_metric_families(page)
            for each in family.samples
            if each.labels.get("model") == "lr" and each.labels.get("window") == "all"
        }
        assert exported["riverloop_extra", "mcc", ""] == figures["mcc"]
        assert exported["riverloop_extra", "false_alarms", ""] == figures["false_alarms"]
        assert exported["riverloop_pr_auc_ratio", "", ""] == figures["pr_auc"]
        for (outcome, decision), count in confusion.items():
            segment = f"outcome={outcome}&decision={decision}"
            assert exported["riverloop_confusion", "", segment] == count
        status = worker.status()["models"]["lr"]
        assert status["metrics"]["mcc"] == figures["mcc"]
        assert status["quality"]["confusion"] == figures["confusion"]
        assert worker.log.count(f"owner of {loop.topics.log} from offset") == 3
        assert any(each.startswith("metrics.1@") for each in loop.store_at(tmp_path / "snapshots"))
        assert "skipped snapshot" not in worker.log
        assert "Traceback" not in worker.log


def play_with_deaths(loop: Loop, worker: Worker, events: list[Event]) -> None:
    """Play events in lockstep, while the worker is killed in the middle of an outcome, and starts again."""
    deaths = list(KILLED_AT)
    with closing(Answers(loop.connection, loop.codec, loop.topics, 1)) as answers:
        replay = Replay(loop.connection, loop.codec, loop.topics, answers)

        def complete(offset: int) -> None:
            if deaths and replay.outcomes >= deaths[0]:
                deaths.pop(0)
                worker.kill()
                worker.restart()
            worker.wait_complete(offset)

        replay.lockstep(events, JoinRules.of(loop.task).horizon_ms, complete)
    assert not deaths


def records(loop: Loop) -> Iterator[Any]:
    """Give the metrics on the topic."""
    for message in read_all(loop.connection, loop.topics.metrics):
        yield loop.codec.decode_metric(message.value())
