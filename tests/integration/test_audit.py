"""The audit on a real broker: one chain while owners die, and what became of a request, from any worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.audit.chain import ChainReader
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from schemas.audit_link import AuditLink
from schemas.records import Entry
from tests.integration.loops import Loop, Worker, hotel_task, invoked, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
KEY = "a key that signs snapshots"
SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "check_audit.py"


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with two models on two partitions; checkpoints go to `kept`."""
    file = hotel_task(tmp_path / "task", task_name, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    settings = {"snapshot_every": 200, "snapshot_key": KEY, "audit_checkpoints": str(tmp_path / "kept")}
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, **settings) as loop:
        yield loop


def run(loop: Loop, *arguments: str, code: int = 0) -> str:
    """Run `riverloop` against the loop's cluster in this process; gives what it prints."""
    environment = {
        "RIVERLOOP_SNAPSHOT_KEY": KEY,
        "COLUMNS": "250",
        "RIVERLOOP_DATA": str(loop.folder / "index"),
    }
    return invoked(*arguments, "--bootstrap", loop.connection.bootstrap, code=code, **environment)


def audit(loop: Loop, name: str, *rest: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run(loop, "audit", name, loop.loaded.reference, *rest, "--json", code=code)
    )
    return found


def promote(loop: Loop, model: str, reason: str) -> None:
    group = str(loop._settings["group"])
    about = ("--reason", reason, "--author", "grace", "--evidence", "report 12", "--group", group)
    run(
        loop,
        "models",
        "promote",
        loop.loaded.reference,
        model,
        *about,
        "--wait",
        "--timeout",
        "100",
        "--json",
    )


def get(worker: Worker, loop: Loop, request_id: str) -> tuple[int, dict[str, Any]]:
    url = f"{worker.url}/tasks/{loop.task.name}/requests/{request_id}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def links(loop: Loop) -> list[AuditLink]:
    found = [each.record for each in ChainReader(loop.connection, loop.codec).read()]
    return [each for each in found if isinstance(each, AuditLink)]


def test_the_chain_stays_one_while_its_owners_die_and_an_idle_task_writes_nothing(loop: Loop) -> None:
    first, second = loop.owner_and_survivor()
    first.start(crash_point="between-publish-and-commit:12")
    first.wait_ready()
    with loop.replaying(loop.events(3000), 0.02):
        second.start()
        assert first.wait_ended() == -signal.SIGKILL
        second.wait_ready()
        promote(loop, "ht", "it is better")
        first.restart()
        loop.wait_for_more(100)
        second.kill()
        promote(loop, "lr", "it was not better")
        second.restart()
    loop.assert_resolved()
    until(lambda: audit(loop, "check")["not_yet_linked"] == 0, 30, "all is linked")
    before = audit(loop, "check")
    assert before["ok"]
    assert before["checkpoints"] > 2  # heads in manifests
    assert len(links(loop)) > 3
    kept = loop.folder / "kept"
    until(lambda: len(list(kept.glob("*.json"))) >= 3, 20, "checkpoints are written")
    found = audit(loop, "check", "--checkpoint", str(kept))
    assert found["ok"]
    assert found["notes"] == []
    assert found["head"] == before["head"], "an idle task writes nothing"

    file = loop.folder / "audit.jsonl"
    run(loop, "audit", "export", loop.loaded.reference, "--out", str(file))
    assert audit(loop, "check", "--file", str(file), "--checkpoint", str(kept))["ok"]
    oldest = min(kept.glob("*.json"))
    script = [sys.executable, str(SCRIPT), str(file)]
    assert subprocess.run([*script, str(oldest)], check=True, capture_output=True).stdout.endswith(
        b"intact\n"
    )
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    assert subprocess.run(script, check=False).returncode == 1
    wrong = audit(loop, "check", "--file", str(file), code=1)
    assert any("record 3 is missing" in each for each in wrong["findings"])
    # A checkpoint that somebody has changed.
    data = json.loads(oldest.read_bytes())
    oldest.write_text(json.dumps(data | {"size": data["size"] + 1}))
    forged = audit(loop, "check", "--checkpoint", str(kept), code=1)
    assert any("does not have the key's signature" in each for each in forged["findings"])

    rows = audit(loop, "list", "--command", "promote", "--author", "grace")["records"]
    assert [(each["model"], each["reason"], each["evidence"]) for each in rows] == [
        ("ht", "it is better", "report 12"),
        ("lr", "it was not better", "report 12"),
    ]
    then = audit(loop, "at", str(rows[0]["log_offset"]))["models"]
    assert {each["model"]: each["share"] for each in then} == {"lr": 0.0, "ht": 1.0}
    assert then[1]["put_there_by"]["reason"] == "it is better"
    earlier = audit(loop, "at", str(rows[0]["log_offset"] - 1))["models"]
    assert {each["model"]: each["share"] for each in earlier} == {"lr": 1.0, "ht": 0.0}
    for worker in (first, second):
        assert "Traceback" not in worker.log


def labelled_of(loop: Loop, model: str) -> list[tuple[int, Entry]]:
    """Give the labelled entries of requests that a model has answered, with their offsets."""
    return [
        (offset, entry)
        for offset, entry in loop.entries()
        if entry.kind == "labelled"
        and entry.prediction is not None
        and entry.prediction.scores[0].model == model
    ]


def test_what_became_of_a_request_is_found_by_every_worker_and_its_score_is_made_again(loop: Loop) -> None:
    first, second = loop.worker(), loop.worker()
    first.restart()
    second.restart()
    with loop.replaying(loop.events(12_000), 0.01, rest=False):
        loop.wait_for_more(300)
        promote(loop, "ht", "it is better")
        until(lambda: labelled_of(loop, "ht"), 120, "answers of the promoted model have labels")
        loop.wait_for_more(100)
    loop.assert_resolved()
    offset, entry = labelled_of(loop, "ht")[-1]
    assert entry.prediction is not None
    served, name = entry.prediction.scores[0], entry.prediction.request_id
    second.kill()
    second.restart()
    status, found = get(first, loop, name)
    assert status == 200
    assert get(second, loop, name) == (200, found)
    assert found["answered"]["version"] == served.version
    by = found["answered"]["put_there_by"]
    assert (by["author"], by["command"], by["reason"], by["evidence"]) == (
        *("grace", "promote", "it is better", "report 12"),
    )
    assert found["answered"]["revision_by"]["reason"] == "first revision"
    (prediction,) = found["predictions"]
    assert prediction["features"] == dict(entry.prediction.features)
    assert [each["score"] for each in prediction["scores"]] == [
        each.score for each in entry.prediction.scores
    ]
    assert len(found["requests"]) == len(found["outcomes"]) == 1
    last = found["entries"][-1]
    assert (last["log_offset"], last["kind"]) == (offset, "labelled")
    assert {each["version"] for each in last["learned_by"]} == {f"lr.1@{offset}", f"ht.1@{offset}"}
    assert get(first, loop, "no-such-request")[0] == 404

    ways = (("audit", "request"), ("trace",))
    for way in ways:
        shown = json.loads(run(loop, *way, loop.loaded.reference, name, "--replay", "--json"))
        assert [each["result"] for each in shown.pop("replay")] == ["equal", "equal"]
        assert shown == found
    shown = run(loop, "audit", "request", loop.loaded.reference, name)
    assert "grace, promote ht: it is better (evidence: report 12)" in " ".join(shown.split())
    for worker in (first, second):
        assert "Traceback" not in worker.log
