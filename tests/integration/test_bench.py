"""The benchmark counts what each contender did, and the plain Faust loop does the job when nothing disturbs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from schemas.codec import Codec
from schemas.topics import PARTITIONER, TaskTopics, topics
from tests.benchmarks.compare.load import Load, requests_and_outcomes
from tests.benchmarks.compare.task import bench_task, write_task
from tests.integration.loops import command, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PAIRS = 2_000


def test_ours_and_the_loop_by_hand_put_every_pair_through_once(broker: Broker) -> None:
    words = [sys.executable, "-m", "tests.benchmarks.compare", "--json", "--bootstrap", broker.bootstrap]
    words += ["--only", "ours,ours-unwatched,two-workers,handwritten"]
    words += ["--pairs", str(PAIRS), "--repeat", "1"]
    _, environment, folder = command()
    done = subprocess.run(
        words, env=environment, cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)["throughput"]
    assert reported["left_out"] == {}
    rows = {row["contender"]: row for row in reported["rows"]}
    assert set(rows) == {"ours", "ours-unwatched", "two-workers", "handwritten"}
    for row in rows.values():
        assert (row["predictions"], row["examples"]) == ([PAIRS], [PAIRS])
        assert row["events_per_s"]["min"] > 0
        assert row["cpu_us"] > 0
        assert row["versions"]["river"]


@pytest.mark.parametrize("state", ["table", "dict"])
def test_the_plain_faust_loop_resolves_every_request_once_when_nothing_disturbs_it(
    broker: Broker, tmp_path: Path, task_name: str, state: str
) -> None:
    connection, names = Connection(broker.bootstrap), TaskTopics(task_name)
    create_topics(connection, topics(task_name, 1))
    task = bench_task(task_name)
    codec = Codec(task.name, task.kind, task.features)
    pairs = list(requests_and_outcomes(300))
    Load.make(300).put(connection, names)
    first = pairs[0][1]
    corrected = replace(first, ts=first.ts + 1, value=not first.value)
    producer = Producer(connection.config(partitioner=PARTITIONER))
    producer.produce(names.outcomes, codec.encode(corrected), first.request_id)
    producer.produce(names.requests, b"nothing that could be read", "x")
    producer.flush(10)
    reference = write_task(tmp_path, task_name)
    words = [sys.executable, "-m", "tests.benchmarks.compare.plain_faust", reference]
    words += [
        "--bootstrap",
        broker.bootstrap,
        "--data",
        str(tmp_path),
        "--group",
        task_name,
        "--state",
        state,
    ]
    _, environment, folder = command()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        places = [(names.predictions, 0), (names.log, 0), (names.dead_letters, 0)]
        until(lambda: list(end_offsets(connection, places).values()) == [300, 301, 1], 90, "all is resolved")
    finally:
        process.terminate()
        process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text()
    entries = [codec.decode_entry(message.value()) for message in read_all(connection, names.log)]
    found = Counter(
        (each.kind, each.prediction.request_id, each.outcome.value)
        for each in entries
        if each.prediction and each.outcome
    )
    expected = Counter(("labelled", request.request_id, outcome.value) for request, outcome in pairs)
    expected["revised", first.request_id, corrected.value] += 1
    assert found == expected
    (dead_letter,) = (
        codec.decode_dead_letter(each.value()) for each in read_all(connection, names.dead_letters)
    )
    assert dead_letter.reason == "unreadable"
    assert dead_letter.value == b"nothing that could be read"
