"""Consumers of `T.predictions`: a group's, and one that sees all new predictions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from infra.client.contract import Contract
from infra.kafka.connection import Connection
from schemas.errors import BrokerError, UsageError

TIMEOUT_S = 10.0


class Predictions:
    """The predictions of a consumer group; for one thread at a time.

    Parameters
    ----------
    contract
        The task's exported contract.
    connection
        The cluster.
    group
        The consumer group.
    """

    def __init__(self, contract: Contract, connection: Connection, group: str) -> None:
        self._contract = contract
        self._consumer = Consumer(
            connection.config(
                **{
                    "group.id": group,
                    "isolation.level": contract.isolation_level,
                    "auto.offset.reset": "earliest",
                    "enable.auto.offset.store": False,
                }
            )
        )
        self._consumer.subscribe([contract.topic("predictions")])
        self._last: Message | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def next(self, wait_s: float) -> dict[str, Any] | None:
        """Return the next prediction, or None after `wait_s` seconds without one.

        Raises
        ------
        BrokerError
            The cluster rejects the consumer.
        UsageError
            The export lacks the schema of the prediction.
        """
        message = self._consumer.poll(wait_s)
        if message is None:
            return None
        fields = decode(self._contract, message)
        self._last = message
        return fields

    def done(self) -> None:
        """Count the last prediction as read; a restart of the group continues after it."""
        if self._last is not None:
            with suppress(KafkaException):  # the partition went to another member, which reads it again
                self._consumer.store_offsets(self._last)
            self._last = None

    def close(self) -> None:
        """Commit what was read, and leave the group."""
        self._consumer.close()


def open_at_end(contract: Contract, connection: Connection) -> Consumer:
    """Open a consumer that reads every prediction written from now on, without a group's positions.

    Raises
    ------
    BrokerError
        The cluster does not answer, or has no such topic.
    """
    topic = contract.topic("predictions")
    consumer = Consumer(
        connection.config(
            **{
                "group.id": f"{contract.task}.client",  # librdkafka demands one; no offsets are committed
                "isolation.level": contract.isolation_level,
                "enable.auto.commit": False,
            }
        )
    )
    try:
        found = consumer.list_topics(topic, TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise BrokerError(f"{topic}: {found.error}")
        places = [TopicPartition(topic, number) for number in found.partitions]
        for place in places:
            # Now, not when the consumer comes to it: an answer could be there by then.
            _, place.offset = consumer.get_watermark_offsets(place, TIMEOUT_S)
        consumer.assign(places)
    except KafkaException as error:
        consumer.close()
        raise BrokerError(f"{topic} cannot be read: {error}") from error
    except BrokerError:
        consumer.close()
        raise
    return consumer


def decode(contract: Contract, message: Message) -> dict[str, Any]:
    """Return the fields of a consumed prediction.

    Raises
    ------
    BrokerError
        The message is an error of the consumer.
    UsageError
        The export lacks its schema.
    """
    if (error := message.error()) is not None:
        raise BrokerError(f"{contract.topic('predictions')} cannot be read: {error}")
    try:
        return contract.decode(message.value() or b"")
    except UsageError as why:
        place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        raise UsageError(f"{place}: {why}") from why
