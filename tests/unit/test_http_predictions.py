from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from river import linear_model

from agents.http.prediction_cache import Answer
from agents.settings import Settings
from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from schemas.codec.json_form import plain
from schemas.examples import examples
from schemas.records import Entry, Outcome
from streams.quality.monitor import QualityMonitor
from streams.skipped import Stopped
from tests.unit.http_worker import FEATURES, SENT, HeldWriter, make_http_task, serving

PATH = "/tasks/stay/predictions"


def test_an_answer_has_the_served_score_and_what_is_written_is_the_same_prediction() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer) as client:
            reply = await client.post(PATH, SENT)
        assert reply.status == 200
        assert reply.data == {
            "request_id": "b-1",
            "ts": SENT["ts"],
            "score": 0.5,
            "label": False,
            "version": "lr.1@0",
        }
        (record,) = writer.records
        assert (record.topic, record.key, record.partition) == ("stay.predictions", b"b-1", None)
        written = task.context.codec.decode_prediction(record.value)
        assert dict(written.features) == {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}
        assert written.source is None
        assert [each.model for each in written.scores] == [fold.model.name for fold in task.server.models]
        served = plain(written.scores[0]) | {"version": written.scores[0].version}
        assert {name: served[name] for name in ("score", "label", "version")}.items() <= reply.data.items()
        assert task.statistics.counts["predictions"] == 1

    asyncio.run(run())


def test_avro_and_json_get_the_same_answer() -> None:
    async def run() -> None:
        task = make_http_task()
        request = task.context.codec.decode_request(json.dumps(SENT | {"request_id": "avro"}).encode())
        async with serving(task, HeldWriter()) as client:
            one = await client.post(PATH, SENT)
            other = await client.post(
                PATH, data=task.context.codec.encode(request), headers={"Content-Type": "application/avro"}
            )
        assert other.status == 200
        assert other.data == one.data | {"request_id": "avro"}

    asyncio.run(run())


def test_how_long_callers_waited_is_counted_for_what_was_answered() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            await client.post(PATH, [SENT, SENT | {"request_id": "b-2"}, {"features": "none"}])
        assert (task.statistics.answers["http"].count, task.statistics.answers["topic"].count) == (2, 0)
        assert 0 < task.statistics.answers["http"].sum_s < 60

    asyncio.run(run())


def test_the_exported_examples_are_taken() -> None:
    async def run() -> None:
        task = make_http_task()
        found = examples(task.context.codec)
        async with serving(task, HeldWriter()) as client:
            for name, path in (("Request", PATH), ("Outcome", "/tasks/stay/outcomes")):
                as_json = task.context.codec.encode(found[name], json=True)
                assert (await client.post(path, data=as_json)).status in {200, 202}

    asyncio.run(run())


def test_without_ts_the_arrival_is_taken_and_reported() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer) as client:
            before = now_ms()
            one = await client.post(PATH, {"request_id": "no-ts", "features": FEATURES})
            two = await client.post(PATH, {"request_id": "null-ts", "ts": None, "features": FEATURES})
        for reply, record in zip((one, two), writer.records, strict=True):
            assert before <= reply.data["ts"] <= now_ms()
            assert task.context.codec.decode_prediction(record.value).ts == reply.data["ts"]

    asyncio.run(run())


def test_a_list_gets_its_answers_in_order_and_bad_ones_do_not_harm_their_neighbours() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        bad: list[Any] = [
            SENT | {"request_id": "two", "features": FEATURES | {"LeadTime": "soon"}},
            17,
            {"features": FEATURES},
        ]
        sent = [SENT, bad[0], bad[1], bad[2], SENT | {"request_id": "last"}]
        async with serving(task, writer) as client:
            reply = await client.post(PATH, sent)
        assert reply.status == 200
        assert [each.get("request_id") for each in reply.data] == ["b-1", "two", None, None, "last"]
        assert [each.get("reason") for each in reply.data] == [
            None,
            "wrong_type",
            "wrong_type",
            "missing_field",
            None,
        ]
        assert [each.get("index") for each in reply.data] == [None, 1, 2, 3, None]
        assert reply.data[1]["field"] == "features.LeadTime"
        assert reply.data[3]["field"] == "request_id"
        assert [record.key for record in writer.records] == [b"b-1", b"last"]

    asyncio.run(run())


def test_a_list_without_a_usable_request_is_a_problem_that_has_them_all() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            reply = await client.post(PATH, [{}, SENT | {"features": {}}])
            empty = await client.post(PATH, [])
        assert (reply.status, reply.reason) == (422, "none_usable")
        assert [each["field"] for each in reply.data["problems"]] == ["request_id", "features.LeadTime"]
        assert (empty.status, empty.data) == (200, [])

    asyncio.run(run())


def test_a_repeated_request_gets_the_first_answer_although_the_model_has_learned() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer) as client:
            first = await client.post(PATH, SENT)
            prediction = task.context.codec.decode_prediction(writer.records[0].value)
            outcome = Outcome("b-1", SENT["ts"] + 1, True)
            entry = Entry("e", "labelled", outcome.ts, prediction=prediction, outcome=outcome)
            for fold in task.server.models:
                fold.apply(2, entry)
            again = await client.post(PATH, SENT)
            in_list = await client.post(PATH, [SENT, SENT, SENT | {"request_id": "new"}])
            looked_up = await client.get(f"{PATH}/b-1")
        assert again.data == looked_up.data == in_list.data[0] == in_list.data[1] == first.data
        assert in_list.data[2]["version"] == "lr.1@2"
        assert in_list.data[2]["score"] != 0.5
        assert [record.key for record in writer.records] == [b"b-1", b"new"]

    asyncio.run(run())


def test_concurrent_duplicates_share_one_prediction_and_wait_for_its_acknowledgement() -> None:
    async def run() -> None:
        writer = HeldWriter(acknowledges=False)
        async with serving(make_http_task(), writer) as client:
            calls = [asyncio.create_task(client.post(PATH, SENT)) for _ in range(5)]
            await asyncio.sleep(0.2)
            assert not any(call.done() for call in calls)
            pending = await client.get(f"{PATH}/b-1")
            writer.acknowledge()
            replies = await asyncio.gather(*calls)
        assert (pending.status, pending.reason) == (404, "not_cached")
        assert "not acknowledged" in pending.data["detail"]
        assert len(writer.records) == 1
        assert [reply.status for reply in replies] == [200] * 5
        assert all(reply.data == replies[0].data for reply in replies)

    asyncio.run(run())


def test_without_an_acknowledgement_nothing_is_promised_and_a_repetition_sends_the_same_bytes() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter(acknowledges=False)
        async with serving(task, writer) as client:
            call = asyncio.create_task(client.post(PATH, SENT))
            await writer.used.wait()
            writer.fail()
            failed = await call
            prediction = task.context.codec.decode_prediction(writer.records[0].value)
            for fold in task.server.models:
                fold.apply(
                    9, Entry("e", "labelled", 1, prediction=prediction, outcome=Outcome("b-1", 1, True))
                )
            writer.acknowledges = True
            again = await client.post(PATH, SENT)
        assert (failed.status, failed.reason) == (503, "not_acknowledged")
        assert int(failed.headers["Retry-After"]) > 0
        assert again.data["version"] == "lr.1@0"
        # Whichever of the two is first on the topic, it says what the caller got.
        assert writer.records[0] == writer.records[1]
        assert task.statistics.counts["http_not_acknowledged"] == 1
        assert task.statistics.counts["predictions"] == 1

    asyncio.run(run())


def test_a_call_that_lasts_too_long_ends_and_its_prediction_is_found_again() -> None:
    async def run() -> None:
        writer = HeldWriter(acknowledges=False)
        async with serving(make_http_task(), writer, time_bound_s=0.2) as client:
            late = await client.post(PATH, SENT)
            assert (late.status, late.reason) == (503, "time_out")
            writer.acknowledge()
            again = await client.post(PATH, SENT)
        assert again.status == 200
        assert len(writer.records) == 1

    asyncio.run(run())


def test_only_so_many_answers_are_remembered_the_least_recently_used_go_first() -> None:
    async def run() -> None:
        settings = Settings(prediction_cache_size=2)
        async with serving(make_http_task(settings=settings), HeldWriter(), settings) as client:
            for name in ("one", "two"):
                await client.post(PATH, SENT | {"request_id": name})
            await client.get(f"{PATH}/one")
            await client.post(PATH, SENT | {"request_id": "three"})
            found = {name: (await client.get(f"{PATH}/{name}")).status for name in ("one", "two", "three")}
            gone = await client.get(f"{PATH}/two")
        assert found == {"one": 200, "two": 404, "three": 200}
        assert gone.reason == "not_cached"
        assert "stay.predictions" in gone.data["detail"]

    asyncio.run(run())


def test_any_request_id_can_be_looked_up() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            for name, path in (("a/b", "a/b"), ("a/b", "a%2Fb"), ("ä ?#%", "%C3%A4%20%3F%23%25"), ("+", "+")):
                await client.post(PATH, SENT | {"request_id": name})
                reply = await client.get(f"{PATH}/{path}")
                assert reply.data["request_id"] == name

    asyncio.run(run())


def test_while_not_ready_new_requests_are_rejected_with_the_reason_and_remembered_ones_answered() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            first = await client.post(PATH, SENT)
            task.readiness.ready.clear()
            task.readiness.why = "reading the training log, at offset 7"
            again = await client.post(PATH, SENT)
            fresh = await client.post(PATH, SENT | {"request_id": "new"})
            mixed = await client.post(PATH, [SENT, SENT | {"request_id": "new"}])
            several = await client.post(PATH, [SENT | {"request_id": "new"}, {}])
        assert again.data == first.data
        assert (fresh.status, fresh.reason) == (503, "not_ready")
        assert "at offset 7" in fresh.data["detail"]
        assert "Retry-After" in fresh.headers
        assert mixed.status == 200
        assert mixed.data[1]["reason"] == "not_ready"
        assert (several.status, several.reason) == (503, "none_usable")

    asyncio.run(run())


def test_a_repetition_in_the_moment_of_the_acknowledgement_is_not_sent_again() -> None:
    async def run() -> None:
        writer = HeldWriter(acknowledges=False)
        answer = Answer(b"{}", OutRecord("stay.predictions", b"b-1", b"a prediction"))
        answer.send(writer)
        writer.acknowledge()
        answer.send(writer)  # nothing else on the event loop had its turn in between
        assert len(writer.records) == 1
        await answer.wait()
        assert answer.acknowledged
        failed = Answer(b"{}", OutRecord("stay.predictions", b"b-2", b"a prediction"))
        failed.send(writer)
        writer.fail()
        failed.send(writer)
        assert len(writer.records) == 3

    asyncio.run(run())


def test_what_is_odd_about_a_request_is_answered_and_counted_and_hinders_nothing() -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        odd = {"LeadTime": 12, "Raet": 80.5, "Rate": -1, "Meal": "BB", "Ada": 1}
        sent = SENT | {"features": odd, "entity_kye": "c-1"}
        async with serving(task, writer) as client:
            fine = await client.post(PATH, SENT | {"request_id": "fine"})
            first = await client.post(PATH, sent)
            again = await client.post(PATH, sent)
            client.pages.stop()
        assert "warnings" not in fine.data
        assert first.data == again.data
        assert [(each["reason"], each["field"], each.get("near")) for each in first.data["warnings"]] == [
            ("unknown_field", "entity_kye", "entity_key"),
            ("unknown_field", "features.Raet", "features.Rate"),
            ("unknown_field", "features.Ada", None),
            ("outside", "features.Rate", None),
        ]
        assert first.data["warnings"][3]["detail"] == "Rate is -1.0, outside 0 and more"
        monitor = QualityMonitor("stay", task.context.task.features)
        for record in writer.records:
            if record.topic == task.context.topics.quality:
                monitor.apply(monitor.next_offset, task.context.codec.decode_tally(record.value))
        warned = {each.segment: each.value for each in monitor.measurements() if each.name == "warned"}
        assert warned == {
            "unknown_field entity_key": 1,
            "unknown_field features.Rate": 1,
            "unknown_field other": 1,
            "outside features.Rate": 1,
        }

    asyncio.run(run())


class Broken(linear_model.LogisticRegression):
    """Cannot answer any more."""

    def predict_proba_one(self, x: Any, **_: Any) -> Any:
        """Raise."""
        raise OverflowError("of Ada Lovelace")


@pytest.mark.parametrize("place", [0, 1])
def test_a_caller_learns_that_the_fallback_answered_and_nothing_of_a_shadow_that_fails(place: int) -> None:
    async def run() -> None:
        task = make_http_task()
        task.server.task = replace(task.context.task, fallback="other")
        learner = task.server.models[place].learner
        learner.estimator, learner.learned = Broken(), 1
        async with serving(task, HeldWriter()) as client:
            first = await client.post(PATH, SENT)
            again = await client.post(PATH, SENT)
        assert first.status == 200
        assert again.data == first.data
        assert first.data["version"] == ("lr.1@0" if place else "other.1@1")
        if place:
            assert "warnings" not in first.data
        else:
            (warning,) = first.data["warnings"]
            assert (warning["reason"], warning["field"]) == ("fallback", "score")
            assert warning["detail"].startswith("lr.1@0 failed: OverflowError in ")
            assert warning["detail"].endswith("; the score is that of other.1@1")
            assert "Ada" not in warning["detail"]

    asyncio.run(run())


@pytest.mark.parametrize("place", [0, 1])
def test_a_caller_learns_that_the_model_which_answered_has_stopped_learning(place: int) -> None:
    async def run() -> None:
        task = make_http_task()
        task.server.models[place].learner.stopped = Stopped(70, "its code raised")
        async with serving(task, HeldWriter()) as client:
            reply = await client.post(PATH, SENT)
        if place:
            assert "warnings" not in reply.data
        else:
            (warning,) = reply.data["warnings"]
            assert (warning["reason"], warning["field"]) == ("stopped_learning", "score")
            assert warning["detail"].endswith("has stopped learning at log offset 70: its code raised")

    asyncio.run(run())
