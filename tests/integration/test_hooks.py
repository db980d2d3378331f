"""Hooks on a real broker: whoever dies or fails, each event arrives, again under the same id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import load_task
from schemas.alert import Alert, Evidence
from schemas.codec import Codec
from schemas.records import Command, Control
from schemas.topics import TaskTopics, topics
from tests.integration.loops import invoked, until
from tests.receiver import SECRET, Received, Receiver, receiving

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
TASK_FILE = """
from datetime import timedelta
from river import dummy
from schemas import Dictionary, Number
from streams import Model, Task
task = Task(
    name="{name}", question="?", horizon=timedelta(days=1),
    features=Dictionary(Number(name="x")), models=(Model("lr", dummy.NoChangeClassifier),),
)
"""


@dataclass
class Place:
    """A task's topics, its receiver, and the commands about them."""

    file: Path
    config: Path
    address: str
    codec: Codec
    names: TaskTopics
    receiver: Receiver

    def decide(self, *numbers: int) -> None:
        """Write audits, as the log's owner does."""
        for number in numbers:
            command = Command("keep", "lr", {}, "ann", f"reason {number}", f"c-{number}")
            self._write(self.names.control, Control("audit", command, number, f"e@{number}"))

    def alarm(self) -> None:
        """Write an alert."""
        alert = Alert(
            "t/drift@7",
            "opened",
            "warning",
            "drift",
            "excess_log_loss",
            "up",
            "lr",
            "lr.1@7",
            "x",
            Evidence("adwin", "means"),
            1,
            False,
            7,
            1,
            1,
            "It rose.",
        )
        self._write(self.names.alerts, alert)

    def _write(self, topic: str, record: Any) -> None:
        producer = Producer({"bootstrap.servers": self.address})
        producer.produce(topic, self.codec.encode(record))
        assert producer.flush(10) == 0

    @property
    def where(self) -> list[str]:
        return ["--config", str(self.config), "--bootstrap", self.address]

    def hooks(self, name: str, *more: str, code: int = 0) -> str:
        """Run a command in this process; gives what it prints."""
        return invoked("hooks", name, str(self.file), *self.where, *more, code=code)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start `hooks run` as a process of its own."""
        words = [sys.executable, "-m", "agents.cli.main", "hooks", "run", str(self.file), *self.where]
        with (folder / "hooks.log").open("ab") as out:
            return subprocess.Popen(words, stdout=out, stderr=out, env=os.environ | {"HOOK_SECRET": SECRET})

    @property
    def reasons(self) -> list[str]:
        """Reasons of the decisions in the order in which they came, alerts as their texts."""
        found = [each.body["data"] for each in self.receiver.calls]
        return [each.get("reason") or each["text"] for each in found]


@pytest.fixture
def place(broker: Broker, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    file, config = tmp_path / "task.py", tmp_path / "hooks.toml"
    file.write_text(TASK_FILE.format(name=task_name))
    create_topics(Connection(broker.bootstrap), topics(task_name, 1))
    task = load_task(str(file)).task
    with receiving() as receiver:
        config.write_text(
            f'[[webhooks]]\nname = "ci"\nurl = "{receiver.url}/in"\nsecret_env = "HOOK_SECRET"\nprivate = true\n'
        )
        codec = Codec(task.name, task.kind, task.features)
        yield Place(file, config, broker.bootstrap, codec, TaskTopics(task_name), receiver)


def waiting(place: Place) -> list[int | None]:
    """Records that wait for the destination, of both topics."""
    (found,) = json.loads(place.hooks("list", "--json"))["destinations"]
    return list(found["waiting"].values())


def test_each_event_arrives_whoever_fails_or_dies_and_comes_again_on_demand(
    place: Place, tmp_path: Path
) -> None:
    receiver = place.receiver
    place.decide(0)
    assert waiting(place) == [None, None]
    place.hooks("run", "--once")
    assert (receiver.calls, waiting(place)) == ([], [0, 0])

    # The receiver fails: nothing is passed over.
    place.decide(1, 2)
    place.alarm()
    receiver.answer = lambda received: (500, {})
    place.hooks("run", "--once", code=1)
    assert (place.reasons, waiting(place)) == (["reason 1"], [2, 1])

    # It has taken an event, and the sender is killed before it can know, or commit.
    receiver.calls.clear()
    process = place.start(tmp_path)

    def kill(received: Received) -> tuple[int, dict[str, str]]:
        if received.body["data"].get("reason") == "reason 2":
            process.send_signal(signal.SIGKILL)
        return 204, {}

    receiver.answer = kill
    try:
        assert process.wait(60) == -signal.SIGKILL
        assert place.reasons == ["reason 1", "reason 2"]
        assert waiting(place) == [1, 1]

        # Another goes on: the same event under the same id, and all that waits.
        receiver.answer = lambda received: (204, {})
        process = place.start(tmp_path)
        until(lambda: len(receiver.calls) >= 4, what="the others arrive")
        place.decide(3)
        until(lambda: len(receiver.calls) >= 5, what="what happens meanwhile arrives")
        until(lambda: waiting(place) == [0, 0], what="progress is committed")
    finally:
        process.kill()
        process.wait(10)
    assert place.reasons == ["reason 1", "reason 2", "reason 2", "It rose.", "reason 3"]
    assert receiver.ids[1] == receiver.ids[2]
    assert len(set(receiver.ids)) == 4
    assert all(each.valid for each in receiver.calls)

    # A replay sends the same bytes under the same ids, and progress stays.
    before = {each.id: each.body for each in receiver.calls}
    receiver.calls.clear()
    assert "5 events sent again" in place.hooks("replay", "--to", "ci", "--since", "2000-01-01")
    assert place.reasons == ["reason 0", "reason 1", "reason 2", "reason 3", "It rose."]
    assert {each.id: each.body for each in receiver.calls if each.id in before} == before
    receiver.calls.clear()
    place.hooks("replay", "--to", "ci", "--id", next(iter(before)))
    assert (receiver.ids, waiting(place)) == ([next(iter(before))], [0, 0])

    log = (tmp_path / "hooks.log").read_text()
    assert SECRET not in log
    assert "/in" not in log
    assert "Traceback" not in log
