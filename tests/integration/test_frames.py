"""Tables of a task's records: personal data, changed dictionaries, notebook functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from confluent_kafka import Producer

from agents import notebook
from infra.embedded.pytest_plugin import Broker
from infra.frames.export import Export
from infra.frames.folder import Folder
from infra.frames.source import TaskRows
from infra.inbound import SERVED
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import LoadedTask, load_task
from schemas.codec import Codec
from schemas.errors import TaskError, UsageError
from schemas.records import Command, Control, Entry, Outcome, Position, Prediction, Score
from schemas.subject_keys import SubjectKeys
from schemas.topics import PARTITIONER, TaskTopics, topics
from streams.rows import What
from tests.history import DAY
from tests.tables import ask, rows_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

TASK = """
from datetime import timedelta
from river import linear_model
from schemas import Category, Dictionary, Integer, Number
from streams import DefaultAtHorizon, Model, Task

task = Task(
    name="{name}", question="Will it be cancelled?", horizon=timedelta(days=10),
    features=Dictionary({features}),
    models=(Model("lr-fast", linear_model.LogisticRegression, policy=DefaultAtHorizon()),),
)
"""
PERSONAL = (
    'Number(name="x"), Category(name="guest", personal_data="tokenised"), '
    'Category(name="note", personal_data="left_out"), '
    'entity_key="tokenised", parents="left_out", reporter="tokenised"'
)
KEY = b"a token key of tests, long enough"
NONE: Mapping[str, bytes] = MappingProxyType({})


class Topics:
    """A task's topics on a broker, to which a test writes what it wants."""

    def __init__(self, name: str, connection: Connection, folder: Path) -> None:
        self.name, self.connection, self.folder = name, connection, folder
        self.topics = TaskTopics(name)
        create_topics(connection, topics(name, 1))
        self._producer = Producer(connection.config(partitioner=PARTITIONER))

    def task(self, features: str, version: str = "") -> LoadedTask:
        file = self.folder / f"{self.name}{version}.py"
        file.write_text(TASK.format(name=self.name, features=features))
        return load_task(str(file))

    def write(self, topic: str, value: bytes, key: bytes = b"", headers: Mapping[str, bytes] = NONE) -> None:
        self._producer.produce(topic, value, key, 0, headers=dict(headers))
        assert self._producer.flush(10) == 0

    def revision(self, codec: Codec, number: int) -> None:
        """Open a revision, so that what is written under its dictionary can be read later."""
        schemas = {f"schema.{name}": json.dumps(codec.schemas[name]) for name in ("Prediction", "Entry")}
        command = Command("revision", "lr-fast", {"revision": str(number), **schemas})
        entry_id = f"{self.name}/lr-fast/revision/{number}"
        self.write(self.topics.log, codec.encode(Entry(entry_id, "command", DAY, command=command)))
        self.write(self.topics.control, codec.encode(Control("audit", command, DAY, entry_id)))

    def export(self, loaded: LoadedTask, what: What, folder: Path, key: bytes = b"") -> list[dict[str, Any]]:
        path = folder / f"{self.name}.{what}"
        Export(TaskRows(loaded, self.connection, what, key), Folder(path), 1_000).run()
        return rows_of(path)


@pytest.fixture
def made(broker: Broker, task_name: str, tmp_path: Path) -> Topics:
    return Topics(task_name, Connection(broker.bootstrap), tmp_path)


def codec_of(loaded: LoadedTask, keys: SubjectKeys | None = None) -> Codec:
    return Codec(loaded.task.name, loaded.task.kind, loaded.task.features, keys)


def test_what_others_wrote_in_plain_is_a_token_or_is_left_out(made: Topics, tmp_path: Path) -> None:
    loaded = made.task(PERSONAL)
    keys = SubjectKeys(KEY, lambda: b"s" * 32)
    codec = codec_of(loaded, keys)
    features = {"x": 1.5, "guest": "Ada Lovelace", "note": "a cousin"}
    plain = {"record": "prediction", "request_id": "a", "ts": DAY, "features": features, "scores": []}
    about = plain | {"entity_key": "customer-7", "parents": ["Ada Lovelace"]}
    made.write(made.topics.predictions, json.dumps(about).encode())
    outcome = {"request_id": "a", "ts": DAY, "value": True, "reporter": "Ada Lovelace"}
    made.write(made.topics.outcomes, json.dumps(outcome).encode())

    def exported(where: str, key: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        folder = tmp_path / where
        (asked,), (reported,) = (
            made.export(loaded, what, folder, key) for what in ("predictions", "outcomes")
        )
        for file in folder.rglob("*.parquet"):
            for name in (b"Ada", b"customer-7", b"cousin"):
                assert name not in file.read_bytes()
        return asked, reported

    # Without the key, or without a salt of the person, who is unknown or forgotten: nothing.
    for number, key in enumerate((b"", KEY)):
        asked, reported = exported(f"without-{number}", key)
        assert (asked["entity_key"], asked["feature_guest"], asked["parents"]) == (None, None, [])
        assert reported["reporter"] is None
        assert (asked["feature_x"], reported["value"]) == (1.5, True)
        assert "feature_note" not in asked
    # With the salts: the tokens that the loop stores.
    stored = codec.protection.served(codec.decode_prediction(json.dumps(about).encode()))
    told = codec.decode_outcome(json.dumps(outcome).encode())
    assert isinstance(told, Outcome)
    for key, salt in keys.unwritten():
        made.write(made.topics.keys, salt, key)
    asked, reported = exported("with", KEY)
    assert asked["entity_key"] == stored.entity_key is not None
    assert asked["feature_guest"] == stored.features["guest"]
    assert reported["reporter"] == told.reporter is not None


def test_what_an_older_dictionary_stored_in_plain_is_left_out(made: Topics, tmp_path: Path) -> None:
    before = made.task(
        'Number(name="x"), Category(name="guest"), Category(name="note"), entity_key="none"', "_before"
    )
    codec = codec_of(before)
    made.revision(codec, 1)
    served = Prediction("a", DAY, {"x": 1.0, "guest": "Ada", "note": "a cousin"}, (), None, "customer-7", ())
    made.write(made.topics.predictions, codec.encode(served), headers={SERVED: b"0"})
    (row,) = made.export(before, "predictions", tmp_path / "before")
    assert (row["entity_key"], row["feature_guest"]) == ("customer-7", "Ada")
    (row,) = made.export(made.task(PERSONAL), "predictions", tmp_path / "today", KEY)
    assert (row["entity_key"], row["feature_guest"], row["feature_x"]) == (None, None, 1.0)
    assert "feature_note" not in row


def test_files_of_several_dictionaries_are_one_table(
    made: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ['Number(name="x")', 'Integer(name="y", optional=True), Number(name="x")']
    folder, expected = tmp_path / "export", []
    loaded = made.task(features[0], "_1")
    for number, text in enumerate(features, start=1):
        loaded = made.task(text, f"_{number}")
        codec = codec_of(loaded)
        made.revision(codec, number)
        values = {"y": 3, "x": 2.0} if number == 2 else {"x": 1.0}
        score = Score("lr-fast", number, 7, 0.25, False)
        at = Position(made.topics.predictions, 0, number)
        prediction = Prediction(f"r-{number}", DAY * number, values, (score,), propensity=1.0, log_offset=8)
        made.write(made.topics.predictions, codec.encode(prediction), headers={SERVED: b"0"})
        entry = Entry(f"e-{number}", "expired", DAY * (number + 10), prediction_at=at, prediction=prediction)
        made.write(made.topics.log, codec.encode(entry))
        for what in ("predictions", "log"):
            made.export(loaded, what, folder)
        expected.append((values.get("y"), values["x"], f"lr-fast.{number}@7"))
    question = f"""SELECT feature_y, feature_x, version_lr_fast
        FROM read_parquet('{folder}/{made.name}.predictions/*/*.parquet', union_by_name = true) ORDER BY day"""
    assert ask(question) == expected
    reference = str(tmp_path / f"{made.name}_2.py")
    monkeypatch.setenv("RIVERLOOP_BOOTSTRAP", made.connection.bootstrap)
    for read in (notebook.predictions, notebook.examples):
        files, topic = read(reference, folder=folder), read(reference)
        assert files.select(topic.column_names).to_pylist() == topic.to_pylist()
        assert [row["feature_y"] for row in files.to_pylist()] == [None, 3]
    # Made anew with today's dictionary the rows are the same.
    assert made.export(loaded, "log", tmp_path / "anew") == rows_of(folder / f"{made.name}.log")
    with pytest.raises(TaskError, match="feature x is a category, but was stored as double"):
        made.export(made.task('Category(name="x")', "_3"), "log", tmp_path / "other")


def test_examples_have_the_newest_outcome_and_as_of_what_was_known(made: Topics, tmp_path: Path) -> None:
    loaded = made.task('Number(name="x")')
    codec = codec_of(loaded)
    made.revision(codec, 1)
    asked = {name: Prediction(name, DAY * day, {"x": 1.0}, ()) for day, name in enumerate("ab")}
    at = {name: Position(made.topics.predictions, 0, day) for day, name in enumerate("ab")}
    truth = Outcome("a", DAY * 15, True)
    for entry in (
        Entry("1", "expired", DAY * 10, prediction_at=at["a"], prediction=asked["a"]),
        Entry("2", "time", DAY * 10, partition=0),
        Entry("3", "expired", DAY * 11, prediction_at=at["b"], prediction=asked["b"]),
        replace(
            Entry("4", "late", DAY * 15, prediction_at=at["a"], prediction=asked["a"], outcome=truth),
            corrects="1",
            previous_kind="expired",
            late_by="event_time",
        ),
    ):
        made.write(made.topics.log, codec.encode(entry))
    folder = tmp_path / "export"
    made.export(loaded, "log", folder)
    sources: list[dict[str, Any]] = [{"folder": folder}, {"bootstrap": made.connection.bootstrap}]
    for where in sources:
        reference = loaded.reference

        def known(table: Any) -> list[tuple[str, str, bool | None]]:
            return [(row["request_id"], row["kind"], row["value"]) for row in table.to_pylist()]

        both = [("b", "expired", None), ("a", "late", True)]
        assert known(notebook.examples(reference, **where)) == both
        assert known(notebook.examples(reference, since="1970-01-02", **where)) == both[:1]
        early = [("a", "expired", None), ("b", "expired", None)]
        assert known(notebook.as_of(reference, 3, **where)) == early
        assert known(notebook.as_of(reference, "1970-01-12", **where)) == early
        assert known(notebook.as_of(reference, "1970-01-11", **where)) == early[:1]
        assert known(notebook.as_of(reference, "1970-01-16", **where)) == both
    with pytest.raises(UsageError, match=r"when='some day' is not a date or time"):
        notebook.as_of(loaded.reference, "some day", folder=folder)
    with pytest.raises(UsageError, match=r"has no exported files: run riverloop export"):
        notebook.metrics(loaded.reference, folder=folder)
