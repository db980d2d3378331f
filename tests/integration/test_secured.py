"""TLS and accounts to Kafka, tokens over HTTP, signed snapshots: the whole loop, and no secret of it anywhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka import Producer
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import serialization

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.broker_config import Listener
from infra.kafka.admin import client_of
from infra.kafka.connection import Connection
from infra.kafka.reachable import check_reachable
from infra.snapshots.store import MANIFEST, STATE, SnapshotStore
from schemas.errors import BrokerError
from tests.integration.loops import Loop, Worker, command, hotel_task, until
from tests.pages import ROOT, WRITE_A_TASK, Terminal, answers, write_files
from tests.unit.test_hostile_snapshot import with_factory

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

PASSWORD = "planted-sasl-password-4711"
HTTP_TOKEN = "planted-http-token-4711"
SERVE_TOKEN = "planted-serve-token-4711"
SNAPSHOT_KEY = "planted-snapshot-key-4711"
TOKEN_KEY = "planted-token-key-4711"
PERSONAL = "Ada-Lovelace-1815"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
SECRETS = (PASSWORD, HTTP_TOKEN, SERVE_TOKEN, SNAPSHOT_KEY, TOKEN_KEY, PERSONAL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def listener(folder: Path) -> Listener:
    """TLS with a throwaway authority, and accounts by SASL PLAIN."""
    authority, ca, server = trustme.CA(), folder / "ca.pem", folder / "server.pem"
    certificate = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    # Kafka reads keys as PKCS#8 only.
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
    server.write_bytes(key.private_bytes(*form) + chain)
    authority.cert_pem.write_to_path(str(ca))
    users = f'username="broker" password="b" user_broker="b" user_riverloop="{PASSWORD}"'
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return Listener(
        "SASL_SSL",
        {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(ca),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{module} required {users};",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
        },
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "riverloop",
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(ca),
        },
    )


@pytest.fixture(scope="module")
def connection(listener: Listener) -> Iterator[Connection]:
    with EmbeddedBroker(listener=listener) as broker:
        yield Connection(broker.bootstrap, listener.client)


@pytest.fixture(scope="module")
def loop(connection: Connection, folder: Path) -> Iterator[Loop]:
    company = 'Category(name="Company", missing="NA", '
    file = hotel_task(
        folder / "task", f"secured-{uuid.uuid4().hex[:8]}", {company: company + 'personal_data="tokenised", '}
    )
    settings: dict[str, Any] = {
        "snapshot_every": 100,
        "log_level": "DEBUG",
        "http_token": HTTP_TOKEN,
        "serve_token": SERVE_TOKEN,
        "snapshot_key": SNAPSHOT_KEY,
        "token_key": TOKEN_KEY,
    }
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, connection, folder, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def worker(loop: Loop) -> Worker:
    made = loop.worker()
    made.restart()
    return made


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """All that commands and HTTP have said in this module."""
    return []


def run(loop: Loop, printed: list[str], *arguments: str, code: int = 0, **changes: str) -> str:
    called, clean, root = command(*arguments)
    reported = "\n".join(f"{name}={value}" for name, value in loop.connection.properties.items())
    env = clean | {
        "RIVERLOOP_BOOTSTRAP": loop.connection.bootstrap,
        "RIVERLOOP_KAFKA_PROPERTIES": reported,
        "RIVERLOOP_TOKEN_KEY": TOKEN_KEY,
        "RIVERLOOP_SNAPSHOT_KEY": SNAPSHOT_KEY,
        "RIVERLOOP_GROUP": loop.task.name,
        "COLUMNS": "250",
    }
    made = subprocess.run(
        called, env=env | changes, cwd=root, capture_output=True, text=True, timeout=180, check=False
    )
    printed.append(made.stdout + made.stderr)
    assert made.returncode == code, made.stdout + made.stderr
    assert "Traceback" not in made.stderr
    return made.stdout + made.stderr


def http(
    worker: Worker, printed: list[str], path: str, body: Any = None, token: str = "", raw: bytes | None = None
) -> int:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(worker.url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            printed.append(answer.read().decode() + str(answer.headers))
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            printed.append(error.read().decode() + str(error.headers))
            return error.code


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sasl.password": "planted-wrong-password"}, "rejects the login; check sasl.mechanism"),
        ({"sasl.username": "nobody"}, "rejects the login"),
        ({"ssl.ca.location": ""}, "TLS with the Kafka cluster"),
        ({"security.protocol": "PLAINTEXT"}, "no Kafka cluster answers"),
        ({"security.protocol": "SASL_PLAINTEXT"}, "no Kafka cluster answers"),
    ],
)
def test_a_wrong_password_or_authority_gets_a_sentence_without_the_secret(
    connection: Connection, changes: Mapping[str, str], says: str
) -> None:
    reported = {name: value for name, value in {**connection.properties, **changes}.items() if value}
    with pytest.raises(BrokerError, match=says) as caught:
        check_reachable(Connection(connection.bootstrap, reported), 5.0)
    assert "planted" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_whole_loop_runs_through_tls_and_accounts(loop: Loop, worker: Worker, printed: list[str]) -> None:
    reference = loop.loaded.reference
    run(loop, printed, "topics", "check", reference)
    run(loop, printed, "produce", reference, "--limit", "400", "--json")
    until(lambda: loop.store_at(loop.folder / "snapshots"), 60, "a snapshot is written")
    assert "everything holds" in run(loop, printed, "verify", reference)
    wrong = "\n".join(f"{name}={value}" for name, value in loop.connection.properties.items())
    wrong = wrong.replace(PASSWORD, "planted-wrong-password")
    for arguments in (
        ("topics", "check", reference),
        ("worker", reference),
        ("deadletters", "list", reference),
    ):
        reported = run(
            loop,
            printed,
            *arguments,
            code=1,
            RIVERLOOP_KAFKA_PROPERTIES=wrong,
            RIVERLOOP_DATA=str(loop.folder),
        )
        assert "rejects the login" in reported
        assert "planted-wrong" not in reported


def test_failures_of_all_kinds_become_dead_letters_and_problems(
    loop: Loop, worker: Worker, printed: list[str]
) -> None:
    event = loop.events(1)[0]
    plain = json.loads(loop.codec.encode(event.request, json=True))
    features = plain["features"] | {"Company": PERSONAL}
    good = plain | {"request_id": "good", "features": features}
    bad: list[bytes] = [
        json.dumps(good | {"features": features | {"LeadTime": "soon"}}).encode(),
        json.dumps(good | {"features": features | {"Company": [PERSONAL]}}).encode(),
        json.dumps(
            good | {"features": features | {"Company": None, "company": PERSONAL, "Meal": 7}}
        ).encode(),
        json.dumps(good | {"features": PERSONAL, "Company": PERSONAL}).encode(),
        json.dumps(good).encode()[:-5],
        PERSONAL.encode(),
        b"\xc3\x01" + PERSONAL.encode(),
    ]
    producer = Producer(loop.connection.config(partitioner="murmur2_random"))
    for value in (*bad, json.dumps(good).encode()):
        producer.produce(loop.topics.requests, value, PERSONAL.encode())
    assert producer.flush(30) == 0
    until(lambda: len(loop.dead_letters()) == len(bad), 60)
    base = f"/tasks/{loop.task.name}"
    outcome = {"request_id": "good", "ts": good["ts"] + 1, "value": True}
    for path in ("predictions", "outcomes"):
        for raw in bad:
            assert http(worker, printed, f"{base}/{path}", raw=raw) == 401
            assert http(worker, printed, f"{base}/{path}", raw=raw, token=HTTP_TOKEN[:-1]) == 401
            assert 400 <= http(worker, printed, f"{base}/{path}", raw=raw, token=HTTP_TOKEN) < 500
    assert http(worker, printed, f"{base}/predictions", good, SERVE_TOKEN) == 200
    assert http(worker, printed, f"{base}/outcomes", outcome, SERVE_TOKEN) == 401
    assert http(worker, printed, f"{base}/outcomes", outcome, HTTP_TOKEN) == 202
    for path in ("/", "/live", "/ready", "/tasks", "/graph/", "/table/", "/router/", "/stats", "/nothing"):
        http(worker, printed, path)
    for path in ("status", "versions", "digests", "predictions/good"):
        http(worker, printed, f"{base}/{path}", token=SERVE_TOKEN)
    reasons = worker.status()["dead_letters"]
    assert sum(reasons.values()) == len(bad)
    assert reasons["wrong_type"] >= 3

    reference = loop.loaded.reference
    run(loop, printed, "deadletters", "list", reference)
    listed = json.loads(run(loop, printed, "deadletters", "list", reference, "--json"))
    assert len(listed["dead_letters"]) == len(bad)
    for each in listed["dead_letters"]:
        assert each["place"] in run(loop, printed, "deadletters", "show", reference, each["place"])
    run(loop, printed, "deadletters", "replay", reference, "--all", "--dry-run")
    run(loop, printed, "snapshots", "list", reference, RIVERLOOP_SNAPSHOTS=str(loop.folder / "snapshots"))


def test_an_unsigned_or_altered_snapshot_is_rejected_and_nothing_of_it_runs(
    loop: Loop, worker: Worker, folder: Path
) -> None:
    worker.stop()
    hostile = with_factory("posix.system")
    store = folder / "snapshots" / loop.task.name
    versions = [each.name for each in store.iterdir() if (each / MANIFEST).exists()]
    assert versions
    unsigned = SnapshotStore(str(folder / "snapshots"))

    def forge() -> None:
        """Put in a state of one's own, with all digests right, as whoever can write the store but lacks the key."""
        for number, manifest in enumerate(unsigned.manifests(loop.task.name)):
            forged = replace(manifest, state_sha256=hashlib.sha256(hostile).hexdigest())
            if number % 2:
                forged = replace(forged, signature="")
            (store / manifest.version / STATE).write_bytes(hostile)
            (store / manifest.version / MANIFEST).write_text(json.dumps(asdict(forged)))

    forge()
    worker.restart()
    assert worker.log.count("the signature does not match the key") >= len(versions)
    loop.assert_digests()
    worker.stop()
    forge()  # what it has written again at its end
    # Without a key, such a state is still read as numbers, and there is no code for it to name.
    keyless = loop.worker(snapshot_key="")
    keyless.restart()
    assert "expects posix.system, and the model has no code of this name" in keyless.log
    loop.assert_digests()


def test_no_secret_and_no_personal_value_is_in_anything_that_was_said(
    loop: Loop, worker: Worker, printed: list[str]
) -> None:
    assert len(printed) > 50
    said = {"commands and HTTP": "\n".join(printed)}
    said |= {each.log_file.name: each.log for each in loop.workers}
    for where, found in said.items():
        for secret in SECRETS:
            at = found.find(secret)
            assert at < 0, f"{where}: {found[max(0, at - 200) : at + 50]}"
        assert "Traceback" not in found, where
    reported = json.dumps([worker.url, repr(loop.connection)])
    assert PASSWORD not in reported


def test_the_page_about_one_s_own_kafka_reaches_one_with_tls_and_accounts(
    connection: Connection, listener: Listener, tmp_path: Path
) -> None:
    """Run to the letter, with an address, a password and a certificate of its own."""
    write_files(WRITE_A_TASK, tmp_path)
    created = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    account = UserScramCredentialUpsertion("riverloop", created, PASSWORD.encode())
    with client_of(connection) as admin:
        for done in admin.alter_user_scram_credentials([account]).values():
            done.result(30)
    (first, _), (secured, _) = answers(ROOT / "docs" / "how-to" / "use-your-own-kafka.md")
    export, create, *_ = first.splitlines()
    places = {
        "kafka-1:9092,kafka-2:9092": connection.bootstrap,
        "--replication 3": "--replication 1",
        "…": PASSWORD,
        "/etc/ssl/kafka-ca.pem": listener.client["ssl.ca.location"],
    }
    *properties, check = secured.strip().splitlines()
    with Terminal(tmp_path, places) as terminal:
        terminal.run("\n".join([export, *properties, create]))
        assert "the topics of orders match their specification" in terminal.run(check)
