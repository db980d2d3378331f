"""The rows of a person on `T.features`: found by the keys that look-ups read, and deleted by tombstones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from infra.features.filler import send_tombstones
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from schemas.errors import BadRecord
from schemas.feature_row import RowKey, decode_key
from streams.lookup import ENTITY_KEY, Lookup


class FeatureRows:
    """Rows of one task.

    Parameters
    ----------
    partitions
        Of the topic.
    personal
        Names of the request's fields that may name a person.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        partitions: int,
        lookups: Sequence[Lookup],
        personal: Collection[str],
    ) -> None:
        self._connection, self._topic, self._partitions = connection, topic, partitions
        self._views = {each.view for each in lookups}
        self._personal = {
            (each.view, join_key)
            for each in lookups
            for join_key, name in each.keys.items()
            if name == ENTITY_KEY or name in personal
        }

    def of(self, subject: str) -> list[RowKey]:
        """Return the rows that the topic has of a person (blocks)."""
        found: dict[RowKey, None] = {}
        for key, there in self._records():
            if not any(
                str(value) == subject and self._is_personal(key.view, name) for name, value in key.entity
            ):
                continue
            if there:
                found[key] = None
            else:
                found.pop(key, None)
        return [*found]

    def delete(self, keys: Sequence[RowKey]) -> None:
        """Delete rows: workers take them out of their stores as they read it (blocks)."""
        send_tombstones(self._connection, self._topic, keys)

    def _is_personal(self, view: str, join_key: str) -> bool:
        # Of a view that the task had once, nobody knows what its keys are.
        return view not in self._views or (view, join_key) in self._personal

    def _records(self) -> Iterator[tuple[RowKey, bool]]:
        """Read the keys on the topic, and whether a row lies under each."""
        places = [(self._topic, number) for number in range(self._partitions)]
        for place, end in end_offsets(self._connection, places, committed=False).items():
            for message in read_all(self._connection, *place, None, end):
                try:
                    yield decode_key(message.key()), message.value() is not None
                except BadRecord:
                    continue  # no worker takes it either
