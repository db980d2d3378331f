"""A person's rows of look-ups are forgotten: on the topic, in Redis, and in the memory of workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.feature_row import RowKey, decode_key
from schemas.topics import features_topic
from tests.integration.loops import Loop, hotel_task, invoked, until
from tests.integration.test_any_worker import ask
from tests.integration.test_forget import PERSONAL, TOKEN_KEY
from tests.valkey import Valkey

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ADA, BEA, AGENT = "ada@example.org", "bea@example.org", "240"
LOOKUPS = {
    "from streams import DataFile,": "from streams import DataFile, Lookup,",
    '    question="Will this booking be cancelled, whenever that may be?",\n': (
        '    question="Will this booking be cancelled, whenever that may be?",\n'
        '    lookup=(Lookup("guests", key={"guest": "entity_key"}, features=("Children",), timeout_ms=1000),\n'
        '        Lookup("agents", key="Agent", features=("CustomerType",), timeout_ms=1000)),\n'
    ),
}
HIDDEN = {"RIVERLOOP_TOKEN_KEY": TOKEN_KEY}


@pytest.fixture
def loop(broker: Broker, task_name: str, tmp_path: Path) -> Iterator[Loop]:
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name, PERSONAL | LOOKUPS)
    with Loop(f"{file}:cancellation", connection, tmp_path, 2, token_key=TOKEN_KEY) as found:
        create_topics(connection, [features_topic(task_name, 2)])
        yield found


def run(loop: Loop, *words: str, code: int | None = 0, **environment: str) -> str:
    more = ("--bootstrap", loop.connection.bootstrap)
    return invoked(*words, *more, code=code, **HIDDEN, **environment)


def forget(loop: Loop, subject: str, *more: str, code: int = 0) -> dict[str, Any]:
    words = ("forget", loop.loaded.reference, subject, "--reason", "request 7", "--group", loop.task.name)
    found: dict[str, Any] = json.loads(run(loop, *words, "--json", *more, code=code))
    return found


def known(loop: Loop, view: str, key: str, **environment: str) -> bool:
    said = run(loop, "features", "get", loop.loaded.reference, view, key, "--json", code=None, **environment)
    return bool(said) and json.loads(said)["row"] is not None


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_the_rows_of_a_person_are_deleted_and_no_others(loop: Loop, tmp_path: Path, where: str) -> None:
    put = ("features", "put", loop.loaded.reference)
    for guest in (ADA, BEA):
        run(loop, *put, "guests", f"guest={guest}", "Children=3")
    run(loop, *put, "agents", f"Agent={AGENT}", "CustomerType=Group")
    with Valkey(tmp_path / "valkey") as server:
        url = server.url if where == "redis" else ""
        store = {"RIVERLOOP_FEATURE_STORE": url}
        (worker,) = loop.started(1, feature_store=url)
        until(lambda: all(known(loop, "guests", f"guest={each}", **store) for each in (ADA, BEA)), 60)
        until(lambda: known(loop, "agents", f"Agent={AGENT}", **store), 60)
        features = dict(loop.events(1)[0].request.features)
        asked = {
            name: each for name, each in features.items() if name not in {"Children", "CustomerType"}
        } | {"Agent": AGENT}
        ask(worker, loop, "before", features=asked, entity_key=ADA)
        assert forget(loop, ADA, "--dry-run")["rows"] == 1
        assert known(loop, "guests", f"guest={ADA}", **store)
        done = forget(loop, ADA)
        assert done["rows"] == 1
        assert done["complete"]
        until(lambda: not known(loop, "guests", f"guest={ADA}", **store), 30, "the store has forgotten")
        assert known(loop, "guests", f"guest={BEA}", **store)
        with redis.Redis.from_url(server.url) as client:
            keys = b"".join(client.scan_iter())
            assert ADA.encode() not in keys
            assert (BEA.encode() in keys) == (where == "redis")
        # An agent is no person here.
        assert forget(loop, AGENT)["rows"] == 0
        assert known(loop, "agents", f"Agent={AGENT}", **store)

        names = count()

        def children(guest: str) -> Any:
            name = f"after-{next(names)}"
            ask(worker, loop, name, features=asked, entity_key=guest)
            for number in range(2):
                for message in read_all(loop.connection, loop.topics.predictions, number):
                    each = loop.codec.decode_prediction(message.value())
                    if each.request_id == name:
                        return each.features["Children"]
            raise AssertionError(name)

        until(lambda: children(ADA) == 0, 30, "the worker has forgotten")
        assert children(BEA) == 3
        assert forget(loop, ADA)["rows"] == 0
    latest: dict[RowKey, bool] = {}
    for number in range(2):
        for message in read_all(loop.connection, loop.topics.features, number):
            latest[decode_key(message.key())] = message.value() is not None
    assert latest == {
        RowKey.of("guests", {"guest": ADA}): False,
        RowKey.of("guests", {"guest": BEA}): True,
        RowKey.of("agents", {"Agent": AGENT}): True,
    }
