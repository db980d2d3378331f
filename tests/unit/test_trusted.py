"""What the error says to do about a record of the join's changelog that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from infra.trusted import unreadable_state
from schemas.errors import BadRecord
from schemas.state import POSITION_KEY, RESOLVED
from tests.unit.test_join_turns import Message


class Keyed(Message):
    def __init__(self, key: bytes) -> None:
        super().__init__("shop.join-state", 7, b"", 0)
        self._key = key

    def key(self) -> bytes:
        return self._key


def advice(key: bytes) -> str:
    message: Any = Keyed(key)
    return str(unreadable_state(message, BadRecord("malformed", "no record")))


def test_a_record_about_a_request_may_be_deleted() -> None:
    assert "write a tombstone, that is the key b'r1' without a value, to partition 0" in advice(b"r1")


@pytest.mark.parametrize("key", [POSITION_KEY, RESOLVED + b"r1"])
def test_a_resolution_and_the_position_may_not_be_deleted(key: bytes) -> None:
    text = advice(key)
    assert "write a tombstone" not in text
    assert f"restore the topic from a copy: a tombstone for the key {key!r} would change the state" in text
