"""Any worker gives back the first answer: workers over HTTP that share a store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agents.http.task import HttpTask
from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.shared import predictions
from infra.shared.asks import ThreadAsks
from infra.shared.predictions import FAILURES, LATE_S, SharedPredictions
from infra.shared.store import CLAIM, RECORD
from schemas.errors import BadRecord
from schemas.framing import Frame
from schemas.records import Request
from tests.shared import MemoryPredictions
from tests.unit.http_worker import FEATURES, SENT, Client, HeldWriter, make_http_task, serving

PATH = "/tasks/stay/predictions"
NO_TS: dict[str, Any] = {"request_id": "b-1", "features": FEATURES}
"""Its `ts` is the arrival: each worker's own answer to it would be another one."""


@dataclass
class Worker:
    task: HttpTask
    writer: HeldWriter
    client: Client
    shared: SharedPredictions

    def count(self, name: str) -> int:
        return self.task.statistics.counts[name]


@asynccontextmanager
async def workers(store: MemoryPredictions, count: int = 2) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            task, writer = make_http_task(), HeldWriter()
            shared = SharedPredictions(task.context, ThreadAsks(store), store, task.statistics.counts)
            task = replace(task, shared=shared)
            client = await stack.enter_async_context(serving(task, writer))
            made.append(Worker(task, writer, client, shared))
        yield made
        for each in made:
            await asyncio.to_thread(each.shared.close)


async def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.002)


def answered(store: MemoryPredictions, *names: str) -> Callable[[], bool]:
    return lambda: all(not store.values.get(name, CLAIM).startswith(CLAIM) for name in names)


@dataclass
class Topic:
    """The topic of predictions, as `WrittenPredictions` reads it."""

    values: dict[str, bytes]

    async def find(self, request_id: str, since_ms: int) -> bytes | None:
        assert abs(now_ms() - since_ms) < 10_000
        return self.values.get(request_id)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    found = Topic({})
    monkeypatch.setattr(predictions, "WrittenPredictions", lambda context: found)
    return found


def test_a_repeated_request_and_a_look_up_get_the_first_answer_from_any_worker() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 3) as (one, two, three):
            first = await one.client.post(PATH, NO_TS)
            again = await two.client.post(PATH, NO_TS | {"features": FEATURES | {"LeadTime": 99}})
            found = await three.client.get(f"{PATH}/b-1")
            assert first.status == again.status == found.status == 200
            assert first.data == again.data == found.data
            assert (len(one.writer.records), two.writer.records, three.writer.records) == (1, [], [])
            calls = store.calls
            assert (await two.client.post(PATH, NO_TS)).data == first.data
            assert store.calls == calls  # it has it in its own memory now
            assert [each.count("shared_answers") for each in (one, two, three)] == [0, 1, 1]
            assert two.count("http_predictions") == 0

    asyncio.run(run())


def test_two_workers_asked_at_once_give_one_answer_and_write_one_prediction() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 3) as made:
            for round_ in range(20):
                names = [f"{round_}-{number}" for number in range(3)]
                # In other orders, so that each waits for what another one answers.
                calls = [
                    each.client.post(PATH, [NO_TS | {"request_id": name} for name in names[at:] + names[:at]])
                    for at, each in enumerate(made)
                ]
                replies = await asyncio.gather(*calls)
                given = [{each["request_id"]: each for each in reply.data} for reply in replies]
                assert given[0] == given[1] == given[2]
                assert set(given[0]) == set(names)
            written = [record.key for each in made for record in each.writer.records if record.key]
            predictions = [key for key in written if b"-" in key]
            assert len(predictions) == len(set(predictions)) == 60

    asyncio.run(run())


def test_one_that_is_asked_while_another_answers_waits_for_it() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store) as (one, two):
            one.writer.acknowledges = False
            first = asyncio.create_task(one.client.post(PATH, NO_TS))
            await one.writer.used.wait()
            second = asyncio.create_task(two.client.post(PATH, NO_TS))
            await asyncio.sleep(0.1)
            assert not second.done()
            assert (await two.client.get(f"{PATH}/b-1")).status == 404  # Kafka has not acknowledged it
            one.writer.acknowledge()
            assert (await first).data == (await second).data
            assert two.writer.records == []

    asyncio.run(run())


def test_a_worker_that_does_not_answer_is_waited_for_a_second_and_then_takes_the_others_answer() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store) as (one, two):
            one.writer.acknowledges = False
            first = asyncio.create_task(one.client.post(PATH, NO_TS))
            await one.writer.used.wait()
            began = time.monotonic()
            second = await two.client.post(PATH, NO_TS)
            assert LATE_S < time.monotonic() - began < 2.5
            assert second.status == 200
            one.writer.acknowledge()
            assert (await first).data == second.data
            assert (await one.client.get(f"{PATH}/b-1")).data == second.data

    asyncio.run(run())


def test_what_a_dead_worker_wrote_before_it_could_share_it_is_the_answer(topic: Topic) -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 3) as (one, two, three):
            one.writer.acknowledges = False
            first = asyncio.create_task(one.client.post(PATH, NO_TS))
            await one.writer.used.wait()
            first.cancel()  # as if it died: Kafka has the record, and nobody hears of it
            topic.values["b-1"] = one.writer.records[0].value or b""
            replies = await asyncio.gather(*(each.client.post(PATH, NO_TS) for each in (two, three, two)))
            written = one.task.context.codec.decode_prediction(topic.values["b-1"])
            assert [each.data["ts"] for each in replies] == [written.ts] * 3
            assert two.writer.records == three.writer.records == []
            await until(answered(store, "b-1"))
            assert (await three.client.get(f"{PATH}/b-1")).data == replies[0].data

    asyncio.run(run())


def test_what_kafka_does_not_acknowledge_is_given_to_nobody() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store) as (one, two):
            one.writer.acknowledges = False
            first = asyncio.create_task(one.client.post(PATH, NO_TS))
            await one.writer.used.wait()
            one.writer.fail()
            assert (await first).status == 503
            assert (await two.client.get(f"{PATH}/b-1")).reason == "not_cached"
            assert store.values["b-1"].startswith(CLAIM)
            one.writer.acknowledges = True
            retried = await one.client.post(PATH, NO_TS)
            await until(answered(store, "b-1"))
            assert (await two.client.get(f"{PATH}/b-1")).data == retried.data
            assert [each.value for each in one.writer.records].count(one.writer.records[0].value) == 2

    asyncio.run(run())


def test_a_request_that_gets_no_prediction_is_given_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store) as (one, two):

            def fail(request: Request) -> Any:
                raise BadRecord("model_failed", "it failed")

            monkeypatch.setattr(one.task.server, "predict", fail)
            assert (await one.client.post(PATH, NO_TS)).reason == "model_failed"
            await until(lambda: "b-1" not in store.values)
            assert (await two.client.post(PATH, NO_TS)).status == 200

    asyncio.run(run())


@pytest.mark.parametrize("how", ["fails", "is slow"])
def test_a_store_that_does_not_answer_changes_no_answer_and_is_counted(how: str) -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 1) as (one,):
            store.fails, store.delay_s = how == "fails", 0.3 if how == "is slow" else 0.0
            took = []
            for number in range(8):
                began = time.monotonic()
                reply = await one.client.post(PATH, SENT | {"request_id": f"b-{number}"})
                took.append(time.monotonic() - began)
                assert reply.status == 200
            assert max(took) < 1.0
            assert max(took[FAILURES:]) < 0.09  # it is left alone for a while
            assert one.count("shared_late") == 8
            assert (await one.client.get(f"{PATH}/b-7")).status == 200
            assert "the store that workers share" in (await one.client.get(f"{PATH}/other")).data["detail"]
            # What was answered meanwhile is written once the store is back.
            store.fails, store.delay_s = False, 0.0
            await until(answered(store, *(f"b-{number}" for number in range(8))))
            assert one.count("shared_lost") == 0

    asyncio.run(run())


def test_what_finds_no_room_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "MOST", 5)
    monkeypatch.setattr(predictions, "OLD_S", 0.0)

    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 1) as (one,):
            store.delay_s, store.fails = 0.5, True
            for number in range(20):
                assert (await one.client.post(PATH, SENT | {"request_id": f"b-{number}"})).status == 200
            assert 14 <= one.count("shared_lost") <= 15  # one may be at work
            # What waits and is old is given up.
            await until(lambda: one.count("shared_lost") == 20)

    asyncio.run(run())


def test_predictions_of_a_committed_transaction_can_be_read_and_repeated() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store) as (one, two):
            context, server = one.task.context, one.task.server
            request = context.codec.decode_request(SENT)
            value = context.codec.encode(server.predict(request))
            records = [
                OutRecord(context.topics.predictions, b"b-1", value),
                OutRecord(context.topics.dead_letters, b"b-2", b"no prediction"),
                OutRecord(context.topics.quality, b"b-3", b"no prediction"),
            ]
            one.shared.committed(records)
            await until(answered(store, "b-1"))
            assert list(store.values) == ["b-1"]
            for each in (one, two):
                found, repeated = await each.client.get(f"{PATH}/b-1"), await each.client.post(PATH, SENT)
                assert found.data == repeated.data
                assert found.data["ts"] == SENT["ts"]
                assert each.writer.records == []

    asyncio.run(run())


def test_the_framing_of_a_registry_is_not_stored() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        task = make_http_task()
        value = task.context.codec.encode(task.server.predict(task.context.codec.decode_request(SENT)))
        frame = Frame(value[:10], 7)
        context = replace(task.context, frame=frame)
        shared = SharedPredictions(context, ThreadAsks(store), store, task.statistics.counts)
        shared.committed([OutRecord(context.topics.predictions, b"b-1", frame(value))])
        await asyncio.to_thread(shared.close)
        assert store.values == {"b-1": RECORD + value}
        assert store.closed

    asyncio.run(run())


def test_what_another_version_wrote_is_answered_anew() -> None:
    async def run() -> None:
        store = MemoryPredictions()
        async with workers(store, 1) as (one,):
            one.shared.committed([OutRecord("stay.predictions", b"b-1", b"\xc3\x01 not of ours")])
            await until(answered(store, "b-1"))
            assert (await one.client.get(f"{PATH}/b-1")).status == 404
            assert (await one.client.post(PATH, SENT)).status == 200

    asyncio.run(run())
