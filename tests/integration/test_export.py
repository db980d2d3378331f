"""`riverloop export` on a real broker: the files hold each record once, whatever ends a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Message, Producer

from agents.cli.main import riverloop
from infra.embedded.pytest_plugin import Broker
from infra.frames import folder as folders
from infra.kafka.admin import create_topics, delete_records, topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.alert import Alert
from schemas.codec import Record
from schemas.errors import UsageError
from schemas.examples import examples
from schemas.records import Control, Metric, Outcome, Punctuation
from schemas.topics import PARTITIONER, TaskTopics, topics
from streams.rows import WHAT
from tests.history import DAY, ordinary
from tests.integration.loops import HOTEL, Loop, Resolution, command, hotel_task, until
from tests.integration.test_verify import TASK_FILE, publish
from tests.pages import run_notebook
from tests.tables import RECORDS, rows_of
from tests.topics import delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PARTS = ("--rows-per-part", "5")


class Exported:
    """A history on a cluster, and the folder that it is exported to."""

    def __init__(self, name: str, connection: Connection, folder: Path) -> None:
        create_topics(connection, topics(name, 2))
        self.connection, self.topics = connection, TaskTopics(name)
        self.history = ordinary(name, 2, log_topic_id=topic_id(connection, self.topics.log))
        self.codec = self.history.codec
        example = {type(each).__name__: each for each in examples(self.codec).values()}
        for day in range(12):
            for each, topic in (("Metric", self.topics.metrics), ("Alert", self.topics.alerts)):
                found = example[each]
                assert isinstance(found, Metric | Alert)
                self._add(topic, replace(found, ts=day * DAY))
            control = example["Control"]
            assert isinstance(control, Control)
            self._add(self.topics.control, replace(control, kind="audit", ts=day * DAY, entry_id=str(day)))
            self._add(self.topics.control, example["Applied"])
        self._add(self.topics.outcomes, Punctuation(5))
        publish(self.history, connection)
        self.task, self.to = folder / f"{name}.py", folder / "export"
        self.task.write_text(TASK_FILE.format(name=name))

    def _add(self, topic: str, record: Record) -> None:
        self.history.send(topic, "", record, 0)

    def arguments(self, what: str, *more: str, to: Path | None = None) -> tuple[str, ...]:
        where = ("--bootstrap", self.connection.bootstrap, "--to", str(to or self.to))
        return ("export", str(self.task), "--what", what, *where, "--json", *more)

    def export(self, what: str, *more: str, to: Path | None = None) -> dict[str, Any]:
        done = CliRunner().invoke(riverloop, self.arguments(what, *more, to=to), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)["exported"][what]
        return found

    def folder(self, what: str, to: Path | None = None) -> Path:
        return (to or self.to) / f"{self.topics.task}.{what}"

    def expected(self, what: str) -> list[tuple[int, int, Any]]:
        """Read the topic, and decode what it holds."""
        topic = getattr(self.topics, {"decisions": "control"}.get(what, what))
        count = 2 if what in ("predictions", "outcomes") else 1
        messages = (each for number in range(count) for each in read_all(self.connection, topic, number))
        return [
            (each.partition() or 0, each.offset() or 0, record)
            for each in messages
            if (record := self.record(what, each)) is not None
        ]

    def record(self, what: str, message: Message) -> Any:
        codec = self.codec
        decode: Callable[[Any], Any] = {
            **{"log": codec.decode_entry, "predictions": codec.decode_prediction},
            **{"outcomes": codec.decode_outcome, "metrics": codec.decode_metric},
            **{"alerts": codec.decode_alert, "decisions": codec.decode_audit},
        }[what]
        value = message.value()
        found = None if value is None or b"garbage" in value else decode(value)
        return found if what != "decisions" or isinstance(found, Control) else None

    def rows(self, what: str, to: Path | None = None) -> list[tuple[int, int, Any]]:
        return [
            (row["partition"], row["offset"], RECORDS[what](row)) for row in rows_of(self.folder(what, to))
        ]

    def assert_whole(self, what: str) -> None:
        expected = self.expected(what)
        expected = [each for each in expected if not isinstance(each[2], Punctuation)]
        assert len(expected) >= 12
        assert self.rows(what) == expected


@pytest.fixture
def exported(broker: Broker, task_name: str, tmp_path: Path) -> Exported:
    return Exported(task_name, Connection(broker.bootstrap), tmp_path)


def test_the_rows_are_the_records_of_each_topic_and_a_rerun_writes_nothing(exported: Exported) -> None:
    for what in WHAT:
        found = exported.export(what, *PARTS)
        exported.assert_whole(what)
        assert found["rows"] == len(exported.rows(what))
        assert found["passed_over"] == (1 if what == "outcomes" else 0)
    before = {path: path.stat().st_mtime_ns for path in exported.to.rglob("*")}
    for what in WHAT:
        found = exported.export(what)
        assert (found["rows"], found["files"]) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in exported.to.rglob("*.parquet")} == {
        path: at for path, at in before.items() if path.suffix == ".parquet"
    }


def test_what_comes_later_is_exported_behind_it(exported: Exported) -> None:
    exported.export("outcomes")
    there = set(exported.to.rglob("*.parquet"))
    producer = Producer(exported.connection.config(partitioner=PARTITIONER))
    producer.produce(
        exported.topics.outcomes, exported.codec.encode(Outcome("r-7", 70 * DAY, True)), key="r-7"
    )
    assert producer.flush(10) == 0
    assert exported.export("outcomes")["rows"] == 1
    assert len(set(exported.to.rglob("*.parquet")) - there) == 1
    exported.assert_whole("outcomes")


@pytest.mark.parametrize("what", ["log", "predictions"])
def test_a_run_that_is_killed_anywhere_and_repeated_leaves_no_row_twice_or_out(
    exported: Exported, what: str
) -> None:
    whole = exported.to.with_name("whole")
    exported.export(what, *PARTS, to=whole)
    count = len(list(whole.rglob("*.parquet")))
    line, environment, root = command(*exported.arguments(what, *PARTS))
    killed = 0
    for share in (0.1, 0.35, 0.6, 0.85):
        process = subprocess.Popen(line, env=environment, cwd=root, stdout=subprocess.DEVNULL)
        ends = time.monotonic() + 60
        while (
            process.poll() is None
            and len(list(exported.folder(what).glob("day=*/*.parquet"))) < share * count
        ):
            assert time.monotonic() < ends
            time.sleep(0.0005)
        process.kill()
        killed += process.wait() < 0
    assert killed >= 2, "it was still writing"
    exported.export(what, *PARTS)
    exported.assert_whole(what)
    assert not list(exported.to.rglob("*.unfinished"))


class Killed(Exception):
    """The process ends."""


def test_a_run_that_ends_between_any_two_files_is_completed(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, left = Path.replace, [0]

    def replace_or_die(path: Path, target: Path) -> Path:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return rename(path, target)

    expected = exported.expected("log")
    for files in range(1, 12):
        shutil.rmtree(exported.to, ignore_errors=True)
        monkeypatch.setattr(Path, "replace", replace_or_die)
        left[0] = files
        with pytest.raises(Killed):
            exported.export("log", "--rows-per-part", "20")
        assert len(list(exported.to.rglob("day=*/*.parquet"))) == files
        monkeypatch.undo()
        # With other parts than before: the range that was begun is the one that is completed.
        found = exported.export("log", "--rows-per-part", "33")
        assert exported.rows("log") == expected
        assert found["completed"] <= 1


def test_what_an_open_transaction_holds_up_is_exported_when_it_has_ended(exported: Exported) -> None:
    topic = exported.topics.metrics
    before = exported.export("metrics")["rows"]
    transactional = {"transactional.id": f"{topic}-open", "transaction.timeout.ms": 60_000}
    open_one, other = (
        Producer(exported.connection.config(**transactional)),
        Producer(exported.connection.config()),
    )
    metric = next(each for each in examples(exported.codec).values() if isinstance(each, Metric))
    open_one.init_transactions()
    open_one.begin_transaction()
    open_one.produce(topic, exported.codec.encode(replace(metric, name="aborted")))
    assert open_one.flush(10) == 0
    other.produce(topic, exported.codec.encode(replace(metric, name="behind")))
    assert other.flush(10) == 0
    assert exported.export("metrics")["rows"] == 0
    open_one.abort_transaction()
    ends = time.monotonic() + 30
    while exported.export("metrics")["rows"] == 0:
        assert time.monotonic() < ends
    rows = exported.rows("metrics")
    assert len(rows) == before + 1
    assert rows[-1][2].name == "behind"


def test_an_export_at_an_interval_goes_on_with_what_is_new(exported: Exported) -> None:
    before = len(exported.expected("metrics"))
    line, environment, root = command(*exported.arguments("metrics", "--every", "1"))
    process = subprocess.Popen(line, env=environment, cwd=root, stdout=subprocess.DEVNULL)
    try:
        until(lambda: len(list(exported.folder("metrics").glob("day=*/*.parquet"))) == before, 60)
        metric = next(each for each in examples(exported.codec).values() if isinstance(each, Metric))
        producer = Producer(exported.connection.config())
        producer.produce(exported.topics.metrics, exported.codec.encode(metric))
        assert producer.flush(10) == 0
        until(lambda: len(list(exported.folder("metrics").glob("day=*/*.parquet"))) == before + 1, 60)
    finally:
        process.kill()
        process.wait()
    exported.assert_whole("metrics")


def test_another_topic_of_that_name_or_another_span_is_an_error(exported: Exported) -> None:
    exported.export("metrics")
    with pytest.raises(UsageError, match="exported with another --since"):
        exported.export("metrics", "--since", "1970-01-03")
    delete_topics(exported.connection, [exported.topics.metrics])
    with pytest.raises(UsageError, match=r"metrics does not exist on .*; run: riverloop topics create"):
        exported.export("metrics")
    create_topics(exported.connection, topics(exported.topics.task, 2))
    with pytest.raises(UsageError, match=r"metrics was recreated \(id .*export to another folder"):
        exported.export("metrics")


def test_records_that_were_deleted_before_they_were_exported_are_an_error_that_can_be_passed(
    exported: Exported,
) -> None:
    exported.export("metrics")
    producer = Producer(exported.connection.config())
    metric = next(each for each in examples(exported.codec).values() if isinstance(each, Metric))
    for number in range(6):
        producer.produce(exported.topics.metrics, exported.codec.encode(replace(metric, count=number)))
    assert producer.flush(10) == 0
    before = exported.rows("metrics")
    first = before[-1][1] + 4
    delete_records(exported.connection, {(exported.topics.metrics, 0): first})
    with pytest.raises(UsageError, match=r"offsets 12 to 14 were deleted before they were exported"):
        exported.export("metrics")
    found = exported.export("metrics", "--skip-deleted")
    assert (found["rows"], found["deleted"]) == (3, [f"{exported.topics.metrics}[0]: 12 to 14"])
    assert exported.rows("metrics")[: len(before)] == before
    assert [each[1] for each in exported.rows("metrics")[len(before) :]] == [15, 16, 17]


def test_rows_of_a_span_are_those_whose_time_lies_in_it(exported: Exported) -> None:
    exported.export("log", "--since", "1970-01-05", "--until", "1970-01-20T12:00")
    expected = [each for each in exported.expected("log") if 4 * DAY <= each[2].ts < 19 * DAY + DAY // 2]
    assert exported.rows("log") == expected


def test_files_whose_ranges_overlap_are_an_error(exported: Exported) -> None:
    exported.export("metrics")
    file = next(exported.folder("metrics").rglob("*.parquet"))
    found = folders.OffsetFiles.of(file.name)
    assert found is not None
    shutil.copy(file, file.with_name(found._replace(first=3, end=20).name))
    with pytest.raises(UsageError, match=r"has offsets 3 to 11 of .* twice"):
        exported.export("metrics")


@pytest.fixture
def loop(broker: Broker, task_name: str, tmp_path: Path) -> Iterator[Loop]:
    reference = f"{hotel_task(tmp_path / 'task', task_name)}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2) as loop:
        yield loop


def test_an_export_beside_a_running_loop_has_each_entry_once_and_the_notebook_reads_it(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker,) = loop.started(1)
    to, name = tmp_path / "task" / "export", loop.task.name
    line = ("export", loop.loaded.reference, "--to", str(to), "--bootstrap", loop.connection.bootstrap)

    def export(*more: str) -> None:
        done = CliRunner().invoke(riverloop, [*line, *more], catch_exceptions=False)
        assert done.exit_code == 0

    with loop.replaying(loop.events(2_000), 0.03):
        for _ in range(2):
            loop.wait_for_more(20)
            export("--what", "log", "--what", "predictions")
    until(loop.published, 60, "all metrics are published")
    worker.stop()
    export()
    entries = loop.entries()
    assert [(row["offset"], RECORDS["log"](row)) for row in rows_of(to / f"{name}.log")] == entries
    served = [
        loop.codec.decode_prediction(message.value())
        for number in range(2)
        for message in read_all(loop.connection, loop.topics.predictions, number)
    ]
    assert [RECORDS["predictions"](row) for row in rows_of(to / f"{name}.predictions")] == served
    assert len({path.name for path in (to / f"{name}.log").rglob("*.parquet")}) == 3
    monkeypatch.chdir(tmp_path / "task")
    found = run_notebook(HOTEL / "explore.ipynb")
    assert found["rows"].num_rows == len(loop.expected().keys() - late(loop))
    assert found["served"].num_rows == len(served) == 2_000
    assert 0 < found["then"].num_rows < found["rows"].num_rows
    assert all(0 < loss < 0.5 for loss in found["losses"].values())
    assert {*found["accuracy"]["name"].to_pylist()} == {"accuracy"}


def late(loop: Loop) -> set[Resolution]:
    """Give the resolutions that correct another one of their request."""
    return {each for each in loop.expected() if each[1] == "late"}
