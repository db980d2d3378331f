from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from river import base

from agents.http.pages import Pages
from agents.http.problems import HTTP_REASONS
from agents.settings import Settings
from schemas.reasons import REASONS
from tests.unit.http_worker import OPENAPI, SENT, HeldWriter, make_http_task, operations, serving

PAGE = Path(__file__).parents[2] / "docs/reference/http.md"
PATH = "/tasks/stay/predictions"


def served() -> set[tuple[str, str]]:
    routes = Pages({}, HeldWriter(), Settings(), 1.0).routes()
    return {(each.method, re.sub(r":[^}]+", "", each.path)) for each in routes}


def test_the_reference_describes_every_path_and_no_other() -> None:
    assert set(operations()) == served()
    page = PAGE.read_text()
    for method, path in served():
        assert f"`{method} {path}`" in page


def test_the_reference_names_every_reason_and_no_other() -> None:
    reasons = [*REASONS, *HTTP_REASONS]
    assert OPENAPI["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"] == reasons
    page = PAGE.read_text()
    assert set(re.findall(r"^`([a-z_]+)` \d", page, re.MULTILINE)) == set(HTTP_REASONS)
    assert all(meaning in page for meaning in HTTP_REASONS.values())
    assert "](../reasons.md)" in page, "which has those of the records"


def test_only_what_changes_something_is_marked_so() -> None:
    routes = Pages({}, HeldWriter(), Settings(), 1.0).routes()
    assert {each.method for each in routes if each.changes} == {"POST"}
    assert {each.method for each in routes if not each.changes} == {"GET"}


def test_a_miss_is_a_problem_that_says_what_there_is() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            task = await client.post("/tasks/sty/predictions", SENT)
            path = await client.get("/tasks/stay/nothing")
            method = await client.call("DELETE", PATH)
            method2 = await client.call("PUT", "/ready")
        assert (task.status, task.reason, task.data["known"]) == (404, "unknown_task", ["stay"])
        assert "stay" in task.data["detail"]
        assert (path.status, path.reason) == (404, "unknown_path")
        assert (method.status, method.reason, method.headers["Allow"]) == (405, "wrong_method", "POST")
        assert (method2.status, method2.headers["Allow"]) == (405, "GET, HEAD")

    asyncio.run(run())


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
def test_another_content_type_is_rejected(kind: str) -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            reply = await client.post(PATH, SENT, headers={"Content-Type": kind})
        assert (reply.status, reply.reason) == (415, "wrong_content_type")
        assert "application/json" in reply.headers["Accept"]

    asyncio.run(run())


def test_what_is_no_avro_is_rejected_as_avro() -> None:
    async def run() -> None:
        avro = {"Content-Type": "application/avro"}
        async with serving(make_http_task(), HeldWriter()) as client:
            text = await client.post(PATH, SENT, headers=avro)
            framed = await client.post(PATH, data=b"\x00\x00\x00\x00\x01abc", headers=avro)
            unknown = await client.post(PATH, data=b"\xc3\x01" + b"8" * 40, headers=avro)
        assert (text.status, text.reason) == (framed.status, framed.reason) == (400, "unreadable")
        assert (unknown.status, unknown.reason) == (422, "unknown_schema")

    asyncio.run(run())


def test_a_body_beyond_the_bound_is_rejected_however_it_is_sent() -> None:
    async def run() -> None:
        settings = Settings(max_body=20_000, max_list=3)
        task = make_http_task(settings=settings)
        big = json.dumps(SENT | {"entity_key": "x" * 20_000}).encode()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(big), 1000):
                yield big[start : start + 1000]

        async with serving(task, HeldWriter(), settings) as client:
            declared = await client.post(PATH, data=big)
            chunked = await client.post(PATH, data=pieces())
            packed = await client.post(PATH, data=gzip.compress(big), headers={"Content-Encoding": "gzip"})
            exact = json.dumps(SENT | {"entity_key": ""}).encode()
            fitting = await client.post(PATH, data=exact.ljust(20_000))
            small = await client.post(PATH, data=gzip.compress(exact), headers={"Content-Encoding": "gzip"})
            listed = await client.post(PATH, [SENT] * 4)
            just = await client.post(PATH, [SENT] * 3)
        for reply in (declared, chunked, packed):
            assert (reply.status, reply.reason) == (413, "too_large")
            assert "20,000" in reply.data["detail"]
        assert (fitting.status, small.status, just.status) == (200, 200, 200)
        assert (listed.status, listed.reason) == (413, "too_many")

    asyncio.run(run())


def test_a_record_beyond_the_contracts_bound_is_rejected_even_where_larger_bodies_are_allowed() -> None:
    async def run() -> None:
        settings = Settings(max_body=4_000_000)
        async with serving(make_http_task(settings=settings), HeldWriter(), settings) as client:
            large = SENT | {"entity_key": "x" * 2_000_000}
            one = await client.post(PATH, large)
            listed = await client.post(PATH, [large, SENT])
        assert (one.status, one.reason) == (413, "too_large")
        assert [each.get("reason") for each in listed.data] == ["too_large", None]

    asyncio.run(run())


def test_a_body_that_cannot_be_unpacked_is_rejected() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            reply = await client.post(PATH, data=b"this is no gzip", headers={"Content-Encoding": "gzip"})
        assert (reply.status, reply.reason) == (400, "bad_request")

    asyncio.run(run())


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def run() -> None:
        async def slow() -> AsyncIterator[bytes]:
            yield b'{"request_id"'
            await asyncio.sleep(1)

        async with serving(make_http_task(), HeldWriter(), time_bound_s=0.4) as client:
            reply = await client.post(PATH, data=slow())
        assert (reply.status, reply.reason) == (408, "slow_body")

    asyncio.run(run())


def test_an_error_of_a_model_is_a_problem_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()

        class Broken(base.Classifier):
            def learn_one(self, x: Any, y: Any) -> None:
                """Learn nothing."""

            def predict_proba_one(self, x: Any, **more: Any) -> Any:
                raise RuntimeError(f"a traceback with Ada-Lovelace-1815 in it: {x}")

        task.server.models[0].learner.estimator = Broken()
        async with serving(task, writer) as client:
            reply = await client.post(PATH, SENT)
        assert (reply.status, reply.reason) == (422, "model_failed")
        assert "RuntimeError in tests.unit.test_http_routes:" in reply.data["detail"]
        assert "Ada" not in f"{reply.data} {caplog.text}"
        assert writer.records == []

    asyncio.run(run())


def test_a_body_may_be_larger_than_aiohttp_takes_by_itself() -> None:
    async def run() -> None:
        limits = Settings(max_body=5_000_000, max_list=30_000)
        async with serving(make_http_task(), HeldWriter(), limits) as client:
            reply = await client.post(PATH, [SENT | {"entity_key": "x" * 50}] * 20_000)
            assert (reply.status, len(reply.data)) == (200, 20_000)

    asyncio.run(run())
