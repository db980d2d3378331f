"""Requests of a chained task: each prediction of the task before gives one of `T.requests`, or a dead letter."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Message

from infra.inbound import CHAINED, Inbound
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import OutRecord
from infra.past import PastSchemas
from infra.task.context import TaskContext
from infra.task.foreign_topics import ForeignTopics
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.codec import Codec
from schemas.topics import TaskTopics
from streams.aggregates.aggregates import request_key
from streams.chain import After
from streams.topology import AFTER


def upstream_codec(
    after: After, connection: Connection, registry: str = "", registry_properties: Sequence[str] = ()
) -> Codec:
    """Return what reads the predictions of the task before, also those of its earlier revisions (blocks).

    Parameters
    ----------
    registry, registry_properties
        The schema registry whose framing they may have; empty: none.

    Raises
    ------
    BrokerError
        `T.control` of that task cannot be read.
    TaskError
        A feature of it has another type than before.
    """
    codec = after.task.codec()
    if registry:
        from infra.registry.registry import Registry  # noqa: PLC0415  not imported without a registry
        from infra.registry.setup import client_of  # noqa: PLC0415

        codec.reader.unframe = Registry(client_of(registry, registry_properties), codec, blocks=True).unframe
    PastSchemas(codec, connection, TaskTopics(after.task.name)).learn_all()
    return codec


class ChainedRequests(ForeignTopics):
    """Writes the requests that the predictions of the task before give.

    Parameters
    ----------
    codec
        Reads the predictions; see `upstream_codec`.
    """

    role = AFTER.name
    made, ignored = "requests_chained", ""

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        turns: Turns,
        statistics: Statistics,
        codec: Codec,
        max_batch: int,
    ) -> None:
        after = context.task.after
        assert after is not None
        self._after, self._codec, self._key = after, codec, request_key(context.task)
        super().__init__(context, readiness, turns, statistics, [after.topic], max_batch)

    def record(self, message: Message) -> OutRecord:
        """Return the request of a prediction."""
        context = self._context
        prediction = self._codec.decode_prediction(message.value())
        request = self._after.request(prediction, context.task.features)
        key = (self._key(request) or request.request_id).encode()
        at = Inbound(message, None, None).at
        return OutRecord(
            context.topics.requests,
            key,
            context.codec.encode(request),
            partition_of(key, context.partitions),
            [(CHAINED, str(at).encode())],
        )
