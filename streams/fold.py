"""A fold consumes the training log's entries in order; it is nothing but the entries that it has seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

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


@dataclass(frozen=True, slots=True)
class Measurement:
    """A current value of a monitor; with its place in the log it becomes a `Metric`."""

    name: str
    """As in docs/reference/metrics.md, for example `log_loss`."""
    value: float
    unit: str
    """`ratio`, `nats`, `seconds`, `count`, or `outcome`: that of the outcome itself."""
    count: int
    """Resolutions (or records) that it rests on."""
    model: str = ""
    """Empty for a measurement of the loop."""
    version: str = ""
    """The version that it is about; empty: all versions of the model."""
    role: Literal["served", "shadow", "loop"] = "loop"
    window: str = "all"
    """What of the stream it covers: `all`, or a window's name, as in docs/reference/metrics.md."""
    segment: str = ""
    """`feature=level`, or the signal's name; empty: not split."""


class Monitor(Fold, Protocol):
    """A fold of the log that the owner publishes from: metrics, detectors, checks of the features.

    The owner runs those of `streams.monitors`. Its state is in every snapshot of the metrics, and what it
    gives is published in the transaction that commits the owner's offset of the log: the same log gives the
    same measurements and the same alerts at the same offsets, once, whoever the owner is.
    """

    @property
    def name(self) -> str:
        """Unique within the task; its key in the snapshot of the metrics, and the key of its records."""

    @property
    def spec(self) -> str:
        """What fixes the meaning of its state, as text: a snapshot with another one is not restored."""

    def measurements(self) -> Iterator[Measurement]:
        """Give the current values. Changes nothing."""

    def alerts(self) -> Iterator[Any]:
        """Give the alerts that the entries applied since the last call have raised, in their order, once.

        The owner drains it after each entry, so an alert carries that entry's offset. Alerts that were not
        drained are not part of the snapshot: refolding silently up to the committed offset drops them.
        """
