"""A fold consumes a topic's records in order; it is nothing but the records that it has seen."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from schemas.alert import Alert
from schemas.records import Entry

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class TopicFold(Protocol[Item_contra]):
    """An object that consumes a topic's records in order and can be snapshotted."""

    next_offset: int
    """The offset from which it goes on; records below it are skipped."""

    def apply(self, offset: int, item: Item_contra, /) -> None:
        """Take one record. An offset that was taken before changes nothing."""

    def snapshot(self) -> Any:
        """Give the state: an object that `streams.snapshot.dump` can write."""

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""


class Fold(TopicFold[Entry], Protocol):
    """A fold of the training log."""


class BaseFold(ABC, Generic[Item]):
    """Common part of the folds: it takes each offset once."""

    next_offset = 0

    def apply(self, offset: int, item: Item, /) -> None:
        """See `TopicFold.apply`."""
        if offset >= self.next_offset:
            self.next_offset = offset + 1
            self._apply(offset, item)

    @abstractmethod
    def _apply(self, offset: int, item: Item) -> None:
        """Take a record that was not taken before."""


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
    monitor: str = ""
    """The monitor's name, where several give the same measurement; its key on `T.metrics` tells it there."""


def by_name(measurements: Iterable[Measurement]) -> dict[str, Any]:
    """Give values by name for a page; where there are several, by model, then by segment or window.

    Examples
    --------
    >>> stale = Measurement("rejected", 1.0, "count", 1, segment="stale")
    >>> by_name([Measurement("waiting", 3.0, "count", 9), stale])
    {'waiting': 3.0, 'rejected': {'stale': 1.0}}
    """
    tree: dict[str, Any] = {}
    for each in measurements:
        if not math.isfinite(each.value):
            continue
        last = each.segment or (each.window if each.window != "all" else "")
        *path, end = (part for part in (each.name, each.model, last) if part)
        into = tree
        for part in path:
            into = into.setdefault(part, {})
        into[end] = each.value
    return tree


class Monitor(TopicFold[Item_contra], Protocol[Item_contra]):
    """A fold that a topic's owner publishes from: metrics, detectors, checks of the features.

    Those of the log are in `streams.monitors`. Its state is in every snapshot of the monitors, and what it
    gives is published in the transaction that commits the owner's offset: the same records give the same
    measurements and the same alerts at the same offsets, once, whoever the owner is.
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

        The owner drains it after each record, so an alert carries that record's offset. Alerts that were not
        drained are not part of the snapshot: refolding silently up to the committed offset drops them.
        """


class BaseMonitor(BaseFold[Item]):
    """Common part of the monitors: it collects the alerts."""

    def __init__(self) -> None:
        self._pending: list[Alert] = []

    def _raise(self, alert: Alert | None) -> None:
        """Add an alert, if there is one, to those of the next call of `alerts`."""
        if alert is not None:
            self._pending.append(alert)

    def alerts(self) -> Iterator[Alert]:
        """See `Monitor.alerts`."""
        pending, self._pending = self._pending, []
        yield from pending
