from __future__ import annotations

import sys

import pytest
from confluent_kafka import Consumer

from infra.kafka.membership import MAGIC, generation_and_member, is_member
from schemas.errors import BrokerError


def metadata(generation: int, member: str) -> bytes:
    return MAGIC + generation.to_bytes(4, sys.byteorder, signed=True) + b"group\0" + member.encode() + b"\0\0"


def test_metadata_that_the_broker_would_not_check_is_never_used() -> None:
    assert is_member(metadata(0, "me"))
    assert not is_member(metadata(-1, ""))
    assert not is_member(metadata(-1, "me"))
    assert not is_member(metadata(3, ""))


def test_librdkafka_still_writes_the_form_that_is_read() -> None:
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "a group", "log_level": 0})
    found = consumer.consumer_group_metadata()
    consumer.close()
    assert generation_and_member(found) == (-1, "")


def test_another_form_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(BrokerError, match="unknown form"):
        is_member(b"CGMDv3:whatever")
