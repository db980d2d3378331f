"""Reading a partition outside any group: in order, committed only, and knowing when it has caught up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded.pytest_plugin import Broker
from infra.kafka import log, offsets
from infra.kafka.connection import Connection
from infra.kafka.log import LogReader, read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import BrokerError
from tests.integration.echo import create_topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def write(connection: Connection, task_name: str) -> Callable[[range], None]:
    """Write a range of numbers in one transaction."""
    create_topics(connection, [task_name], 1)
    runner = TransactionRunner(connection, task_name)

    def write(numbers: range) -> None:
        runner.run([OutRecord(task_name, None, b"%d" % n, 0) for n in numbers], {}, b"")

    return write


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.value() or b"-1") for message in messages]


def leave_open(connection: Connection, topic: str, commit: bool) -> Callable[[], None]:
    """Begin a transaction with one record, 100; the answer ends it."""
    producer = Producer(connection.config(**{"transactional.id": f"{topic}-open"}))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"100", partition=0)
    assert producer.flush(10) == 0
    return producer.commit_transaction if commit else producer.abort_transaction


def test_a_log_is_read_to_its_end_and_on_as_it_grows(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    for start in range(0, 900, 300):
        write(range(start, start + 300))

    async def scenario() -> None:
        async with LogReader(connection, task_name, buffer=50) as reader:
            read: list[int] = []
            caught_up_at = None
            async for batch in reader:
                assert batch.messages or batch.caught_up
                read += numbers(batch.messages)
                if batch.caught_up and caught_up_at is None:
                    caught_up_at = len(read)
                    write(range(900, 1_000))
                if len(read) == 1_000:
                    break
            assert read == list(range(1_000))
            assert caught_up_at == 900

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["nothing", "an abort", "an open transaction"])
def test_a_reader_knows_that_it_has_caught_up_whatever_the_log_ends_with(
    connection: Connection,
    task_name: str,
    write: Callable[[range], None],
    ending: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(
        "infra.kafka.log.SETTLE_S", 1.5
    )  # a transaction that nobody ends is not waited for any longer
    if ending != "nothing":
        write(range(3))
        end = leave_open(connection, task_name, commit=False)
        if ending == "an abort":
            end()

    async def scenario() -> list[int]:
        read: list[int] = []
        async with LogReader(connection, task_name) as reader:
            async for batch in reader:
                read += numbers(batch.messages)
                if batch.caught_up:
                    break
        return read

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == ([] if ending == "nothing" else [0, 1, 2])
    assert ("a transaction has been open there" in caplog.text) == (ending == "an open transaction")


def committed_behind_an_open_one(
    connection: Connection, topic: str, write: Callable[[range], None]
) -> Callable[[], None]:
    """Commit records that nobody sees yet: an older transaction is open before them. Gives what ends that one."""
    end = leave_open(connection, topic, commit=False)
    write(range(3))
    return end


def test_what_was_committed_before_a_reader_starts_is_there_when_it_has_caught_up(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    end = committed_behind_an_open_one(connection, task_name, write)
    assert end_offsets(connection, [(task_name, 0)])[task_name, 0] == 0
    timer = threading.Timer(1.0, end)

    async def scenario() -> list[int]:
        read: list[int] = []
        async with LogReader(connection, task_name) as reader:
            timer.start()
            async for batch in reader:
                read += numbers(batch.messages)
                if batch.caught_up:
                    break
        return read

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == [0, 1, 2]
    timer.join()


def test_everything_is_read_that_was_committed_before_whether_it_is_visible_or_not(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    end = committed_behind_an_open_one(connection, task_name, write)
    assert end_offsets(connection, [(task_name, 0)])[task_name, 0] == 0
    timer = threading.Timer(0.5, end)
    timer.start()
    assert numbers(list(read_all(connection, task_name))) == [0, 1, 2]
    timer.join()


def test_a_transaction_that_stays_open_is_not_waited_for_for_ever(
    connection: Connection, task_name: str, write: Callable[[range], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.log.STALLED_S", 1.0)
    end = committed_behind_an_open_one(connection, task_name, write)
    with pytest.raises(BrokerError, match=r"nothing came for 1 s: is a transaction left open.*find-hanging"):
        list(read_all(connection, task_name))
    end()
    assert numbers(list(read_all(connection, task_name))) == [0, 1, 2]


def test_a_reader_starts_where_it_is_reported(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    write(range(10))
    assert numbers(list(read_all(connection, task_name, start=7))) == [7, 8, 9]
    assert numbers(list(read_all(connection, task_name, start=3, end=5))) == [3, 4]
    assert numbers(list(read_all(connection, task_name))) == list(range(10))
    assert numbers(list(read_all(connection, task_name, start=11))) == []


def test_a_start_that_is_not_there_is_an_error_and_not_a_hole(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    write(range(3))

    async def scenario() -> None:
        async with LogReader(connection, task_name, start=1_000) as reader:
            async for _ in reader:
                pass

    with pytest.raises(BrokerError, match="the next offset to read no longer exists"):
        asyncio.run(scenario())
    with pytest.raises(BrokerError, match="the next offset to read no longer exists"):
        list(read_all(connection, task_name, start=1_000, end=1_001))


def test_the_oldest_record_may_be_deleted_while_a_reader_starts_at_it(
    connection: Connection,
    task_name: str,
    write: Callable[[range], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(range(10))
    asked: list[int] = []

    def first_offsets(connection: Connection, places: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        found = offsets.first_offsets(connection, places)
        if not asked:  # it is deleted right after the answer
            admin = AdminClient(connection.config())
            (deleted,) = admin.delete_records([TopicPartition(task_name, 0, 4)]).values()
            deleted.result(30)
        asked.append(found[task_name, 0])
        return found

    monkeypatch.setattr(log, "first_offsets", first_offsets)
    assert numbers(list(read_all(connection, task_name))) == [4, 5, 6, 7, 8, 9]
    assert asked == [0, 4]


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_open_at_the_call_is_waited_for_unless_the_stable_end_is_given(
    connection: Connection, task_name: str, write: Callable[[range], None], commit: bool
) -> None:
    write(range(3))
    end = leave_open(connection, task_name, commit)
    stable = end_offsets(connection, [(task_name, 0)])[task_name, 0]
    assert numbers(list(read_all(connection, task_name, end=stable))) == [0, 1, 2]
    timer = threading.Timer(0.5, end)
    timer.start()
    began = time.monotonic()
    read = numbers(list(read_all(connection, task_name)))
    assert time.monotonic() - began > 0.3
    assert read == ([0, 1, 2, 100] if commit else [0, 1, 2])
    timer.join()


def test_a_reader_that_nobody_listens_to_fetches_no_more_than_its_buffer(
    connection: Connection, task_name: str, write: Callable[[range], None]
) -> None:
    for start in range(0, 5_000, 500):
        write(range(start, start + 500))

    async def scenario() -> None:
        async with LogReader(connection, task_name, buffer=100) as reader:
            await asyncio.sleep(1.0)
            assert reader.waiting <= 1_100
            read: list[int] = []
            async for batch in reader:
                read += numbers(batch.messages)
                if batch.caught_up:
                    break
            assert read == list(range(5_000))

    asyncio.run(scenario())
