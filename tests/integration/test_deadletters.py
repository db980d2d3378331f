"""`riverloop deadletters`: each dead letter is replayed once, whoever asks, however often, whatever dies."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from agents.cli.main import riverloop
from infra.deadletters import DeadLetters, Wanted
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.replayed_dead_letters import replay_dead_letters
from infra.taskfile import load_task
from schemas.codec import Codec
from schemas.errors import RiverloopError, UsageError
from schemas.records import DeadLetter, Outcome, Position, Request
from schemas.topics import TaskTopics, topics
from tests.faults.child import through_child
from tests.integration.loops import command
from tests.topics import delete_topics

pytestmark = pytest.mark.kafka

TASK_FILE = """
from datetime import timedelta
from river import dummy
from schemas import Category, Dictionary, Number
from schemas.event_time import EPOCH
from streams import Model, Task
task = Task(
    name="{name}", question="?", horizon=timedelta(days=1), earliest=EPOCH,
    features=Dictionary(Number(name="x"), Category(name="Guest", optional=True, personal_data="left_out")),
    models=(Model("lr", dummy.NoChangeClassifier),),
)
"""
DAY = 86_400_000
PARTITIONS = 2


@dataclass
class Place:
    """A task's topics on the broker, and its task file."""

    file: str
    codec: Codec
    topics: TaskTopics
    connection: Connection

    def put(self, dead_letters: Iterable[DeadLetter | bytes], partition: int = 0) -> None:
        """Write dead letters as a worker would."""
        producer = Producer(self.connection.config(**{"message.max.bytes": 8_000_000, "linger.ms": 0}))
        for each in dead_letters:
            value = each if isinstance(each, bytes) else self.codec.encode(each)
            producer.produce(self.topics.dead_letters, value, b"key", partition)
        assert producer.flush(30) == 0

    def sent(self, topic: str) -> list[tuple[int, bytes | None, bytes | None, Any]]:
        """Read what was replayed: partition, key, value, headers."""
        # The ends as written: that of the committed follows a commit by a moment.
        ends = end_offsets(
            self.connection, [(topic, number) for number in range(PARTITIONS)], committed=False
        )
        return [
            (number, each.key(), each.value(), each.headers())
            for (_, number), end in ends.items()
            for each in read_all(self.connection, topic, number, end=end)
        ]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run `riverloop deadletters`; gives what it printed."""
        env = {"RIVERLOOP_BOOTSTRAP": self.connection.bootstrap, "COLUMNS": "300"}
        called = ["deadletters", arguments[0], self.file, *arguments[1:]]
        made = CliRunner(env=env).invoke(riverloop, called, standalone_mode=False)
        error = made.exception
        assert error is None or isinstance(error, RiverloopError | click.ClickException), made.exc_info
        # As `main` makes exit codes of errors.
        wrong = isinstance(error, UsageError | click.ClickException)
        found = 2 if wrong else 1 if error else made.return_value or 0
        text = made.output + (
            error.format_message() if isinstance(error, click.ClickException) else str(error)
        )
        assert found == code, text
        return text

    def process(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start it as a process of its own; `env` may ask for faults of `tests.faults.injection`."""
        called, clean, root = command("deadletters", arguments[0], self.file, *arguments[1:])
        called = through_child(called)
        env = clean | {"RIVERLOOP_BOOTSTRAP": self.connection.bootstrap} | env
        return subprocess.Popen(
            called, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def json(self, *arguments: str) -> Any:
        """Run it with `--json`."""
        return json.loads(self.run(*arguments, "--json").removesuffix("None"))

    @property
    def dead_letters(self) -> DeadLetters:
        """The reader, as a command makes it."""
        return DeadLetters(self.connection, self.codec)

    def replay(self, **wanted: Any) -> Any:
        """Replay what is meant."""
        return replay_dead_letters(self.dead_letters, Wanted(**wanted), author="ada", why="a test", at=DAY)


@pytest.fixture
def place(broker: Broker, task_name: str, tmp_path: Path) -> Place:
    file = tmp_path / "task.py"
    file.write_text(TASK_FILE.format(name=task_name))
    task = load_task(str(file)).task
    connection = Connection(broker.bootstrap)
    create_topics(connection, topics(task.name, PARTITIONS))
    return Place(str(file), Codec(task.name, task.kind, task.features), TaskTopics(task.name), connection)


def rejected(place: Place, number: int, topic: str = "", reason: str = "unknown_schema") -> DeadLetter:
    """Return the dead letter of a record that is valid today."""
    request = place.codec.encode(Request(f"r-{number}", number, {"x": 1.0}), json=number % 2 == 0)
    outcome = place.codec.encode(Outcome(f"r-{number}", number, True))
    topic = topic or place.topics.requests
    value = outcome if topic == place.topics.outcomes else request
    source = Position(topic, number % PARTITIONS, number)
    return DeadLetter(reason, "a sentence", "", source, f"r-{number}".encode(), value, number * DAY, "shop")


def test_what_was_rejected_is_sent_again_once_as_it_was_and_leaves_a_trace(place: Place) -> None:
    dead_letters = [rejected(place, number) for number in range(5)]
    dead_letters += [
        rejected(place, number, place.topics.outcomes, "unknown_or_forgotten") for number in range(3)
    ]
    place.put(dead_letters)
    reported = place.json("replay", "--all", "--because", "the schema is known now", "--author", "ada")
    assert reported["by_topic"] == {place.topics.requests: 5, place.topics.outcomes: 3}
    for topic in (place.topics.requests, place.topics.outcomes):
        meant = {
            (
                each.source.partition,
                each.key,
                each.value,
                (("riverloop.replayed-from", f"{place.topics.dead_letters}[0]@{offset}".encode()),),
            )
            for offset, each in enumerate(dead_letters)
            if each.source is not None and each.source.topic == topic
        }
        assert {(*each[:3], tuple(each[3])) for each in place.sent(topic)} == meant
    [audit] = [
        place.codec.decode_control(each.value())
        for each in read_all(place.connection, place.topics.control, end=1)
    ]
    assert (audit.kind, audit.command.name, audit.command.author) == ("audit", "replay", "ada")
    assert audit.command.reason == "the schema is known now"
    assert audit.command.arguments["dead_letters"] == " ".join(f"0@{number}" for number in range(8))

    again = place.json("replay", "--all")
    assert (again["replayed"], again["skipped"]) == (0, {"replayed before": 8})
    assert len(place.sent(place.topics.requests)) == 5
    assert "skipped: 1: replayed before" in place.run("replay", "0@0", code=1)
    listed = place.json("list")
    assert (listed["counts"], listed["not_replayed"]) == ({"unknown_schema": 5, "unknown_or_forgotten": 3}, 0)
    assert all(each["replayed"] for each in listed["dead_letters"])


def test_only_what_is_meant_is_listed_and_replayed(place: Place) -> None:
    place.put(rejected(place, number, reason=("unknown_schema", "stale")[number % 2]) for number in range(10))
    place.put([rejected(place, 20, place.topics.outcomes)], partition=1)
    for meant, count in (
        (("--reason", "stale"), 5),
        (("--reason", "stale", "--reason", "unknown_schema"), 11),
        (("--topic", "outcomes"), 1),
        (("--since", "1970-01-04", "--until", "1970-01-06T00:00"), 2),
        (("--since", "1970-01-04", "--reason", "stale"), 4),
    ):
        assert sum(place.json("list", *meant)["counts"].values()) == count
        assert place.json("replay", *meant, "--dry-run")["replayed"] == count
    assert place.sent(place.topics.requests) == []
    newest = place.json("list", "--limit", "3")
    assert [each["place"] for each in newest["dead_letters"]] == ["1@0", "0@9", "0@8"]
    assert sum(newest["counts"].values()) == 11
    assert place.json("replay", "--all", "--limit", "2")["replayed"] == 2
    assert place.json("replay", "0@5", "1@0")["replayed"] == 2
    assert {each[1] for each in place.sent(place.topics.requests)} == {b"r-0", b"r-1", b"r-5"}


def test_two_replays_at_the_same_time_send_nothing_twice(place: Place) -> None:
    place.put(rejected(place, number) for number in range(600))
    called, clean, root = command("deadletters", "replay", place.file, "--all", "--json")
    env = clean | {"RIVERLOOP_BOOTSTRAP": place.connection.bootstrap}
    both = [
        subprocess.Popen(called, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for each in both:
        _, err = each.communicate(timeout=120)
        assert each.returncode == 0 or "another replay" in err, err
    place.run("replay", "--all")
    counted = Counter(each[1] for each in place.sent(place.topics.requests))
    assert counted == Counter(f"r-{number}".encode() for number in range(600))


@pytest.mark.parametrize("point", ["before-produce", "between-produce-and-commit", "after-commit"])
def test_a_replay_that_dies_is_run_again_without_harm(place: Place, point: str) -> None:
    place.put(rejected(place, number) for number in range(450))
    with place.process("replay", "--all", RIVERLOOP_CRASH_POINT=f"{point}:2") as dying:
        assert dying.wait(120) == -signal.SIGKILL
    assert len(place.sent(place.topics.requests)) in {200, 400}
    place.run("replay", "--all")
    counted = Counter(each[1] for each in place.sent(place.topics.requests))
    assert counted == Counter(f"r-{number}".encode() for number in range(450))


def test_nobody_who_writes_dead_letters_chooses_where_a_replay_writes(place: Place) -> None:
    value = place.codec.encode(Request("r", 1, {"x": 1.0}))

    def dead_letter(source: Position | None, value: bytes = value, key: bytes = b"k") -> DeadLetter:
        return DeadLetter("unknown_schema", "a sentence", "", source, key, value, 0)

    at = place.topics.requests
    place.put(
        [
            dead_letter(Position("__consumer_offsets", 0, 1)),
            dead_letter(Position(place.topics.log, 0, 1)),
            dead_letter(Position(place.topics.control, 0, 1)),
            dead_letter(None),
            dead_letter(Position(at, 0, 1), b"no record at all"),
            dead_letter(Position(at, 0, 1), place.codec.encode(Outcome("r", 1, True))),
            dead_letter(Position(at, 0, 1), key=b"k" * 4_193_000),
            dead_letter(Position(at, -7, 1)),
            dead_letter(Position(at, 5_000, 1)),
            b"no dead letter",
            b"\xc3\x01" + bytes(40),
        ]
    )
    before = end_offsets(place.connection, [(place.topics.log, 0)])
    reported = place.json("replay", "--all")
    assert reported["by_topic"] == {at: 2}
    assert reported["skipped"] == {
        "their source is not a topic of this task": 4,
        "the task still rejects them: unreadable": 1,
        "the task still rejects them: wrong_record": 1,
        "still too large": 1,
    }
    assert {each[1] for each in place.sent(at)} == {b"k"}
    assert end_offsets(place.connection, [(place.topics.log, 0)]) == before
    assert "2 records on" in place.run("list")


def test_a_topic_that_was_made_anew_has_letters_of_its_own(place: Place) -> None:
    place.put([rejected(place, 0)])
    assert place.replay().count == 1
    dead = [each for each in topics(place.codec.task, PARTITIONS) if each.name == place.topics.dead_letters]
    delete_topics(place.connection, [place.topics.dead_letters])
    create_topics(place.connection, dead)
    place.put([rejected(place, 1)])
    assert place.replay().count == 1
    assert place.replay().skipped == {"replayed before": 1}


def test_a_letter_is_shown_saved_mended_and_replayed(place: Place, tmp_path: Path) -> None:
    bad = b'{"request_id": "r-1", "ts": 5, "features": {"x": "soon", "Guest": "Ada Lovelace"}}'
    source = Position(place.topics.requests, 0, 7)
    place.put([DeadLetter("wrong_type", "feature x must be a number", "features.x", source, b"r-1", bad, 5)])
    shown = place.run("show", "0@0")
    assert '"x": "soon"' in shown
    assert "<text, 12 characters>" in shown
    assert "Ada" not in shown
    file = tmp_path / "record.json"
    place.run("show", "0@0", "--save", str(file))
    assert file.read_bytes() == bad
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot be written" in place.run("show", "0@0", "--save", str(file), code=2)
    assert "wrong_type" in place.run("replay", "0@0", code=1)
    file.write_bytes(bad.replace(b'"soon"', b"12"))
    assert place.json("replay", "0@0", "--mended", str(file))["replayed"] == 1
    [sent] = place.sent(place.topics.requests)
    assert sent[2] == file.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("replay",), "select dead letters with"),
        (("replay", "--mended", __file__, "--all"), "exactly one PLACE"),
        (("show", "soon"), "PARTITION@OFFSET"),
        (("show", "0@99"), "has no dead letter at 0@99"),
        (("show", "77@0"), "has no dead letter at 77@0"),
        (("list", "--since", "yesterday"), "not a date or time"),
        (("list", "--reason", "bad_luck"), "bad_luck"),
    ],
)
def test_a_mistake_gets_a_sentence(place: Place, arguments: tuple[str, ...], says: str) -> None:
    assert says in place.run(*arguments, code=2)


def test_without_letters_the_commands_say_so(place: Place) -> None:
    assert "no dead letters" in place.run("list")
    assert "no dead letters" in place.run("replay", "--all")
    delete_topics(place.connection, [place.topics.dead_letters])
    assert "riverloop topics create" in place.run("list", code=2)
