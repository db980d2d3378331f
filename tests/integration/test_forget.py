"""A person is forgotten on a real broker: nothing that is stored can be linked to them, and all else holds."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from agents.cli.main import riverloop
from infra.embedded.pytest_plugin import Broker
from infra.inbound import SERVED, header
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets, first_offsets
from infra.past import controls
from infra.subjects import Subjects
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Prediction
from schemas.subject_keys import LOOKUP_BYTES, SALT_BYTES, SubjectKeys
from schemas.tokens import FIELD_TOKEN, token
from schemas.topics import topics
from streams.datafile import Event
from tests.faults.child import through_child
from tests.integration.loops import Loop, Worker, command, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

ADA: Final = "ada.lovelace+ü@example.org"
BEA: Final = "bea@example.org"
COMPANY: Final = "Lovelace & Töchter"
CLERK: Final = "clerk Babbage"
TOKEN_KEY: Final = "a token key of more than enough characters"
IN_PLAIN: Final = tuple(
    form
    for text in (ADA, COMPANY, CLERK)
    for form in {text.encode(), json.dumps(text)[1:-1].encode(), text.encode("utf-16-le")}
)
PERSONAL = {
    'Category(name="Company", missing="NA"': 'Category(name="Company", missing="NA", personal_data="tokenised"',
    "features=Dictionary(*NUMBERS, *CATEGORIES)": "features=Dictionary(*NUMBERS, *CATEGORIES, "
    'entity_key="tokenised", parents="tokenised", reporter="tokenised")',
}


@pytest.fixture(scope="module")
def loop(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("forget")
    file = hotel_task(folder / "task", f"forget-{uuid.uuid4().hex[:8]}", PERSONAL)
    settings: dict[str, Any] = {"token_key": TOKEN_KEY, "snapshot_every": 100, "join_store": "rocks"}
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), folder, 2, **settings) as made:
        yield made


def personal(events: list[Event]) -> list[Event]:
    """Give the events to Ada, Bea and others; Ada's name her company and her clerk."""
    out = []
    for number, event in enumerate(events):
        entity = (ADA, BEA, "cleo@example.org", "dora@example.org", None)[number % 5]
        company = "NA" if entity is None else COMPANY if entity == ADA else "C-1"
        features = {**event.request.features, "Company": company}
        request = replace(event.request, features=features, entity_key=entity, parents=(f"p-{number}",))
        reporter = CLERK if entity == ADA else "clerk Byron"
        outcomes = tuple(replace(each, reporter=reporter) for each in event.outcomes)
        out.append(replace(event, request=request, outcomes=outcomes))
    return out


def raw(loop: Loop) -> Iterator[Message]:
    """Read all topics of the task from their beginnings, aborted records too."""
    config = {"group.id": "raw", "isolation.level": "read_uncommitted", "enable.partition.eof": True}
    places = [(spec.name, number) for spec in topics(loop.task.name, 2) for number in range(spec.partitions)]
    ends = end_offsets(loop.connection, places, committed=False)
    firsts = first_offsets(loop.connection, places)
    left = {place for place in places if firsts[place] < ends[place]}
    with closing(Consumer(loop.connection.config(**config))) as consumer:
        consumer.assign([TopicPartition(*place, firsts[place]) for place in left])
        while left:
            message = consumer.poll(60.0)
            assert message is not None, f"nothing comes of {left}"
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            if message.error() is None:
                yield message
                offset += 1
            if offset >= ends[place]:
                left.discard(place)


def stored(loop: Loop) -> dict[str, bytes]:
    """Give all that anybody can hold of the task: records, snapshots, workers' data, an export."""
    export = loop.folder / "export"
    run(loop, "schemas", "export", loop.loaded.reference, str(export))
    found = {
        str(path): path.read_bytes()
        for path in loop.folder.rglob("*")
        if path.is_file() and path.name != "LOCK" and "task" not in path.relative_to(loop.folder).parts[:1]
    }
    for each in raw(loop):
        value = (each.key() or b"") + b"\0" + (each.value() or b"")
        found[f"{each.topic()}[{each.partition()}]@{each.offset()}"] = value + repr(each.headers()).encode()
    assert any("/snapshots/" in name for name in found)
    assert any("/join/" in name for name in found)
    assert any("/export/" in name for name in found)
    return found


def tokens(loop: Loop) -> dict[str, set[bytes]]:
    """Make all tokens of a person that can be made by somebody who holds the topics and the token key."""
    salts = {
        each.value()
        for each in raw(loop)
        if each.value() is not None and len(each.value() or b"") == SALT_BYTES
    }
    found: dict[str, set[bytes]] = {}
    for person, values in {
        ADA: (("entity_key", ADA), ("Company", COMPANY)),
        BEA: (("entity_key", BEA), ("Company", "C-1")),
        CLERK: (("reporter", CLERK),),
    }.items():
        keys = {SubjectKeys(TOKEN_KEY.encode()).key(person), TOKEN_KEY.encode()}
        for salt in salts:
            holder = SubjectKeys(TOKEN_KEY.encode())
            holder.read(holder.lookup(person), salt)
            keys.add(holder.key(person))
        found[person] = {token(key, name, value).encode() for key in keys for name, value in values}
        lookup = SubjectKeys(TOKEN_KEY.encode()).lookup(person)
        assert len(lookup) == LOOKUP_BYTES
        found[person].add(lookup)
    return found


def where(found: dict[str, bytes], needles: Any) -> list[str]:
    """Give the places in which any of the needles lies."""
    return [name for name, data in found.items() if any(each in data for each in needles)]


def run(loop: Loop, *arguments: str, code: int = 0, stdin: str | None = None, **env: str) -> str:
    """Run a command, as a process where it is to die; gives what it printed."""
    reported = {
        "RIVERLOOP_BOOTSTRAP": loop.connection.bootstrap,
        "RIVERLOOP_TOKEN_KEY": TOKEN_KEY,
        "RIVERLOOP_GROUP": loop.task.name,
        "COLUMNS": "250",
    }
    if code >= 0:
        tried = CliRunner(env=reported | env).invoke(riverloop, arguments, input=stdin, standalone_mode=False)
        error = tried.exception
        assert error is None or isinstance(error, UsageError | click.ClickException), tried.exc_info
        said = error.format_message() if isinstance(error, click.ClickException) else str(error or "")
        assert (2 if error else tried.return_value or 0) == code, tried.output + said
        return tried.output.removesuffix("None") + said
    called, clean, root = command(*arguments)
    called = through_child(called)
    reported |= clean
    made = subprocess.run(
        called,
        env=reported | env,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        input=stdin,
    )
    text = made.stdout + made.stderr
    assert made.returncode == code, text
    assert "Traceback" not in text
    return text


def forget(loop: Loop, entity: str, *more: str, code: int = 0, **env: str) -> str:
    """Forget an entity, given on standard input."""
    arguments = ("forget", loop.loaded.reference, "-", "--reason", "request 2026-118", *more)
    return run(loop, *arguments, code=code, stdin=entity + "\n", **env)


def post(worker: Worker, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send one record over HTTP."""
    request = urllib.request.Request(
        worker.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def predictions(loop: Loop) -> list[tuple[Message, Prediction]]:
    """Read the predictions that are left."""
    return [
        (each, loop.codec.decode_prediction(each.value()))
        for each in raw(loop)
        if each.topic() == loop.topics.predictions
    ]


def entity_of(loop: Loop, request_id: str) -> str | None:
    """Give the entity of a prediction, as it is stored."""
    return next(found.entity_key for _, found in predictions(loop) if found.request_id == request_id)


@pytest.fixture(scope="module")
def worker(loop: Loop) -> Worker:
    made = loop.worker()
    made.restart()
    return made


@pytest.fixture(scope="module")
def ids(loop: Loop, worker: Worker) -> dict[str, list[str]]:
    """Play a history in which everything happens to Ada that can; give the request ids by entity."""
    events = personal(loop.events(400))
    loop.play(events)
    codec, names, base = loop.codec, loop.topics, f"/tasks/{loop.task.name}"
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event.request.entity_key or "", []).append(event.request.request_id)
    last = events[-1].request
    sent = json.loads(Codec(loop.task.name, "binary", loop.task.features).encode(last, json=True))
    for entity in (ADA, BEA):
        request = sent | {"request_id": f"http {entity == ADA}", "entity_key": entity}
        post(worker, f"{base}/predictions", request | {"features": sent["features"] | {"Company": COMPANY}})
        outcome = {"request_id": request["request_id"], "ts": last.ts + 1, "value": True, "reporter": CLERK}
        post(worker, f"{base}/outcomes", outcome)
        found[entity].append(request["request_id"])
    producer = Producer(loop.connection.config(partitioner="murmur2_random"))
    # One that is rejected, one that is damaged, and a prediction of a service's own.
    rejected = sent | {
        "request_id": "rejected",
        "entity_key": ADA,
        "features": {"LeadTime": "soon", "Company": COMPANY},
    }
    producer.produce(names.requests, json.dumps(rejected).encode(), ADA.encode())
    producer.produce(names.requests, json.dumps(rejected, ensure_ascii=False).encode()[:-9], b"damaged")
    _, served = next(each for each in predictions(loop) if each[1].features["Company"] == "NA")
    foreign = replace(served, request_id="foreign", entity_key=ADA, parents=("p-0",), source=None)
    producer.produce(names.predictions, codec.encode(foreign, json=True), b"foreign")
    outcome = {"request_id": "foreign", "ts": foreign.ts + 1, "value": True, "reporter": CLERK}
    producer.produce(names.outcomes, json.dumps(outcome).encode(), b"foreign")
    assert producer.flush(30) == 0
    found[ADA].append("foreign")
    until(lambda: len(loop.dead_letters()) == 2, 60, "two dead letters")
    until(lambda: {"foreign", "http True"} <= {key[0] for key in loop.resolutions()}, 60, "all is resolved")
    until(loop.published, 60, "all is published")
    until(lambda: loop.store_at(loop.folder / "snapshots"), 60, "a snapshot is written")
    worker.stop()
    worker.restart()
    return found


def test_before_it_the_person_is_found_in_plain_and_by_token(loop: Loop, ids: dict[str, list[str]]) -> None:
    found = stored(loop)
    plain = where(found, IN_PLAIN)
    names = loop.topics
    for topic in (names.requests, names.outcomes, names.dead_letters, names.predictions):
        assert any(place.startswith(f"{topic}[") for place in plain), topic
    for topic in (names.log, names.join_state, names.quality, names.metrics, names.keys, names.snapshots):
        assert not [place for place in plain if place.startswith(f"{topic}[")], topic
    assert not [place for place in plain if place.startswith(str(loop.folder))]
    by_token = where(found, tokens(loop)[ADA])
    for topic in (names.predictions, names.log, names.join_state, names.keys):
        assert any(place.startswith(f"{topic}[") for place in by_token), topic
    assert any("/join/" in place for place in by_token)
    assert any(place.startswith(f"{names.log}[") for place in where(found, tokens(loop)[CLERK]))


def test_all_of_a_person_is_under_one_token_and_others_have_their_own(
    loop: Loop, ids: dict[str, list[str]]
) -> None:
    by_entity = {
        entity: {found.entity_key for _, found in predictions(loop) if found.request_id in ids[entity]}
        for entity in (ADA, BEA)
    }
    [bea] = by_entity[BEA]
    [ada] = by_entity[ADA] - {ADA}  # and one in plain, from outside
    assert ada
    assert ada != bea
    entry = next(e for _, e in loop.entries() if e.prediction and e.prediction.request_id == "foreign")
    assert entry.prediction is not None
    assert entry.prediction.entity_key == ada
    assert entry.prediction.parents
    assert all(each.startswith(FIELD_TOKEN) for each in entry.prediction.parents)
    assert all(header(each, SERVED) for each, found in predictions(loop) if found.request_id != "foreign")


def test_a_preview_changes_nothing(loop: Loop, ids: dict[str, list[str]]) -> None:
    before = first_offsets(loop.connection, [(loop.topics.requests, 0)])
    reported = json.loads(forget(loop, ADA, "--dry-run", "--json"))
    assert reported["known"]
    assert reported["deleted"][loop.topics.requests] > 100
    assert first_offsets(loop.connection, [(loop.topics.requests, 0)]) == before


def test_the_audit_names_nobody(loop: Loop, ids: dict[str, list[str]]) -> None:
    task = loop.loaded.reference
    for more in (("--reason", f"{ADA.upper()} wrote to us"), ("--reason", "a request", "--author", ADA)):
        assert "must not contain the entity" in run(loop, "forget", task, ADA, *more, code=2)
    assert "1 to 10,000 characters" in run(loop, "forget", task, "", "--reason", "a request", code=2)
    assert "--reason" in run(loop, "forget", task, ADA, code=2)


def test_a_person_is_forgotten_although_the_command_is_killed_anywhere(
    loop: Loop, worker: Worker, ids: dict[str, list[str]]
) -> None:
    before = loop.assert_digests()
    bea = entity_of(loop, ids[BEA][0])
    old = entity_of(loop, ids[ADA][0])
    until(loop.published, 60, "all is published")
    for point in ("before-produce", "after-produce", "between-produce-and-commit", "after-commit"):
        forget(loop, ADA, code=-9, RIVERLOOP_CRASH_POINT=point)
    reported = json.loads(forget(loop, ADA, "--json"))
    assert reported["complete"], reported
    assert not reported["known"]  # a run that was killed behind its commit has destroyed the key
    clerk = json.loads(forget(loop, CLERK, "--json"))
    assert (clerk["complete"], clerk["known"]) == (True, True)

    found = stored(loop)
    assert where(found, IN_PLAIN) == []
    made = tokens(loop)
    assert where(found, made[ADA] | made[CLERK]) == []
    # Her requests are still answered and learned, and belong to nobody.
    assert where(found, [each.encode() for each in ids[ADA][:5]])
    assert where(found, [str(old).encode()])
    # Others are as they were.
    assert entity_of(loop, ids[BEA][0]) == bea
    assert any(place.startswith(f"{loop.topics.log}[") for place in where(found, made[BEA]))

    assert loop.assert_digests() == before
    report = loop.assert_verified()
    assert report.counts["entries"] > 300
    worker.stop()
    worker.restart()
    assert loop.assert_digests() == before
    loop.assert_verified()
    assert where(stored(loop), (*IN_PLAIN, *tokens(loop)[ADA])) == []


def test_the_audit_says_that_it_was_done(loop: Loop) -> None:
    mine = (each for each in raw(loop) if each.topic() == loop.topics.control)
    audits = [each for each in controls(loop.codec, mine) if each.command.name == "forget"]
    assert [each.command.arguments["key"] for each in audits].count("destroyed") >= 2
    assert {each.command.reason for each in audits} == {"request 2026-118"}
    assert all(
        each.kind == "audit" and f"{loop.topics.requests}[0]@" in each.command.arguments["deleted_below"]
        for each in audits
    )


def test_who_comes_back_has_a_new_token_and_the_others_keep_theirs(
    loop: Loop, worker: Worker, ids: dict[str, list[str]]
) -> None:
    bea, old = entity_of(loop, ids[BEA][0]), entity_of(loop, ids[ADA][0])
    request = loop.events(401)[-1].request
    codec = Codec(loop.task.name, "binary", loop.task.features)
    for name, entity in (("back ada", ADA), ("back bea", BEA)):
        sent = json.loads(codec.encode(replace(request, request_id=name, entity_key=entity), json=True))
        post(worker, f"/tasks/{loop.task.name}/predictions", sent)
    assert entity_of(loop, "back bea") == bea
    new = entity_of(loop, "back ada")
    assert new not in {None, old, ADA}
    assert any(
        place.startswith(f"{loop.topics.predictions}[") for place in where(stored(loop), tokens(loop)[ADA])
    )
    reported = json.loads(forget(loop, ADA, "--json"))
    assert (reported["known"], reported["complete"]) == (True, True)
    assert where(stored(loop), (*IN_PLAIN, *tokens(loop)[ADA])) == []
    loop.assert_verified()


def test_twice_and_somebody_unknown_get_a_sentence(loop: Loop, ids: dict[str, list[str]]) -> None:
    for entity in (ADA, "nobody@example.org"):
        reported = forget(loop, entity)
        assert f"{loop.topics.keys} has no key of this entity" in reported
        assert "forgotten before, or no request has named it" in reported
        assert "no record on the topics contains the entity in plain text" in reported


def test_what_the_workers_have_yet_to_process_is_left_and_said(
    loop: Loop, worker: Worker, ids: dict[str, list[str]]
) -> None:
    worker.stop()
    request = replace(loop.events(402)[-1].request, request_id="late", entity_key=ADA)
    producer = Producer(loop.connection.config(partitioner="murmur2_random"))
    codec = Codec(loop.task.name, "binary", loop.task.features)
    producer.produce(loop.topics.requests, codec.encode(request), b"late")
    assert producer.flush(30) == 0
    reported = forget(loop, ADA, code=1)
    assert (
        f"LEFT: {loop.topics.requests}: 1 records contain the entity in plain text; let the workers"
        in reported
    )
    worker.restart()
    until(lambda: "late" in {found.request_id for _, found in predictions(loop)}, 60, "it is served")

    def complete() -> bool:
        return bool(json.loads(forget(loop, ADA, "--json", code=0))["complete"])

    subjects = Subjects.of(loop.connection, loop.topics, loop.task.features, TOKEN_KEY.encode())
    subjects.load()
    assert subjects.keys is not None
    assert subjects.keys.knows(ADA)
    assert complete()
    assert where(stored(loop), (*IN_PLAIN, *tokens(loop)[ADA])) == []
    loop.assert_verified()


def test_predictions_from_outside_are_checked_like_requests(
    loop: Loop, worker: Worker, ids: dict[str, list[str]]
) -> None:
    _, served = predictions(loop)[-1]
    reported = json.loads(loop.codec.encode(replace(served, source=None), json=True))
    wrong = {"request_id": "wrong", "features": reported["features"] | {"ADR": "much", "LeadTime": "soon"}}
    good = {"request_id": "good", "features": reported["features"] | {"Company": COMPANY}}
    producer = Producer(loop.connection.config(partitioner="murmur2_random"))
    for each in (wrong, good):
        record = json.dumps(reported | each | {"entity_key": ADA}).encode()
        producer.produce(loop.topics.predictions, record, each["request_id"].encode())
        outcome = json.dumps({"request_id": each["request_id"], "ts": served.ts + 1, "value": True})
        producer.produce(loop.topics.outcomes, outcome.encode(), each["request_id"].encode())
    assert producer.flush(30) == 0
    until(lambda: "good" in {key[0] for key in loop.resolutions()}, 60, "it is resolved")
    until(lambda: any(each.reason == "wrong_type" for each in loop.dead_letters()), 60, "it is rejected")
    found = stored(loop)
    plain = where(found, IN_PLAIN)
    for topic in (loop.topics.log, loop.topics.join_state):
        assert not [place for place in plain if place.startswith(f"{topic}[")]
    assert any(place.startswith(f"{loop.topics.log}[") for place in where(found, tokens(loop)[ADA]))
    reported = json.loads(forget(loop, ADA, "--json"))
    assert reported["complete"]
    assert where(stored(loop), (*IN_PLAIN, *tokens(loop)[ADA])) == []
