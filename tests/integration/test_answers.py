"""Who sends requests counts each answer once, whatever happens to its place in the topic."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from schemas.topics import TaskTopics, topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


class Few:
    """What the tests below share: a topic, and somebody who waits for answers on it."""

    def __init__(self, broker: Broker, task_name: str) -> None:
        self.connection, self.names = Connection(broker.bootstrap), TaskTopics(task_name)
        create_topics(self.connection, topics(task_name, 2))
        self._producer = Producer(self.connection.config())

    def write(self, count: int) -> None:
        for n in range(count):
            self._producer.produce(self.names.predictions, b"not looked at", b"%d" % n, n % 2)
        assert self._producer.flush(20) == 0

    def answers(self) -> Answers:
        codec: Any = None
        return Answers(self.connection, codec, self.names, 2)

    @staticmethod
    def wait(answers: Answers, count: int) -> None:
        until = time.monotonic() + 20
        while answers.poll(0.1) < count and time.monotonic() < until:
            pass


def test_a_client_that_gives_nothing_of_what_is_there_is_replaced(
    broker: Broker, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.answers.SILENCE_S", 0.5)
    few = Few(broker, task_name)
    answers = few.answers()
    try:
        few.write(20)
        few.wait(answers, 20)
        deaf = answers._consumer
        deaf.pause([TopicPartition(few.names.predictions, number) for number in range(2)])
        few.write(10)
        few.wait(answers, 30)
        assert answers.count == 30
        assert answers._consumer is not deaf
        kept = answers._consumer
        few.wait(answers, 31)  # in vain: nothing is there
        assert (answers.count, answers._consumer) == (30, kept)
    finally:
        answers.close()


def test_a_place_that_is_set_back_counts_nothing_twice_and_passes_nothing_over(
    broker: Broker, task_name: str
) -> None:
    few = Few(broker, task_name)
    few.write(5)  # before: they answer somebody else
    answers = few.answers()
    try:
        few.write(20)
        few.wait(answers, 20)
        # As after a broker's restart that seems to have lost the newest records.
        for number in range(2):
            answers._consumer.seek(TopicPartition(few.names.predictions, number, 0))
        few.write(10)
        few.wait(answers, 30)
        time.sleep(0.5)
        assert answers.poll(0.1) == 30
    finally:
        answers.close()
