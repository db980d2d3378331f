"""Contender: a single-purpose loop by hand, with one transaction per batch or with commits after it."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import Consumer, Producer

from tests.benchmarks.compare.job import PREDICTION, Job, written
from tests.benchmarks.compare.run_config import RunConfig

BATCH: Final = 1000
WAIT_S: Final = 0.05
TRANSACTION_S: Final = 30.0


def main(given: RunConfig) -> None:
    """Run until ended."""
    transactional = given.options["transactional"] == "true"
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap,
            "group.id": given.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    settings: dict[str, Any] = {
        "bootstrap.servers": given.bootstrap,
        "linger.ms": 5,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "queue.buffering.max.messages": 1_000_000,
    }
    if transactional:
        # By default librdkafka waits 100 ms when the broker is not done with the transaction before.
        settings |= {"transactional.id": f"{given.group}-0", "retry.backoff.ms": 2}
    producer = Producer(settings)
    if transactional:
        producer.init_transactions(TRANSACTION_S)
    consumer.subscribe([given.requests, given.outcomes])
    loop = Loop(given, producer)
    while True:
        messages = [each for each in consumer.consume(BATCH, WAIT_S) if each.error() is None]
        if not messages:
            continue
        if transactional:
            producer.begin_transaction()
        loop.take(messages)
        if transactional:
            positions = consumer.position(consumer.assignment())
            producer.send_offsets_to_transaction(
                [each for each in positions if each.offset >= 0],
                consumer.consumer_group_metadata(),
                TRANSACTION_S,
            )
            producer.commit_transaction(TRANSACTION_S)
        else:
            producer.flush(TRANSACTION_S)
            consumer.commit(asynchronous=False)


class Loop:
    """Predict, join in two dicts, learn, write."""

    def __init__(self, given: RunConfig, producer: Producer) -> None:
        self.given, self.producer, self.job = given, producer, Job()
        self.waiting: dict[str, dict[str, Any]] = {}
        self.early: dict[str, bool] = {}

    def take(self, messages: list[Any]) -> None:
        """Do a batch."""
        job, waiting, early, given = self.job, self.waiting, self.early, self.given
        produce = self.producer.produce
        for message in messages:
            if message.topic() == given.requests:
                prediction = job.request(message.value())
                request_id = prediction["request_id"]
                produce(given.predictions, written(PREDICTION, prediction), request_id)
                label = early.pop(request_id, None)
                if label is None:
                    waiting[request_id] = prediction
                    continue
            else:
                outcome = job.outcome(message.value())
                request_id, label = outcome["request_id"], outcome["value"]
                found = waiting.pop(request_id, None)
                if found is None:
                    early[request_id] = label
                    continue
                prediction = found
            produce(given.examples, job.example(prediction, label), request_id, 0)
        self.producer.poll(0)
