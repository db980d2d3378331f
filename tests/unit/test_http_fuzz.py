"""Whatever is sent: an answer or a problem, never an error of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.http_worker import FEATURES, SENT, TOLD, HeldWriter, Reply, make_http_task, serving

PATHS = st.sampled_from(("/tasks/stay/predictions", "/tasks/stay/outcomes"))
KINDS = st.sampled_from(
    ("application/json", "application/avro", "text/plain", "application/json; charset=utf-8")
)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
nearly = st.builds(
    lambda base, key, value: base | {key: value},
    st.sampled_from((SENT, TOLD)),
    st.sampled_from(("request_id", "ts", "features", "entity_key", "parents", "value", "revision", "record")),
    plain_json,
)
features = st.builds(
    lambda key, value: SENT | {"features": FEATURES | {key: value}},
    st.sampled_from((*FEATURES, "Guest")),
    plain_json,
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=60).map(lambda rest: b"\xc3\x01" + rest),
    *(each.map(lambda data: json.dumps(data).encode()) for each in (plain_json, nearly, features)),
    st.lists(nearly | features | plain_json, max_size=5).map(lambda data: json.dumps(data).encode()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PATHS, KINDS, bodies), min_size=1, max_size=25))
def test_any_body_gets_an_answer_or_a_problem_and_what_is_written_can_be_read(calls: list[Any]) -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer) as client:
            for path, kind, body in calls:
                reply: Reply = await client.post(path, data=body, headers={"Content-Type": kind})
                assert reply.status < 500, (path, kind, body, reply.data)
            alive = await client.post("/tasks/stay/predictions", SENT | {"request_id": "afterwards"})
            assert alive.status == 200
        for record in writer.records:
            if record.topic == "stay.predictions":
                task.context.codec.decode_prediction(record.value)
            elif record.topic == "stay.outcomes":
                task.context.codec.decode_outcome(record.value)
            else:  # on a slow machine the counts of this second
                task.context.codec.decode_tally(record.value)

    asyncio.run(run())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("[", '{"a":')), st.integers(1, 3000)), min_size=1, max_size=8))
def test_deep_nesting_is_a_problem_at_any_depth(nestings: list[tuple[str, int]]) -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            for opening, depth in nestings:
                deep = opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth
                for text in (deep, f'{{"request_id": "d", "ts": 1, "features": {{"LeadTime": {deep}}}}}'):
                    reply = await client.post("/tasks/stay/predictions", data=text.encode())
                    assert reply.status in {400, 422}, (opening, depth, reply.data)

    asyncio.run(run())
