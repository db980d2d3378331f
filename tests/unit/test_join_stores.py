"""What lies on a worker's disk is used again when it is proved to be a prefix of the changelog, and only then."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from infra.kafka.connection import Connection
from infra.store import restore
from infra.store.restore import JoinStores
from infra.store.rocks import RocksStore
from schemas.errors import BrokerError, StoreError, Unreadable
from schemas.records import Position
from schemas.state import POSITION_KEY, RESOLVED, JoinPosition, JoinRecord
from streams.join.changelog import records
from streams.join.pending import Changes, StateStore
from streams.native.table import TableStore
from streams.native.turn import store_in_memory
from tests.joining import CODEC, RULES, PackedBench


@dataclass
class Message:
    at: int
    name: bytes
    data: bytes | None

    def key(self) -> bytes:
        return self.name

    def value(self) -> bytes | None:
        return self.data

    def topic(self) -> str:
        return "task.join-state"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.at


@dataclass
class Topic:
    """A changelog in memory, with a marker behind each batch as on Kafka."""

    records: list[Message] = field(default_factory=list)
    end: int = 0
    id: str = "one"
    read: int = 0
    """How many records the last restoration read."""

    def write(self, bench: PackedBench) -> None:
        """Write a batch as the join agent does."""
        changes = records(bench.join.out.changes)
        position = bench.join.position(bench.asked, bench.reported)
        for key, state in [*changes, (POSITION_KEY, position)]:
            data = CODEC.encode(state) if state is not None and not isinstance(state, bytes) else state
            self.records.append(Message(self.end, key, data))
            self.end += 1
        self.end += 1

    def compact(self) -> None:
        newest = {each.name: each.at for each in self.records}
        self.records = [each for each in self.records if newest[each.name] == each.at]

    def read_all(self, _: object, __: str, ___: int, start: int | None, end: int) -> Iterator[Message]:
        self.read = 0
        for each in list(self.records):
            if (start or 0) <= each.at < end:
                self.read += 1
                yield each


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()
    monkeypatch.setattr(restore, "read_all", made.read_all)
    monkeypatch.setattr(restore, "end_offsets", lambda _, places, committed: dict.fromkeys(places, made.end))
    monkeypatch.setattr(restore, "topic_id", lambda *_: made.id)
    return made


def stores(folder: Path | None, horizon_ms: int = RULES.horizon_ms) -> JoinStores:
    rules = replace(RULES, horizon_ms=horizon_ms)
    return JoinStores(Connection("nowhere:1"), "task.join-state", CODEC, rules, folder, 8)


class Life:
    """A worker's life with a partition: it restores, works, and dies without a word."""

    def __init__(self, topic: Topic, folder: Path, **reported: int) -> None:
        self._topic = topic
        self.stores = stores(folder, **reported)
        self.store = self.stores.restored(3)
        self.read = topic.read
        self.bench = PackedBench(RULES, self.store)

    def work(self, first: int, count: int, *, applied: bool = True) -> None:
        """Ask and tell in one batch; not applied is one after whose commit the worker died."""
        position = self.store.position()
        if position is not None:
            self.bench.asked, self.bench.reported = position.predictions, position.outcomes
        for number in range(first, first + count):
            self.bench.ask(f"r{number}", number)
            if number % 3 == 0:
                self.bench.report(f"r{number}", number)
        self._topic.write(self.bench)
        if applied:
            self.bench.commit()

    def dies(self) -> None:
        self.store.close()


def content(store: StateStore | TableStore) -> tuple[object, ...]:
    return dict(store.items()), list(store.due()), store.waiting(), store.position()


def check(store: StateStore | TableStore) -> None:
    """It holds what is made from the changelog alone."""
    assert content(store) == content(stores(None).restored(3))


def test_a_restart_reads_the_tail_only(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 50)
    life.stores.note(life.store, topic.end)
    life.work(50, 5)
    life.work(55, 5, applied=False)
    life.dies()
    again = Life(topic, tmp_path)
    assert again.read == 12  # ten requests, those resolved among them, and the position twice
    check(again.store)
    again.dies()
    third = Life(topic, tmp_path)
    assert third.read == 0
    check(third.store)
    third.dies()


def test_memory_reads_the_whole_changelog(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 50)
    found = stores(None).restored(3)
    assert isinstance(found, type(store_in_memory(CODEC, RULES)))
    assert topic.read == 51  # fifty requests, those resolved among them, and the position
    assert content(found) == content(life.store)
    life.dies()


def test_a_compacted_tail_is_as_good(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 30)
    life.dies()
    other = Life(topic, tmp_path / "other")
    for first in range(30, 1500, 50):
        other.work(first, 50)
    other.dies()
    topic.compact()
    again = Life(topic, tmp_path)
    assert again.store.get("r0") is None, "forgotten meanwhile"
    check(again.store)
    again.dies()


def another_topic(topic: Topic, _: Path) -> None:
    topic.id = "another"


def a_shorter_one(topic: Topic, _: Path) -> None:
    topic.records, topic.end = topic.records[:3], 3


def another_history(topic: Topic, _: Path) -> None:
    """Batches were lost, and others written in their place."""
    kept = [each for each in topic.records if each.at < 20]
    position = JoinPosition(9, 9, 1)
    topic.records = [*kept, Message(60, POSITION_KEY, CODEC.encode(position))]
    topic.end = 62


def an_old_note(_: Topic, folder: Path) -> None:
    store = RocksStore(folder / "3", CODEC)
    reported = json.loads(store.noted() or b"")
    store.note(json.dumps(reported | {"at_ms": reported["at_ms"] - 13 * 3_600_000}).encode())
    store.close()


def a_note_from_the_future(_: Topic, folder: Path) -> None:
    store = RocksStore(folder / "3", CODEC)
    reported = json.loads(store.noted() or b"")
    store.note(json.dumps(reported | {"at_ms": reported["at_ms"] + 13 * 3_600_000}).encode())
    store.close()


def no_note(_: Topic, folder: Path) -> None:
    store = RocksStore(folder / "3", CODEC)
    store.note(b"{}")
    store.close()


def a_damaged_file(_: Topic, folder: Path) -> None:
    (folder / "3" / "CURRENT").write_bytes(b"nonsense")


def a_lost_file(_: Topic, folder: Path) -> None:
    for each in (folder / "3").glob("MANIFEST-*"):
        each.unlink()


def marked(_: Topic, folder: Path) -> None:
    (folder / "3" / "DAMAGED").write_text("a block could not be read")


UNPROVEN = (
    *(another_topic, a_shorter_one, another_history, an_old_note, a_note_from_the_future, no_note),
    *(a_damaged_file, a_lost_file, marked),
)


@pytest.mark.parametrize("happened", UNPROVEN, ids=lambda each: each.__name__)
def test_what_is_not_proved_is_made_anew(
    topic: Topic,
    tmp_path: Path,
    happened: Callable[[Topic, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 20)
    life.work(20, 20)
    life.dies()
    happened(topic, tmp_path)
    with caplog.at_level(logging.WARNING):
        again = Life(topic, tmp_path)
    assert "is made anew" in caplog.text
    check(again.store)
    again.dies()
    caplog.clear()
    Life(topic, tmp_path).dies()
    assert "is made anew" not in caplog.text


def test_other_times_of_the_task_make_it_anew(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 20)
    life.dies()
    again = Life(topic, tmp_path, horizon_ms=77)
    assert again.read == 21  # twenty requests, those resolved among them, and the position
    assert content(again.store) == content(stores(None, 77).restored(3))
    again.dies()


def test_one_that_was_not_filled_to_its_end_is_made_anew(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Life(topic, tmp_path / "other")
    other.work(0, 20)
    other.dies()

    def breaks(*_: object) -> Iterator[Message]:
        yield topic.records[0]
        raise BrokerError("the broker is gone")

    with monkeypatch.context() as patch:
        patch.setattr(restore, "read_all", breaks)
        with pytest.raises(BrokerError):
            Life(topic, tmp_path)
    again = Life(topic, tmp_path)
    assert again.read == 21  # twenty requests, those resolved among them, and the position
    check(again.store)
    again.dies()


def test_a_record_that_cannot_be_read_condemns_the_folder_but_not_the_partition(
    topic: Topic, tmp_path: Path
) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 20)
    assert isinstance(life.store, RocksStore)
    life.store._db.put(b"sr7", b"nonsense")
    with pytest.raises(StoreError, match="cannot be used"):
        life.store.get("r7")
    life.dies()
    again = Life(topic, tmp_path)
    assert again.read == 21  # twenty requests, those resolved among them, and the position
    check(again.store)
    again.dies()


def test_a_closed_store_says_so_and_is_not_damaged_by_it(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 20)
    life.dies()
    with pytest.raises(StoreError, match="cannot be used"):
        life.store.get("r1")
    assert not (tmp_path / "3" / "DAMAGED").exists()
    again = Life(topic, tmp_path)
    check(again.store)
    again.dies()


def test_a_folder_left_behind_is_kept_for_twelve_hours(topic: Topic, tmp_path: Path) -> None:
    life = Life(topic, tmp_path)
    life.work(0, 20)
    life.dies()
    stores(tmp_path)
    assert (tmp_path / "3").exists()
    past = time.time() - 12.1 * 3600
    for each in (tmp_path / "3").iterdir():
        os.utime(each, (past, past))
    in_use = RocksStore(tmp_path / "4", CODEC)
    for each in (tmp_path / "4").iterdir():
        os.utime(each, (past, past))
    stores(tmp_path)
    assert not (tmp_path / "3").exists()
    assert (tmp_path / "4").exists()
    in_use.apply(Changes())
    in_use.close()


def test_only_bytes_are_held_on_disk(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0", CODEC)
    payload = bytes(range(256)) * 3
    bench = PackedBench(RULES, store)
    bench.join._pending.put("a", JoinRecord(Position("p", 0, 1), 5, prediction=payload))
    bench.join.commit()
    found = store.get("a")
    assert found is not None
    assert found.prediction == payload
    assert payload in store._db.get(b"sa")
    store.close()


@pytest.mark.parametrize("forgotten", [True, False])
def test_an_unreadable_resolution_does_no_harm_once_its_request_is_written_anew_or_forgotten(
    forgotten: bool, topic: Topic
) -> None:
    bench = PackedBench(RULES)
    bench.ask("r1", 1)
    topic.write(bench)
    topic.records.append(Message(topic.end, RESOLVED + b"r1", b"nonsense"))
    topic.end += 1
    with pytest.raises(Unreadable):
        stores(None).restored(3)
    again = replace(topic.records[0], at=topic.end, data=None if forgotten else topic.records[0].data)
    topic.records.append(again)
    topic.end += 1
    assert len(dict(stores(None).restored(3).items())) == (0 if forgotten else 1)
