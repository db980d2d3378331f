from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from schemas.records import Outcome, Punctuation
from tests.unit.http_worker import TOLD, HeldWriter, make_http_task, serving

PATH = "/tasks/stay/outcomes"


def test_an_outcome_is_on_the_topic_before_it_is_accepted() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter(acknowledges=False)
        async with serving(task, writer) as client:
            call = asyncio.create_task(client.post(PATH, TOLD | {"reporter": "desk"}))
            await writer.used.wait()
            assert not call.done()
            writer.acknowledge()
            reply = await call
        assert (reply.status, reply.data) == (202, {"request_id": "b-1", "accepted": True})
        (record,) = writer.records
        assert (record.topic, record.key, record.partition) == ("stay.outcomes", b"b-1", None)
        reported = task.context.codec.decode_outcome(record.value)
        assert reported == Outcome("b-1", TOLD["ts"], True)
        assert b"desk" not in (record.value or b"")  # the dictionary leaves reporters out

    asyncio.run(run())


def test_outcomes_are_taken_while_the_models_are_not_ready() -> None:
    async def run() -> None:
        async with serving(make_http_task(ready=False), HeldWriter()) as client:
            assert (await client.post(PATH, TOLD)).status == 202

    asyncio.run(run())


def test_a_field_of_an_outcome_that_nothing_reads_is_said() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            reply = await client.post(PATH, TOLD | {"revison": 2})
            fine = await client.post(PATH, TOLD)
        assert reply.status == 202
        assert [(each["field"], each["near"]) for each in reply.data["warnings"]] == [("revison", "revision")]
        assert "warnings" not in fine.data

    asyncio.run(run())


def test_avro_is_taken_and_a_punctuation_is_not() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        avro = {"Content-Type": "application/avro"}
        async with serving(task, writer) as client:
            good = await client.post(
                PATH, data=task.context.codec.encode(Outcome("b", 1_700_000_000_000, False)), headers=avro
            )
            bad = await client.post(PATH, data=task.context.codec.encode(Punctuation(5)), headers=avro)
            also = await client.post(PATH, {"record": "punctuation", "ts": 5})
        assert good.status == 202
        assert (bad.status, bad.reason) == (also.status, also.reason) == (422, "unexpected_punctuation")
        assert len(writer.records) == 1

    asyncio.run(run())


def test_a_list_is_accepted_in_order_and_bad_ones_do_not_harm_their_neighbours() -> None:
    async def run() -> None:
        writer = HeldWriter()
        async with serving(make_http_task(), writer) as client:
            reply = await client.post(PATH, [TOLD, TOLD | {"request_id": "two", "value": "yes"}, 3, TOLD])
            none = await client.post(PATH, [{}, {}])
            empty = await client.post(PATH, [])
        assert reply.status == 202
        assert [each.get("reason") for each in reply.data] == [None, "wrong_type", "wrong_type", None]
        assert (reply.data[1]["request_id"], reply.data[1]["index"]) == ("two", 1)
        assert len(writer.records) == 2
        assert (none.status, none.reason) == (422, "none_usable")
        assert (empty.status, empty.data) == (202, [])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "status", "reason", "field"),
    [
        ({"ts": 5, "value": True}, 422, "missing_field", "request_id"),
        # Unlike a request's: repeated with another time, it would be a correction.
        ({"request_id": "b", "value": True}, 422, "missing_field", "ts"),
        ({"request_id": "b", "ts": 5}, 422, "missing_field", "value"),
        (TOLD | {"value": None}, 422, "missing_field", "reason"),
        (TOLD | {"value": 2}, 422, "out_of_range", "value"),
        (TOLD | {"reason": "x" * 1001}, 422, "out_of_range", "reason"),
        (TOLD | {"reporter": "x" * 201}, 422, "out_of_range", "reporter"),
        (TOLD | {"value": "cancelled"}, 422, "wrong_type", "value"),
        (TOLD | {"ts": 253_370_764_800_000}, 422, "impossible_time", "ts"),
        (TOLD | {"ts": 1_700_000_000}, 422, "impossible_time", "ts"),
        (TOLD | {"ts": 1_700_000_000_000_000}, 422, "impossible_time", "ts"),
        (TOLD | {"revision": "first"}, 422, "wrong_type", "revision"),
        (TOLD | {"record": "request"}, 422, "wrong_record", None),
        (b"{", 400, "malformed", None),
        (b'"text"', 422, "wrong_type", None),
    ],
)
def test_a_bad_outcome_is_rejected_naming_the_field(
    sent: Any, status: int, reason: str, field: str | None
) -> None:
    async def run() -> None:
        writer = HeldWriter()
        async with serving(make_http_task(), writer) as client:
            data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
            reply = await client.post(PATH, data=data)
        assert (reply.status, reply.reason, reply.data.get("field")) == (status, reason, field)
        assert writer.records == []

    asyncio.run(run())


def test_without_an_acknowledgement_nothing_is_accepted() -> None:
    async def run() -> None:
        writer = HeldWriter(acknowledges=False)
        async with serving(make_http_task(), writer) as client:
            call = asyncio.create_task(client.post(PATH, [TOLD]))
            await writer.used.wait()
            writer.fail()
            reply = await call
        assert (reply.status, reply.reason) == (503, "none_usable")
        assert reply.data["problems"][0]["reason"] == "not_acknowledged"
        assert reply.data["problems"][0]["request_id"] == "b-1"

    asyncio.run(run())
