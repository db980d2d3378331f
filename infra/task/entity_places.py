"""Where requests belong whose aggregates are counted by entity."""

from __future__ import annotations

from infra.kafka.partitioner import partition_of
from infra.task.context import TaskContext
from schemas.records import Request
from streams.aggregates.aggregates import AggregateRules


class EntityPlaces:
    """Says on which partition of requests an entity's aggregates are.

    Parameters
    ----------
    context
        Of a task that has aggregates.
    """

    def __init__(self, context: TaskContext) -> None:
        self.rules, self._partitions = AggregateRules.of(context.task), context.partitions

    def place(self, sent: Request) -> tuple[bytes, int] | None:
        """Return an entity's key and its partition; None: the request names no entity.

        Parameters
        ----------
        sent
            With personal data in plain: the place must not depend on a token, which changes when a person is
            forgotten.
        """
        entity = self.rules.entity(sent)
        if entity is None:
            return None
        key = entity.encode()
        return key, partition_of(key, self._partitions)
