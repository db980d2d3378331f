"""Who sends requests counts each answer once, whatever happens to its place in the topic."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.pytest_plugin import Broker
from infra.kafka.replay import Answers
from schemas.topics import TaskTopics, topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


def test_a_place_that_is_set_back_counts_nothing_twice_and_passes_nothing_over(
    broker: Broker, task_name: str
) -> None:
    connection, names = Connection(broker.bootstrap), TaskTopics(task_name)
    create_topics(connection, topics(task_name, 2))
    producer = Producer(connection.config())

    def write(count: int) -> None:
        for n in range(count):
            producer.produce(names.predictions, b"not looked at", b"%d" % n, n % 2)
        assert producer.flush(20) == 0

    def wait(answers: Answers, count: int) -> None:
        until = time.monotonic() + 20
        while answers.poll(0.1) < count and time.monotonic() < until:
            pass

    codec: Any = None
    write(5)  # before: they answer somebody else
    answers = Answers(connection, codec, names, 2)
    try:
        write(20)
        wait(answers, 20)
        # As after a broker's restart that seems to have lost the newest records.
        for number in range(2):
            answers._consumer.seek(TopicPartition(names.predictions, number, 0))
        write(10)
        wait(answers, 30)
        time.sleep(0.5)
        assert answers.poll(0.1) == 30
    finally:
        answers.close()
