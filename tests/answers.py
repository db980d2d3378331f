"""Answers whose predictions a test reads."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Message

from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from schemas.codec import Codec
from schemas.records import Prediction
from schemas.topics import TaskTopics


class SeenAnswers(Answers):
    """Calls a function with each prediction."""

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topics: TaskTopics,
        partitions: int,
        seen: Callable[[Prediction], None],
    ) -> None:
        super().__init__(connection, codec, topics, partitions)
        self._seen = seen

    def take(self, message: Message) -> None:
        """Count an answer, and pass on a prediction."""
        super().take(message)
        if message.topic() == self._topics.predictions:
            self._seen(self._codec.decode_prediction(message.value()))
