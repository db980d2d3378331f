"""Serving with aggregates: what a turn writes, what an abort leaves, and what is forwarded or rejected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any, cast

import pytest
from river import dummy

from agents.http.task import HttpTask
from infra.decoding import Decoder
from infra.inbound import FORWARDED, Inbound
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import OutRecord
from infra.task import aggregates as aggregates_module
from infra.task.aggregates import AggregatesAgent, PartitionAggregates
from infra.task.awaited_answers import AwaitedAnswers
from infra.task.resume import Resume
from infra.task.serve import Serve
from schemas.dictionary import Category, Dictionary, Number
from schemas.errors import BadRecord, BrokerError, RecordsGone, TransactionAborted, Unreadable
from schemas.features import PersonalData
from schemas.state import POSITION_KEY, AggregatesPosition, CountedRequest
from streams import Aggregate
from streams.aggregates.aggregates import Aggregates
from tests.unit.http_worker import HeldWriter, make_http_task, make_task, serving

START = 1_700_000_000_000
DAY = 86_400_000
WEEK = timedelta(days=7)


class Message:
    """A request as it lies on its topic."""

    def __init__(
        self, place: tuple[int, int], value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._place, self._value, self._headers = place, value, headers

    def topic(self) -> str:
        return "stay.requests"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes:
        return b"any"

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, START + 100 * DAY

    def headers(self) -> Any:
        return self._headers


class Turn:
    """The serve step of a worker with some partitions."""

    def __init__(self, partitions: int = 1, guest: PersonalData = "none") -> None:
        features = Dictionary(
            Number(name="Rate", unit="EUR"), Category(name="Guest", optional=True, personal_data=guest)
        )
        aggregates = (
            Aggregate("stays_7d", by="Guest", window=WEEK, how="count", missing=0),
            Aggregate("rate_7d", by="Guest", window=WEEK, how="sum", value="Rate"),
        )
        plain = make_task("stay")
        model = replace(plain.models[0], build=dummy.NoChangeClassifier)
        task = replace(plain, features=features, aggregates=aggregates, models=(model,))
        self.task: HttpTask = make_http_task(partitions=partitions, task=task)
        context = self.task.context
        resume = Resume(context, self.task.current)
        self.agent = AggregatesAgent(context, self.task.current, resume, self.task.statistics)
        for number in range(partitions):
            state = Aggregates(self.agent.rules)
            self.agent.partitions[number] = PartitionAggregates(state, "an-id", restored=False)
        self.serve = Serve(context, self.task.server, self.task.statistics, aggregates=self.agent)

    def request(
        self, place: tuple[int, int], name: str, day: int, guest: str | None = "ada", **more: Any
    ) -> Inbound:
        sent = {
            "request_id": name,
            "ts": START + day * DAY,
            "features": {"Rate": 10.5, "Guest": guest} | more,
        }
        return self.inbound(Message(place, json.dumps(sent).encode()))

    def inbound(self, message: Message) -> Inbound:
        return Decoder(self.task.context.codec.decode_request)(message)

    def run(self, *items: Inbound) -> dict[str, list[OutRecord]]:
        found: dict[str, list[OutRecord]] = {}
        for record in chain.from_iterable(self.serve.process(items)):
            found.setdefault(record.topic.partition(".")[2], []).append(record)
        return found

    def seen(self, records: Sequence[OutRecord]) -> list[tuple[Any, Any]]:
        decoded = [self.task.context.codec.decode_prediction(each.value) for each in records]
        return [(each.features.get("stays_7d"), each.features.get("rate_7d")) for each in decoded]

    def changelog(self, records: Sequence[OutRecord]) -> dict[bytes, Any]:
        decode = self.task.context.codec.decode_aggregates
        return {each.key or b"": each.value and decode(each.value) for each in records}


def test_the_aggregates_lie_in_the_prediction_and_the_changelog_in_its_transaction() -> None:
    turn = Turn()
    written = turn.run(
        turn.request((0, 5), "a", 0), turn.request((0, 6), "b", 1), turn.request((0, 8), "c", 1, None)
    )
    assert turn.seen(written["predictions"]) == [(0, 0.0), (1, 10.5), (0, None)]
    assert turn.changelog(written["aggregates"]) == {
        b"a": CountedRequest("ada", START, 5, {"Rate": 10.5}),
        b"b": CountedRequest("ada", START + DAY, 6, {"Rate": 10.5}),
        POSITION_KEY: AggregatesPosition(START + DAY, 9, "an-id", "Guest"),
    }
    assert {each.partition for each in written["aggregates"]} == {0}
    turn.serve.commit()
    # After the window and the lateness of a day nothing is left of them.
    written = turn.run(turn.request((0, 9), "d", 20))
    assert turn.seen(written["predictions"]) == [(0, 0.0)]
    changelog = turn.changelog(written["aggregates"])
    assert (changelog[b"a"], changelog[b"b"], changelog[b"d"].offset) == (None, None, 9)


def test_an_aborted_turn_counts_nothing_and_a_repeated_one_is_equal() -> None:
    turn = Turn()
    turn.run(turn.request((0, 0), "a", 0))
    turn.serve.commit()
    first = turn.run(turn.request((0, 1), "b", 1), turn.request((0, 2), "c", 20))
    turn.agent.rollback({0})
    again = turn.run(turn.request((0, 1), "b", 1), turn.request((0, 2), "c", 20))
    assert turn.seen(again["predictions"]) == turn.seen(first["predictions"]) == [(1, 10.5), (0, 0.0)]
    assert turn.changelog(again["aggregates"]) == turn.changelog(first["aggregates"])


def test_what_the_state_has_taken_is_not_answered_again_and_what_cannot_be_read_moves_it() -> None:
    turn = Turn()
    bad = turn.inbound(Message((0, 0), b"no record"))
    written = turn.run(bad, turn.request((0, 1), "a", 0))
    assert (len(written["dead-letters"]), len(written["predictions"])) == (1, 1)
    turn.serve.commit()
    written = turn.run(bad, turn.request((0, 1), "a", 0), turn.request((0, 2), "b", 1))
    assert ("dead-letters" in written, len(written["predictions"])) == (False, 1)
    turn.serve.commit()
    # The same request sent once more is answered, does not see itself, and counts once.
    written = turn.run(turn.request((0, 3), "a", 2), turn.request((0, 4), "c", 2))
    assert turn.seen(written["predictions"]) == [(1, 10.5), (2, 21.0)]


def test_a_request_that_comes_too_late_has_no_aggregates_and_is_counted() -> None:
    turn = Turn()
    written = turn.run(
        turn.request((0, 0), "a", 3), turn.request((0, 1), "b", 5), turn.request((0, 2), "c", 3)
    )
    assert turn.seen(written["predictions"]) == [(0, 0.0), (1, 10.5), (0, None)]
    assert turn.task.statistics.counts["aggregates_too_late"] == 1


@pytest.mark.parametrize("guest", ["none", "tokenised"])
def test_a_request_on_another_partition_is_forwarded_once(guest: PersonalData) -> None:
    turn = Turn(partitions=4, guest=guest)
    right = partition_of(b"ada", 4)
    wrong = (right + 1) % 4
    sent = turn.request((wrong, 7), "a", 0)
    written = turn.run(sent)
    (copy,) = written["requests"]
    assert (copy.key, copy.partition, copy.value) == (b"ada", right, sent.message.value())
    assert copy.headers == [(FORWARDED, f"stay.requests[{wrong}]@7".encode())]
    assert "predictions" not in written
    position = turn.changelog(written["aggregates"])[POSITION_KEY]
    assert position.requests == 8
    turn.serve.commit()
    value = copy.value or b""
    arrived = turn.inbound(Message((right, 0), value, [(FORWARDED, b"stay.requests[0]@7")]))
    written = turn.run(arrived, turn.request((right, 1), "b", 1))
    assert turn.seen(written["predictions"]) == [(0, 0.0), (1, 10.5)]
    assert turn.task.statistics.counts["requests_misplaced"] == 1


def test_a_partition_beyond_those_of_the_task_is_forwarded_from_and_has_no_state() -> None:
    turn = Turn(partitions=2)
    written = turn.run(turn.request((2, 0), "a", 0), turn.request((2, 1), "b", 0, None))
    assert [each.partition for each in written["requests"]] == [partition_of(b"ada", 2)]
    assert turn.seen(written["predictions"]) == [(0, None)]
    assert "aggregates" not in written


def test_a_partition_that_is_given_up_meanwhile_aborts_the_turn() -> None:
    turn = Turn()
    steps = turn.serve.process([turn.request((0, 0), "a", 0), turn.request((0, 1), "b", 1)])
    next(steps)
    turn.agent.forget(0)
    with pytest.raises(TransactionAborted, match="given up while it was served"):
        list(steps)


class Awaited:
    """Answers of the topic, as a test gives them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.answers: list[asyncio.Future[bytes]] = []

    async def follow(self) -> None:
        """Follow nothing."""

    def expect(self, request_id: str, sent: bytes) -> asyncio.Future[bytes]:
        self.sent.append(sent)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


@pytest.mark.parametrize("guest", ["none", "tokenised"])
def test_a_call_over_http_is_sent_to_the_partition_of_its_entity_once(guest: PersonalData) -> None:
    turn, awaited, writer = Turn(4, guest), Awaited(), HeldWriter()
    right = partition_of(b"ada", 4)
    sent = {"request_id": "a", "features": {"Rate": 3, "Guest": "ada"}, "colour": "red"}

    async def run() -> None:
        task = replace(turn.task, awaited=cast(AwaitedAnswers, awaited))
        async with serving(task, writer) as client:
            calls = [asyncio.create_task(client.post("/tasks/stay/predictions", sent)) for _ in range(2)]
            while not awaited.answers:
                await asyncio.sleep(0.01)
            (record,) = [each for each in writer.records if each.topic == "stay.requests"]
            assert (record.key, record.partition, record.value) == (b"ada", right, awaited.sent[0])
            item = turn.inbound(Message((right, 0), record.value or b""))
            assert item.record.request_id == "a"
            (served,) = turn.run(item)["predictions"]
            awaited.answers[0].set_result(served.value or b"")
            replies = [await each for each in calls]
            assert [each.status for each in replies] == [200, 200]
            assert replies[0].data == replies[1].data
            assert [each["reason"] for each in replies[0].data["warnings"]] == ["unknown_field"]
            assert (await client.get("/tasks/stay/predictions/a")).data == replies[0].data

    asyncio.run(run())
    assert len(awaited.sent) == 1
    assert [each for each in writer.records if each.topic == "stay.predictions"] == []


def test_a_call_whose_request_gets_no_answer_fails_and_a_repeated_one_is_sent_again() -> None:
    turn, awaited, writer = Turn(), Awaited(), HeldWriter()
    sent = {"request_id": "a", "features": {"Rate": 3, "Guest": "ada"}}
    failures = [
        BadRecord("model_failed", "request 'a': model lr failed"),
        BrokerError("not waited for"),
        None,
    ]

    async def run() -> list[tuple[int, str]]:
        found = []
        task = replace(turn.task, awaited=cast(AwaitedAnswers, awaited))
        async with serving(task, writer) as client:
            for number, failure in enumerate(failures):
                call = asyncio.create_task(client.post("/tasks/stay/predictions", sent))
                while len(awaited.answers) <= number:
                    await asyncio.sleep(0.01)
                if failure is None:
                    awaited.answers[number].set_result(b"of a later version")
                else:
                    awaited.answers[number].set_exception(failure)
                reply = await call
                found.append((reply.status, reply.reason))
        return found

    assert asyncio.run(run()) == [(422, "model_failed"), *2 * [(503, "not_acknowledged")]]
    assert len(awaited.sent) == 3


class Stored(Message):
    """A record of the changelog."""

    def __init__(self, offset: int, key: bytes, value: bytes | None) -> None:
        super().__init__((0, offset), value or b"")
        self._key, self._written = key, value

    def key(self) -> bytes:
        return self._key

    def value(self) -> Any:
        return self._written


def restored(turn: Turn, records: Sequence[tuple[bytes, bytes | None]], patch: pytest.MonkeyPatch) -> Any:
    messages = [Stored(offset, *record) for offset, record in enumerate(records)]
    patch.setattr(aggregates_module, "read_all", lambda *about: iter(messages))
    patch.setattr(aggregates_module, "end_offsets", lambda *about, **more: {about[1][0]: len(messages)})
    patch.setattr(Resume, "settled", lambda self, places: dict(places))
    return turn.agent.restored(0)


def test_a_restart_goes_on_with_what_the_changelog_says(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, encode = Turn(), make_http_task().context.codec.encode
    position = encode(AggregatesPosition(START + DAY, 7, "", "Guest"))
    counted = encode(CountedRequest("ada", START, 5, {"Rate": 10.5}))
    gone = encode(CountedRequest("ada", START, 4, {"Rate": 1.0}))
    records = [(b"x", gone), (b"a", b"damaged"), (b"a", counted), (POSITION_KEY, position), (b"x", None)]
    at = turn.agent.partitions[0] = restored(turn, records, monkeypatch)
    assert (at.restored, len(at.state), turn.agent.next_offsets) == (True, 1, {0: 7})
    written = turn.run(turn.request((0, 6), "a", 0), turn.request((0, 7), "b", 1))
    assert turn.seen(written["predictions"]) == [(1, 10.5)]


def test_a_changelog_that_cannot_be_gone_on_with_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, encode = Turn(), make_http_task().context.codec.encode
    other = encode(AggregatesPosition(START, 7, "", "Meal"))
    with pytest.raises(RecordsGone, match="has the aggregates by Meal, and the task file says by=Guest"):
        restored(turn, [(POSITION_KEY, other)], monkeypatch)
    with pytest.raises(Unreadable, match=r"stay\.requests\[0\]@0 cannot be read"):
        restored(turn, [(b"a", b"damaged")], monkeypatch)
