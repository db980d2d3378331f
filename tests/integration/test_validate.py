"""Validation on a real broker: a model that fails is not promoted, the audit says why, `verify` proves it."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.validation.at_offset import AtOffset, file_entries
from infra.versions import Versions, announced
from streams.rollout import AT, VALIDATION, VERDICT
from tests.integration.loops import Loop, Worker, bookings, hotel_task, invoked, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
HELD = 'HeldBack(file="held.csv", limit=0.9)'
CHECKS = f"checks=(Loss(limit=0.4, least=50), ScoreRange(), {HELD}, Replay(entries=40))"
VALIDATED = {
    "from streams import DataFile,": "from streams import HeldBack, Loss, Replay, ScoreRange, Validation\n"
    "from streams import DataFile,",
    # Two models that learn next to nothing: the challenger's loss is far above the limit, the champion's below.
    "def logistic_regression(learning_rate):": "def logistic_regression(intercept):",
    "LogisticRegression(optim.SGD(learning_rate))": "LogisticRegression(optim.SGD(1e-9), "
    "intercept_init=intercept, intercept_lr=1e-9)",
    '"learning_rate": 0.01': '"intercept": -1.0',
    'Model("ht", hoeffding_tree, {"max_depth": 100}, policy)': 'Model("ht", logistic_regression, '
    '{"intercept": 2.0}, policy)',
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False)),\n"
    f"    validation=Validation(every=100, window=400, {CHECKS}),",
}


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with a validation, on two partitions."""
    file = hotel_task(tmp_path / "task", task_name, VALIDATED, tree=True)
    held = bookings()[5000:5060]
    with (file.parent / "held.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, [*held[0]])
        writer.writeheader()
        writer.writerows(held)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, snapshot_every=60) as loop:
        yield loop


def run(loop: Loop, *arguments: str, code: int, group: bool = True) -> dict[str, Any]:
    """Run a command against the loop's cluster in this process; gives what it prints as JSON."""
    where = ["--bootstrap", loop.connection.bootstrap, "--json"]
    where += ["--group", str(loop._settings["group"])] if group else []
    found: dict[str, Any] = json.loads(invoked(*arguments, *where, code=code))
    return found


def test_a_model_that_fails_is_not_promoted_and_the_history_proves_it(loop: Loop) -> None:
    (worker,) = loop.started(1)
    with loop.replaying(loop.events(1000)):
        pass
    reference, snapshots = loop.loaded.reference, ("--snapshots", loop.store.uri)
    until(lambda: len(announced(loop.connection, loop.codec)) > 4, what="snapshots are announced")
    found = run(loop, "validate", reference, "--once", *snapshots, code=1)
    verdicts = {each["model"]: each for each in found["models"]}
    assert (found["passed"], found["notes"]) == (False, [])
    assert {name: (each["passed"], each["log"]) for name, each in verdicts.items()} == {
        "lr": (True, "done"),
        "ht": (False, "done"),
    }
    failed = {each["name"] for each in verdicts["ht"]["checks"] if not each["passed"]}
    assert failed == {"loss"}
    # When a worker stores a snapshot depends on its pace: the newest may lie behind the offset.
    judged = {each["name"] for each in verdicts["lr"]["checks"] if each["judged"]}
    assert judged >= {"loss", "score range", "held back held.csv"}

    # It is not promoted, and the audit says why.
    asked = ("models", "promote", reference, "ht", "--reason", "looks good")
    assert "its validation at log offset" in run(loop, *asked, code=1)["why"]
    shown = run(loop, "models", "show", reference, "ht", code=0)
    results = {each["command"]: each["result"] for each in shown["commands"]}
    assert results[VALIDATION] == "done"
    assert "loss: brier loss" in results["promote"]
    until(lambda: failing(worker) == {"lr": 0.0, "ht": 1.0}, what="the worker's metrics")
    card = run(loop, "models", "card", reference, "ht", *snapshots, code=0, group=False)
    assert [each["verdict"] for each in card["validations"]] == ["failed"]

    # The same offset has the same verdict, also without a snapshot; a second run changes nothing.
    rules = loop.task.validation
    assert rules is not None
    at = found["at"]
    empty = SnapshotStore(str(loop.folder / "none"), None)
    for store in (loop.store, empty):
        versions = Versions(loop.loaded, loop.codec, loop.connection, store, runtime_fingerprint()[0])
        held = {"held.csv": file_entries(loop.loaded, loop.codec, "held.csv")}
        again = {each.model: each for each in AtOffset(versions, at, held).run().verdicts}
        for name, each in again.items():
            said = {one["name"]: one for one in verdicts[name]["checks"]}
            made = {one.name: one.data() for one in each.results}
            assert {**made, "replay": None} == {**said, "replay": None}
    run(loop, "validate", reference, "--once", *snapshots, code=1)
    commands = [entry.command for _, entry in loop.entries() if entry.command is not None]
    mine = [(each.model, each.arguments[AT]) for each in commands if each.name == VALIDATION]
    assert len(set(mine)) == len(mine)
    assert {each.arguments[VERDICT] for each in commands if each.model == "ht" and AT in each.arguments} == {
        "failed"
    }

    # Broken glass is noted; the history is proven.
    done = run(loop, *asked, "--break-glass", "--wait", code=0)
    assert done["state"] == "done"
    report = loop.verify()
    assert report.failures == []
    assert report.counts["validations"] == len(mine)
    assert "Traceback" not in worker.log


def failing(worker: Worker) -> dict[str, float]:
    """Return by model whether its newest validation failed, as a worker's metrics say."""
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=30) as answer:
        page = answer.read().decode()
    return {
        each.labels["model"]: each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
        if each.name == "riverloop_validation_failed"
    }
