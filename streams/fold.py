"""A fold consumes the training log's entries in order; it is nothing but the entries that it has seen."""

from __future__ import annotations

from typing import Any, Protocol

from schemas.records import Entry


class Fold(Protocol):
    """An object that consumes entries in order and can be snapshotted."""

    next_offset: int
    """The log offset from which it goes on; entries below it are passed over."""

    def apply(self, offset: int, entry: Entry) -> None:
        """Take one entry. An offset that was taken before changes nothing."""

    def snapshot(self) -> Any:
        """Give the state: an object that `streams.snapshot.dump` can write."""

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
