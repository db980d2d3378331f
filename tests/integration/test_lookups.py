"""Look-ups in a real loop: served, frozen in the prediction, verified; a store that fails or is wiped."""

from __future__ import annotations

import csv
import json
import re
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from agents.cli.main import riverloop
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.errors import RiverloopError
from schemas.feature_row import FeatureRow, decode_row, encode_key
from schemas.records import FeatureValue, Prediction
from schemas.topics import features_topic
from streams.aggregates.aggregates import AggregateRules, request_key
from streams.datafile import in_time_order
from tests.aggregates_plain import plain_aggregates
from tests.integration.loops import Loop, Worker, bookings, hotel_task, invoked, until
from tests.pages import ROOT, answers, blocks, write_files
from tests.valkey import Valkey

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
LOOKUP = {
    "from streams import DataFile,": "from streams import DataFile, Lookup,",
    '    question="Will this booking be cancelled, whenever that may be?",\n': (
        '    question="Will this booking be cancelled, whenever that may be?",\n'
        '    lookup=(Lookup("agents", key="Agent", features=("CustomerType", "Children"), timeout_ms=1000),),\n'
    ),
}
PARTITIONS = 2
PAGE = ROOT / "docs" / "how-to" / "look-up-features.md"


@pytest.fixture
def loop(broker: Broker, task_name: str, tmp_path: Path) -> Iterator[Loop]:
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name, LOOKUP)
    with Loop(f"{file}:cancellation", connection, tmp_path, PARTITIONS) as found:
        create_topics(connection, [features_topic(task_name, PARTITIONS)])
        yield found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as found:
        yield found


def agents() -> list[str]:
    return sorted({row["Agent"] for row in bookings()[:400]} - {""})


def put_file(loop: Loop, folder: Path, known: list[str], mark: str, ts: int) -> None:
    """Put a row for each agent with the command."""
    path = folder / f"{mark}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Agent", "CustomerType", "Children", "since"])
        writer.writerows([name, f"{mark} {name}", 3, ts] for name in known)
    said = run(loop, "put", "agents", "--data", str(path), "--time", "since")
    assert f"{len(known)} row(s) of agents written" in said


def run(loop: Loop, verb: str, *more: str, code: int = 0, **environment: str) -> str:
    arguments = (verb, loop.loaded.reference, *more, "--bootstrap", loop.connection.bootstrap)
    return invoked("features", *arguments, code=code, **environment)


def row_in_store(loop: Loop, name: str, server: Valkey | None) -> dict[str, Any] | None:
    environment = {} if server is None else {"RIVERLOOP_FEATURE_STORE": server.url}
    found = invoked(
        *("features", "get", loop.loaded.reference, "agents", f"Agent={name}", "--json"),
        *("--bootstrap", loop.connection.bootstrap),
        code=None,
        **environment,
    )
    row: dict[str, Any] | None = json.loads(found or '{"row": null}')[
        "row"
    ]  # empty: the server is not up yet
    return row


def refused(*arguments: str, **environment: str) -> str:
    """Run a command that is refused; gives what it says."""
    done = CliRunner().invoke(riverloop, arguments, env=environment)
    assert isinstance(done.exception, RiverloopError), done.output
    return str(done.exception)


def predictions(loop: Loop) -> list[Prediction]:
    return [
        loop.codec.decode_prediction(message.value())
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.predictions, number)
    ]


def metric(worker: Worker, name: str) -> float:
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def ask(worker: Worker, loop: Loop, name: str, agent: str) -> dict[str, Any]:
    event = loop.events(1)[0]
    features = {
        key: value for key, value in event.request.features.items() if key not in {"CustomerType", "Children"}
    }
    body = {"request_id": name, "ts": event.request.ts, "features": features | {"Agent": agent}}
    call = urllib.request.Request(
        f"{worker.url}/tasks/{loop.task.name}/predictions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_what_was_looked_up_is_frozen_in_the_prediction(
    loop: Loop, server: Valkey, tmp_path: Path, where: str
) -> None:
    known = agents()[::2]
    put_file(loop, tmp_path, known, "first", 1_000)
    url = server.url if where == "redis" else ""
    workers = loop.started(2, feature_store=url)
    if where == "redis":
        until(lambda: row_in_store(loop, known[-1], server), 60, "the store is filled")
        until(lambda: all(row_in_store(loop, each, server) for each in known), 60, "all rows are there")
    loop.play(loop.events(120))
    ask(workers[0], loop, "over-http", known[0])
    put_file(loop, tmp_path, known, "second", 2_000)  # what is known now must not change what was served
    if where == "redis":
        until(lambda: (row_in_store(loop, known[-1], server) or {}).get("ts") == 2_000)
    found = predictions(loop)
    assert len(found) == 121
    for each in found:
        agent = each.features["Agent"]
        if agent in known:
            assert (each.features["CustomerType"], each.features["Children"]) == (f"first {agent}", 3)
        else:
            assert (each.features["CustomerType"], each.features["Children"]) == ("NA", 0)
    assert {each.features["Agent"] in known for each in found} == {True, False}
    workers[0].kill()
    workers[0].restart()
    loop.play(loop.events(40, skip=120))
    said = {each.features["CustomerType"].split()[0] for each in predictions(loop)}  # type: ignore[union-attr]
    assert said == {"first", "second", "NA"}
    loop.assert_resolved()
    loop.assert_digests()
    assert loop.assert_verified().counts["predictions"] == 161
    missing = sum(metric(each, "riverloop_lookups_missing_total") for each in workers)
    asked = sum(metric(each, "riverloop_lookups_total") for each in workers)
    assert 0 < missing < asked
    assert sum(metric(each, "riverloop_lookups_late_total") for each in workers) == 0


def test_a_request_has_what_was_looked_up_and_its_aggregates(
    broker: Broker, task_name: str, tmp_path: Path
) -> None:
    counted = 'Aggregate("before", by="Agent", window=timedelta(days=28), how="count")'
    changes = {
        "from streams import DataFile,": "from streams import Aggregate, DataFile, Lookup,",
        [*LOOKUP][1]: [*LOOKUP.values()][1] + f"    aggregates=({counted},),\n",
    }
    file = hotel_task(tmp_path / "task", task_name, changes)
    connection, known = Connection(broker.bootstrap), agents()[::2]
    with Loop(f"{file}:cancellation", connection, tmp_path, PARTITIONS) as loop:
        create_topics(connection, [features_topic(task_name, PARTITIONS)])
        put_file(loop, tmp_path, known, "first", 1_000)
        worker, _ = loop.started(2)
        events = list(islice(in_time_order(loop.loaded.file_events()), 300))
        with loop.replaying(events, key=request_key(loop.task)):
            loop.wait_for_more(20)
            worker.kill()
            worker.restart()
        loop.assert_resolved()
        assert loop.assert_verified().counts["predictions"] == 300
        rules, expected = AggregateRules.of(loop.task), dict[str, FeatureValue | None]()
        for number in range(PARTITIONS):
            read = read_all(loop.connection, loop.topics.requests, number)
            requests = [loop.codec.decode_request(message.value()) for message in read]
            plain = plain_aggregates(requests, rules.aggregates, rules.lateness_ms)
            found = zip(requests, plain, strict=True)
            expected |= {request.request_id: each["before"] for request, each in found}
        for each in predictions(loop):
            agent = each.features["Agent"]
            assert each.features["before"] == expected[each.request_id]
            assert each.features["CustomerType"] == (f"first {agent}" if agent in known else "NA")
        assert len(set(expected.values())) > 5
        assert loop.dead_letters() == []


def test_a_store_that_stops_and_is_wiped(loop: Loop, server: Valkey, tmp_path: Path) -> None:
    known = agents()
    put_file(loop, tmp_path, known, "first", 1_000)
    (worker,) = loop.started(1, feature_store=server.url)
    until(lambda: all(row_in_store(loop, each, server) for each in known), 60, "the store is filled")
    ask(worker, loop, "before", known[0])
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    until(
        lambda: all(row_in_store(loop, each, server) for each in known), 60, "the wiped store is filled again"
    )
    ask(worker, loop, "wiped", known[0])
    server.stop()
    for number in range(5):
        assert ask(worker, loop, f"down-{number}", known[0])["request_id"] == f"down-{number}"
    assert metric(worker, "riverloop_lookups_late_total") == 5
    assert "look-ups give nothing" in worker.log
    server.start()  # empty: it keeps nothing on disk
    until(lambda: row_in_store(loop, known[0], server), 60, "the new store is filled")
    ask(worker, loop, "after", known[0])
    said = {each.request_id: each.features["CustomerType"] for each in predictions(loop)}
    assert {said[name] for name in ("before", "wiped", "after")} == {f"first {known[0]}"}
    assert {said[f"down-{number}"] for number in range(5)} == {"NA"}
    assert loop.assert_verified().counts["predictions"] == 8


def test_an_older_row_that_comes_late_does_not_become_the_topics_last(
    loop: Loop, server: Valkey, tmp_path: Path
) -> None:
    loop.started(1)
    for mark, ts in (("newer", 9_000), ("older", 5_000)):
        put_file(loop, tmp_path, ["7"], mark, ts)

    def records() -> list[FeatureRow]:
        return [
            decode_row(message.value() or b"")
            for number in range(PARTITIONS)
            for message in read_all(loop.connection, loop.topics.features, number)
        ]

    until(
        lambda: [each.ts for each in records()] == [9_000, 5_000, 9_000], 60, "the newer row is there again"
    )
    assert records()[0] == records()[2]
    assert row_in_store(loop, "7", None) == {
        "ts": 9_000,
        "values": {"CustomerType": "newer 7", "Children": 3},
    }
    assert row_in_store(loop, "8", None) is None


def test_the_commands_name_what_is_wrong(loop: Loop, tmp_path: Path) -> None:
    reference, bootstrap = loop.loaded.reference, ("--bootstrap", loop.connection.bootstrap)
    for arguments, words in (
        (("put", "agentz", "Agent=7"), "has no look-up of 'agentz'; it has agents"),
        (("put", "agents"), "give either"),
        (("put", "agents", "Agent=7", "Childs=3"), "agents has no 'Childs'"),
        (("put", "agents", "Agent=7", "Children=many"), "Children='many'"),
        (("put", "agents", "Children=3"), "needs the join key Agent"),
    ):
        assert words in refused("features", arguments[0], reference, *arguments[1:], *bootstrap)
    run(loop, "put", "agents", "Agent=7", "Children=3")
    assert "3" in run(loop, "get", "agents", "Agent=7")
    down = {"RIVERLOOP_FEATURE_STORE": "redis://127.0.0.1:1/0"}
    said_of = refused("features", "get", reference, "agents", "Agent=7", **down)
    assert "redis://127.0.0.1:1/0 does not answer" in said_of
    said = json.loads(invoked("check", reference, "--json", *bootstrap))
    assert said["lookups"] == [
        {
            "view": "agents",
            "keys": {"Agent": "Agent"},
            "features": {"CustomerType": "CustomerType", "Children": "Children"},
        }
    ]
    assert "specification" in invoked(
        "topics", "check", reference, "--partitions", str(PARTITIONS), *bootstrap
    )


def test_the_steps_of_the_page(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    (create, put, get), *_ = (text.strip().splitlines() for text, _ in answers(PAGE))
    said = ""
    for line in (create, put, get):
        said = invoked(*line.split()[1:], RIVERLOOP_BOOTSTRAP=broker.bootstrap)
    assert "customer[customer_id=c-7]" in said
    assert re.search(r"orders\s+\W*\s*4\b", said), said
    (record,) = blocks(PAGE, "json")
    row = decode_row(record.text.encode())
    assert encode_key(row.key).decode() in PAGE.read_text("utf-8")
