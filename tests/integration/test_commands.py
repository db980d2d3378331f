"""Commands of models on a real broker: done once, while workers die; refused with a reason; active everywhere."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.hooks import COMMAND_POINTS
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.runtime import runtime_fingerprint
from infra.verify import Report
from schemas.errors import BadRecord
from schemas.records import Control, Entry, Prediction
from schemas.topics import topics
from streams.model import ModelFold
from streams.roles import Roles
from tests.integration.loops import Loop, Worker, hotel_task, invoked, until
from tests.topics import delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def loop(connection: Connection, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with two models on two partitions."""
    file = hotel_task(tmp_path / "task", task_name, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, connection, tmp_path, 2, snapshot_every=200) as loop:
        yield loop


def models(loop: Loop, *arguments: str, code: int = 0, reason: str = "a test") -> dict[str, Any]:
    """Run `riverloop models` against the loop's cluster in this process; gives what it prints as JSON."""
    name, *rest = arguments
    options = [] if name in {"list", "show"} else ["--reason", reason]
    options += ["--group", str(loop._settings["group"]), "--bootstrap", loop.connection.bootstrap, "--json"]
    found: dict[str, Any] = json.loads(
        invoked("models", name, loop.loaded.reference, *rest, *options, code=code)
    )
    return found


def controls(loop: Loop) -> list[Control]:
    found = []
    for message in read_all(loop.connection, loop.topics.control):
        try:
            found.append(loop.codec.decode_control(message.value()))
        except BadRecord:
            continue  # a worker's report
    return found


def done_commands(loop: Loop) -> list[tuple[int, Entry]]:
    """The commands of the log that a person has asked for."""
    found = ((offset, entry) for offset, entry in loop.entries() if entry.command is not None)
    return [(offset, entry) for offset, entry in found if entry.command and entry.command.name != "revision"]


def predictions(loop: Loop) -> list[Prediction]:
    return [
        loop.codec.decode_prediction(message.value())
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.predictions, number)
    ]


def assert_answers(loop: Loop, report: Report | None = None) -> Counter[str]:
    """Recompute by hand which model answered; gives how many requests each model answered."""
    entries = [(offset, entry) for offset, entry in loop.entries() if entry.command is not None]
    roles, found = Roles(loop.task.name), Counter[str]()
    for prediction in sorted(predictions(loop), key=lambda each: each.log_offset or 0):
        assert prediction.log_offset is not None
        while entries and entries[0][0] <= prediction.log_offset:
            roles.apply(*entries.pop(0))
        drawn = roles.draw(prediction.request_id, prediction.entity_key)
        assert prediction.scores[0].model == drawn
        assert prediction.propensity == roles.propensity(drawn)
        found[drawn] += 1
    report = report or loop.verify()
    assert report.failures == []
    assert report.counts["answers"] == report.counts["predictions"] == found.total()
    return found


def test_a_command_is_done_once_wherever_its_owner_dies(loop: Loop) -> None:
    owner, other = loop.owner_and_survivor()
    other.restart()
    found, ask = list[dict[str, Any]](), list[str]()
    loop.play(loop.events(400))
    with loop.replaying(loop.events(8000, 400), 0.05, rest=False), ThreadPoolExecutor(1) as pool:
        for number, point in enumerate(COMMAND_POINTS[:3]):
            owner.start(crash_point=point)
            owner.wait_ready()
            until(lambda: owner.status()["owner"], 60, "it owns the log")
            shares = (f"lr=0.{7 - number}", f"ht=0.{3 + number}")
            ask = ["share", *shares, "--id", f"c-{number}", "--timeout", "100", "--wait"]
            asked = pool.submit(models, loop, *ask)
            assert owner.wait_ended() == -signal.SIGKILL, point
            found.append(asked.result())
            assert found[-1]["state"] == "done", point
        owner.restart()
        assert models(loop, *ask) == found[-1] | {"active": ["a", "b"]}
        loop.wait_for_more(50)
    done = [(offset, entry.entry_id) for offset, entry in done_commands(loop)]
    assert done == [(each["log_offset"], each["entry_id"]) for each in found]
    audits = [
        each.entry_id for each in controls(loop) if each.kind == "audit" and each.command.name == "share"
    ]
    assert audits == [entry_id for _, entry_id in done]
    loop.assert_resolved()
    loop.assert_digests()
    assert set(assert_answers(loop)) == {"lr", "ht"}
    assert "Traceback" not in owner.log + other.log


def post(worker: Worker, loop: Loop, data: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
    """Ask a worker for a command over HTTP; gives status and answer."""
    request = urllib.request.Request(
        f"{worker.url}/tasks/{loop.task.name}/commands",
        json.dumps(data).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_commands_of_both_ways_are_decided_once_recorded_and_active_in_every_worker(loop: Loop) -> None:
    token = "t-0123456789abcdef"
    workers = loop.started(2, http_token=f"ada:{token}")
    with loop.replaying(loop.events(8000), 0.02, rest=False):
        plan = models(loop, "share", "lr=0.9", "ht=0.1", "--dry-run")
        assert [(each["before"], each["after"]) for each in plan["models"]] == [
            ("served 1", "served 0.9"),
            ("shadow", "served 0.1"),
        ]
        assert done_commands(loop) == []
        found = models(loop, "share", "lr=0.9", "ht=0.1", "--wait", "--author", "grace")
        assert (found["state"], found["active"]) == ("done", ["demo-0", "demo-1"])
        for worker in workers:
            seen = worker.get(f"/tasks/{loop.task.name}/models")
            assert {each["model"]: each["share"] for each in seen["models"]} == {"lr": 0.9, "ht": 0.1}
            assert seen["commands"][0]["offset"] == found["log_offset"]
        raised = {"command": "share", "shares": {"lr": 0.5, "ht": 0.5}, "reason": "it is better", "id": "h-1"}
        status, done = post(workers[0], loop, raised, token)
        assert (status, done["state"]) == (200, "done")
        assert post(workers[1], loop, raised, token)[1]["entry_id"] == done["entry_id"]
        status, rejected = post(workers[1], loop, {**raised, "id": "h-2"}, token)
        assert (status, rejected["detail"]) == (409, "the models have these shares already")
        assert "ht is not frozen" in models(loop, "resume", "ht", "--skip", code=1)["why"]
        loop.wait_for_more(300)
        workers[0].kill()
        promoted = models(
            loop, "promote", "ht", "--wait", "--timeout", "100", reason="half of them went well"
        )
        assert promoted["active"] == ["demo-1"]
        workers[0].restart()
        retired = models(loop, "retire", "lr", "--wait", "--timeout", "100")
        assert retired["active"] == ["demo-0", "demo-1"]
        loop.wait_for_more(100)
    assert [entry.command.name for _, entry in done_commands(loop) if entry.command] == [
        "share",
        "share",
        "promote",
        "retire",
    ]
    rows = {each["model"]: each for each in models(loop, "list")["models"]}
    assert (rows["ht"]["role"], rows["ht"]["share"], rows["lr"]["role"]) == ("served", 1.0, "retired")
    assert rows["ht"]["reason"] == "half of them went well"
    options = models(loop, "show", "ht")["commands"]
    assert [(each["command"], each["result"], each["by"]) for each in options][1:4] == [
        ("share", "done", "grace"),
        ("share", "done", "ada"),
        ("share", "rejected: the models have these shares already", "ada"),
    ]
    assert [each["authentication"] for each in options][1:3] == ["stated", "token"]
    assert all(each["log offset"] is not None for each in options if each["result"] == "done")
    loop.assert_resolved()
    loop.assert_digests()
    assert set(assert_answers(loop)) == {"lr", "ht"}
    digests = {worker.get(f"/tasks/{loop.task.name}/models")["digest"] for worker in workers}
    assert len(digests) == 1
    for worker in workers:
        assert "Traceback" not in worker.log


def test_a_frozen_model_answers_as_it_was_after_restarts_and_catches_up_as_if_never_frozen(
    loop: Loop,
) -> None:
    workers = loop.started(2)

    def state(worker: Worker) -> dict[str, Any]:
        found = worker.get(f"/tasks/{loop.task.name}/digests")["models"]
        return next(each for each in found if each["model"] == "ht")

    loop.play(loop.events(600))
    with loop.replaying(loop.events(8000, 600), 0.02, rest=False):
        models(loop, "freeze", "ht", "--wait")
        frozen = state(workers[0])
        loop.wait_for_more(300)  # a snapshot is among them
        workers[0].kill()
        workers[0].restart()
        assert state(workers[0]) == state(workers[1]) == frozen
        loop.wait_for_more(100)
        resumed = models(loop, "resume", "ht", "--catch-up", "--wait", "--timeout", "100")
        assert resumed["state"] == "done"
        loop.wait_for_more(100)
        models(loop, "freeze", "lr", "--wait", "--timeout", "100")
        loop.wait_for_more(100)
        models(loop, "resume", "lr", "--skip", "--wait", "--timeout", "100")
        loop.wait_for_more(100)
    assert "restored from its snapshot" in workers[0].log
    loop.assert_resolved()
    loop.assert_digests()
    assert_answers(loop)
    entries = loop.entries()
    fold = ModelFold(loop.task, loop.task.model("ht"), runtime_fingerprint()[0])
    for offset, entry in entries:
        if entry.command is None or entry.command.name == "revision":
            fold.apply(offset, entry)
    assert state(workers[0])["state"] == fold.digest, "as if it had never been frozen"
    assert state(workers[0])["version"] == str(fold.version)
    (skipped,) = [
        each for _, each in done_commands(loop) if each.command and "revision" in each.command.arguments
    ]
    seen = workers[0].get(f"/tasks/{loop.task.name}/models")["models"][0]
    assert seen["version"].startswith("lr.2@")
    assert seen["left_out"] != ""
    assert skipped.command is not None
    assert skipped.command.model == "lr"


def test_a_file_without_the_model_that_answers_does_not_start_and_says_which_command_comes_first(
    loop: Loop,
) -> None:
    worker = loop.worker()
    worker.restart()
    models(loop, "promote", "ht", "--wait")
    worker.stop()
    other = hotel_task(loop.folder / "other", loop.task.name.removesuffix("-30d"))
    without = loop.worker(reference=f"{other}:cancellation_within_30_days")
    without.start()
    assert without.wait_ended() == 2
    assert "model ht answers 1 of the requests, and the task file has no such model; it has lr" in without.log
    assert "another model answer: riverloop models promote" in without.log
    worker.restart()
    models(loop, "promote", "lr", "--wait")
    worker.stop()
    without.restart()
    assert without.get(f"/tasks/{loop.task.name}/models")["models"][1]["in_file"] is False


def test_a_control_topic_that_is_made_again_gets_back_what_the_log_has(loop: Loop) -> None:
    """Its audits say which revisions there are and which model answers: workers start with them."""
    (worker,) = loop.started(1)
    loop.play(loop.events(100))
    models(loop, "promote", "ht", "--wait")
    before = [(each.entry_id, each.command) for each in controls(loop) if each.entry_id]
    control = loop.topics.control
    (spec,) = (each for each in topics(loop.task.name, 2) if each.name == control)
    delete_topics(loop.connection, [control])
    create_topics(loop.connection, [spec])
    # Also before anybody has noticed.
    assert models(loop, "list")["models"][1]["role"] == "served"

    def restored() -> bool:
        return [(each.entry_id, each.command) for each in controls(loop) if each.entry_id] == before

    until(restored, 60, "the audits are restored")
    models(loop, "promote", "lr", "--wait")
    other = loop.worker()
    other.restart()
    worker.kill()
    worker.restart()
    loop.play(loop.events(100, 100))
    assert [entry.command.model for _, entry in done_commands(loop) if entry.command] == ["ht", "lr"]
    report = loop.verify()
    assert report.failures == []
    assert_answers(loop, report)
    assert "Traceback" not in worker.log + other.log
