"""What a store of features does, and the one in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from schemas.feature_row import FeatureRow, RowKey


class Put(IntEnum):
    """What became of a row; the newest event time wins, at equal times the first."""

    OLDER = -1
    SAME_TIME = 0
    TAKEN = 1


class FeatureStore(Protocol):
    """Rows by key. All calls may block; any thread may call."""

    shared: bool
    """Whether workers share it, and its progress along the topic."""

    def read(
        self, keys: Sequence[RowKey], names: Mapping[str, Sequence[str]], timeout_s: float | None = None
    ) -> list[FeatureRow | None]:
        """Read the rows of keys, those values that are named by view; None where there is no row.

        Raises
        ------
        FeaturesUnavailable
            When the store does not answer in time, or refuses.
        """

    def write(self, rows: Sequence[FeatureRow], names: Mapping[str, Sequence[str]]) -> list[Put]:
        """Write rows, each at once for all readers; what a row lacks of the named values becomes missing.

        Raises
        ------
        FeaturesUnavailable
            As `read`; some rows may be written.
        """

    def delete(self, key: RowKey, names: Sequence[str]) -> None:
        """Delete a row, whatever its time."""

    def close(self) -> None:
        """Close connections."""


class MemoryFeatures:
    """The store of one worker, which it fills from the topic at each start."""

    shared = False

    def __init__(self) -> None:
        self._rows: dict[RowKey, FeatureRow] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def read(
        self, keys: Sequence[RowKey], names: Mapping[str, Sequence[str]], timeout_s: float | None = None
    ) -> list[FeatureRow | None]:
        """See `FeatureStore.read`."""
        return [self._rows.get(key) for key in keys]

    def write(self, rows: Sequence[FeatureRow], names: Mapping[str, Sequence[str]]) -> list[Put]:
        """See `FeatureStore.write`; one thread writes."""
        return [self._put(row) for row in rows]

    def _put(self, row: FeatureRow) -> Put:
        there = self._rows.get(row.key)
        if there is not None and there.ts >= row.ts:
            return Put.OLDER if there.ts > row.ts else Put.SAME_TIME
        self._rows[row.key] = row
        return Put.TAKEN

    def delete(self, key: RowKey, names: Sequence[str]) -> None:
        """See `FeatureStore.delete`."""
        self._rows.pop(key, None)

    def close(self) -> None:
        """See `FeatureStore.close`."""
