"""Questions for the ends of partitions while a cluster elects leaders."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from infra.kafka import offsets
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError

PLACE = ("t", 0)


class Electing:
    """A client whose cluster has a partition without a leader, the first times that it is asked."""

    def __init__(self, times: int, has: bool = True, answers: bool = True) -> None:
        self.times, self.has, self.answers = times, has, answers

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.times:
            self.times -= 1
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return [TopicPartition(place.topic, place.partition, 7) for place in asked]

    def list_topics(self, timeout: float) -> Any:
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None})} if self.has else {})

    def close(self) -> None:
        """Has nothing to close."""


def asked(monkeypatch: pytest.MonkeyPatch, client: Electing) -> dict[tuple[str, int], int]:
    """Ask this client."""
    monkeypatch.setattr(offsets, "Consumer", lambda *_args, **_named: client)
    return end_offsets(Connection("127.0.0.1:1"), [PLACE])


def test_a_partition_without_a_leader_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, Electing(2)) == {PLACE: 7}


def test_a_cluster_that_cannot_say_what_it_has_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, Electing(1, answers=False)) == {PLACE: 7}


def test_a_topic_that_is_not_there_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokerError, match="the offsets of t/0 are unknown"):
        asked(monkeypatch, Electing(2, has=False))
