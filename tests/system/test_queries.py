"""Every query of the dashboards and the rules, sent to Debian's Prometheus beside a loop that runs."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from docs.make.grafana.__main__ import FOLDER
from infra.embedded.ports import free_pair
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.prometheus.rules import Rule, rules
from infra.prometheus.server import Prometheus
from schemas.codec.json_form import plain
from schemas.errors import RiverloopError
from schemas.topics import features_topic
from tests.integration.loops import Loop, Worker, hotel_task, invoked, until
from tests.receiver import SECRET, receiving

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.timeout(300)]
PLAYED: Final = 3_000
"""Bookings: enough for a reference and a window of every feature."""
EVERY_S: Final = 1
CHANGES: Final = {
    "from streams import DataFile,": "from streams import DataFile, Lookup, ScoreRange, Validation,",
    "    horizon=timedelta(days=30),\n": "    horizon=timedelta(days=30),\n"
    '    lookup=(Lookup("agents", key="Agent", features=("CustomerType",)),),\n',
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False)),\n"
    "    validation=Validation(every=100, window=100, checks=(ScoreRange(),)),",
}
BOARDS: Final = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
RULES: Final = rules("recording.yml", "alerts.yml")


def panels() -> Iterator[tuple[str, str]]:
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}, {target['refId']}", target["expr"]
        for mark in board["annotations"]["list"]:
            # What is marked is that something is so; when all is well there is nothing to mark.
            yield f"{name}: {mark['name']}", mark["expr"].rsplit(" > ", 1)[0]


class Running:
    """A loop that has run, with the Prometheus that watched it."""

    def __init__(self, prometheus: Prometheus, task: str, began: float) -> None:
        self.prometheus, self.task, self.began = prometheus, task, began
        self.ended = time.time()

    def ask(self, expr: str) -> list[float]:
        """Give all values of an expression over the time of the run, as Grafana asks for them."""
        for variable, value in (("$task", self.task), ("$__rate_interval", f"{4 * EVERY_S}s")):
            expr = expr.replace(variable, value)
        reported = {"query": expr, "start": f"{self.began}", "end": f"{self.ended}", "step": f"{EVERY_S}"}
        found = self.prometheus.ask("query_range", reported)["result"]
        return [float(value) for series in found for _, value in series["values"]]


def over_http(worker: Worker, loop: Loop) -> None:
    """Ask for predictions over HTTP, one of them badly."""
    url = f"{worker.url}/tasks/{loop.task.name}/predictions"
    asked = [plain(event.request) for event in loop.events(20, PLAYED)]
    for body, code in (*((each, 200) for each in asked), ({"features": "none"}, 422)):
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                reported = answer.status
        except urllib.error.HTTPError as rejected:
            with rejected:
                reported = rejected.code
        assert reported == code
        time.sleep(0.1)  # over some scrapes, so that there is a rate


@contextmanager
def hooks(reference: str, bootstrap: str, folder: Path) -> Iterator[str]:
    """Run `riverloop hooks run` with one destination; gives the address of its metrics, `HOST:PORT`."""
    config, port = folder / "hooks.toml", free_pair()[0]
    words = [sys.executable, "-m", "agents.cli.main", "hooks", "run", reference, "--config", str(config)]
    words += ["--bootstrap", bootstrap, "--metrics-port", str(port)]
    with receiving() as receiver, (folder / "hooks.log").open("ab") as out:
        config.write_text(
            f'[[webhooks]]\nname = "ci"\nurl = "{receiver.url}/in"\nsecret_env = "HOOK_SECRET"\nprivate = true\n'
        )
        process = subprocess.Popen(words, stdout=out, stderr=out, env=os.environ | {"HOOK_SECRET": SECRET})
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def running(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("board")
    file = hotel_task(folder / "task", f"task-{uuid.uuid4().hex[:10]}", CHANGES, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    connection = Connection(broker.bootstrap)
    with (
        Loop(reference, connection, folder, snapshot_every=500) as loop,
        hooks(reference, broker.bootstrap, folder) as hooks_metrics,
    ):
        create_topics(connection, [features_topic(loop.task.name, 1)])
        worker = loop.worker()
        worker.start()
        worker.wait_ready()
        target = worker.url.removeprefix("http://")
        with Prometheus(folder, [target], EVERY_S, [hooks_metrics]) as prometheus:
            # It begins to scrape seconds after it answers; a rate is seen between two scrapes.
            until(
                lambda: len(prometheus.ask("query", {"query": "up == 1"})["result"]) == 2,
                60,
                "it scrapes",
            )
            began = time.time()
            producer = Producer({"bootstrap.servers": broker.bootstrap})
            with loop.replaying(loop.events(PLAYED)):
                loop.wait_for_more(500)
                producer.produce(loop.topics.requests, b"no request", b"bad")
                producer.flush(30)
            over_http(worker, loop)
            where = (
                "--bootstrap",
                broker.bootstrap,
                "--snapshots",
                loop.store.uri,
                "--group",
                loop.task.name,
            )
            invoked("validate", reference, "--once", *where)
            task = loop.task.name

            def judged() -> Any:
                reported = {"query": f'riverloop_feature_psi_nats{{task="{task}"}}'}
                return prometheus.ask("query", reported)["result"]

            until(judged, 60, "the features are judged")
            until(loop.published, 60, "the owners have seen all")
            time.sleep(3 * EVERY_S)
            yield Running(prometheus, task, began)


@pytest.mark.parametrize("query", [pytest.param(expr, id=name) for name, expr in panels()])
def test_a_panel_has_something_to_show(query: str, running: Running) -> None:
    names = [""]
    if "$metric" in query:
        (pattern,) = re.findall(r"metrics\((.*)\)$", _variables("riverloop-model-quality")["metric"])
        known = running.prometheus.ask("label/__name__/values")
        names = [each for each in known if re.match(pattern, each)]
        assert {"riverloop_log_loss_nats", "riverloop_roc_auc_ratio"} <= set(names)
    for name in names:
        assert any(map(math.isfinite, running.ask(query.replace("$metric", name)))), name


def _variables(board: str) -> dict[str, Any]:
    return {each["name"]: each["query"] for each in BOARDS[board]["templating"]["list"]}


def test_the_task_can_be_chosen(running: Running) -> None:
    for board in BOARDS:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", _variables(board)["task"])
        assert found is not None
        reported = running.prometheus.ask(f"label/{found[2]}/values", {"match[]": found[1]})
        assert reported == [running.task]


@pytest.mark.parametrize("rule", RULES, ids=lambda each: each.name)
def test_a_rule_is_evaluated_and_rests_on_something(rule: Rule, running: Running) -> None:
    groups = running.prometheus.ask("rules")["groups"]
    (found,) = [each for group in groups for each in group["rules"] if each["name"] == rule.name]
    assert found["health"] == "ok"
    # When all is well, an alert's comparison leaves nothing of what it compares.
    assert any(map(math.isfinite, running.ask(rule.value if rule.alert else rule.name)))


def test_a_wrong_query_is_reported(running: Running) -> None:
    assert running.ask("riverloop_no_such_metric") == []
    with pytest.raises(RiverloopError, match="parse error"):
        running.ask("rate(riverloop_ready")
