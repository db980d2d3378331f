from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.http_worker import FEATURES, SECRET, SENT, HeldWriter, make_http_task, serving

PATH = "/tasks/stay/predictions"

BAD: list[tuple[str, Any, int, str, str | None]] = [
    ("no request_id", {"ts": 5, "features": FEATURES}, 422, "missing_field", "request_id"),
    ("an empty request_id", SENT | {"request_id": ""}, 422, "out_of_range", "request_id"),
    ("a long request_id", SENT | {"request_id": "x" * 201}, 422, "out_of_range", "request_id"),
    ("a long entity_key", SENT | {"entity_key": "x" * 201}, 422, "out_of_range", "entity_key"),
    ("a long parent", SENT | {"parents": ["x" * 201]}, 422, "out_of_range", "parents"),
    ("many parents", SENT | {"parents": ["x"] * 101}, 422, "out_of_range", "parents"),
    ("no features", {"request_id": "b", "ts": 5}, 422, "missing_field", "features"),
    ("a missing feature", SENT | {"features": {"Meal": "BB"}}, 422, "missing_field", "features.LeadTime"),
    (
        "text for a number",
        SENT | {"features": FEATURES | {"LeadTime": "9"}},
        422,
        "wrong_type",
        "features.LeadTime",
    ),
    (
        "out of range",
        SENT | {"features": FEATURES | {"LeadTime": 801}},
        422,
        "out_of_range",
        "features.LeadTime",
    ),
    (
        "an unknown level",
        SENT | {"features": FEATURES | {"Meal": "XX"}},
        422,
        "out_of_range",
        "features.Meal",
    ),
    (
        "half a surrogate pair",
        SENT | {"features": FEATURES | {"Meal": "\ud800"}},
        422,
        "wrong_type",
        "features.Meal",
    ),
    ("a negative time", SENT | {"ts": -1}, 422, "impossible_time", "ts"),
    ("the year 9999", SENT | {"ts": 253_370_764_800_000}, 422, "impossible_time", "ts"),
    ("a time in seconds", SENT | {"ts": 1_700_000_000}, 422, "impossible_time", "ts"),
    ("the last moment of 1999", SENT | {"ts": 946_684_799_999}, 422, "impossible_time", "ts"),
    ("a time in microseconds", SENT | {"ts": 1_700_000_000_000_000}, 422, "impossible_time", "ts"),
    ("a time in nanoseconds", SENT | {"ts": 1_700_000_000_000_000_000}, 422, "impossible_time", "ts"),
    ("a time as text", SENT | {"ts": "2024-01-01"}, 422, "wrong_type", "ts"),
    ("an outcome", SENT | {"record": "outcome"}, 422, "wrong_record", None),
    ("no object", 17, 422, "wrong_type", None),
    ("null", b"null", 422, "wrong_type", None),
    (
        "a bool of personal data",
        SENT | {"features": FEATURES | {"Guest": 1815}},
        422,
        "wrong_type",
        "features.Guest",
    ),
    ("broken JSON", b'{"request_id": "b-1", ', 400, "malformed", None),
    ("no JSON", b"hello", 400, "malformed", None),
    ("nothing", b"", 400, "malformed", None),
    ("no UTF-8", b'{"request_id": "\xff"}', 400, "malformed", None),
    ("a key twice", b'{"request_id": "a", "request_id": "b"}', 400, "malformed", None),
    ("a long number", b'{"ts": ' + b"1" * 5000 + b"}", 400, "malformed", None),
    ("a deep list", b"[" * 100_000, 400, "malformed", None),
    (
        "a deep feature",
        b'{"request_id":"d","ts":1,"features":{"LeadTime":' + b"[" * 900 + b"]" * 900 + b"}}",
        422,
        "wrong_type",
        "features.LeadTime",
    ),
]


@pytest.mark.parametrize(
    ("sent", "status", "reason", "field"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_a_bad_request_is_rejected_naming_the_field(
    sent: Any, status: int, reason: str, field: str | None
) -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer) as client:
            data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
            reply = await client.post(PATH, data=data)
        assert (reply.status, reply.reason, reply.data.get("field")) == (status, reason, field)
        assert reply.data["detail"]
        assert writer.records == []

    asyncio.run(run())


def test_personal_data_appears_in_no_error() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            for guest in ({"name": SECRET}, [SECRET], 5):
                features = FEATURES | {"Guest": guest, "LeadTime": 12}
                reply = await client.post(PATH, SENT | {"features": features})
                assert reply.data["field"] == "features.Guest"  # the client looks for SECRET in every reply
            reply = await client.post(
                PATH, data=json.dumps(SENT | {"features": {"Guest": SECRET}}).encode()[:-2]
            )
            assert reply.status == 400

    asyncio.run(run())
