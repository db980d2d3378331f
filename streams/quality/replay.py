"""Quality of requests at hand, in memory: for tests, for history, and to see what a task's dictionary would say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.alert import Alert
from schemas.records import Request
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor


def replay(
    monitor: QualityMonitor, requests: Iterable[Request], batch: int = 1000, *, partition: int = 0
) -> Iterator[Alert]:
    """Count requests as a worker does, fold the tallies as the owner does; returns the alerts.

    Parameters
    ----------
    monitor
        Where the tallies go.
    requests
        Canonical, in the order in which they would come.
    batch
        So many are counted together.
    partition
        On which they lie.
    """
    counter = EdgeCounter(monitor.dictionary, "replay")
    offset = monitor.next_offset
    waiting = 0

    def fold() -> Iterator[Alert]:
        nonlocal offset
        for tally in counter.tallies():
            monitor.apply(offset, tally)
            offset += 1
            yield from monitor.alerts()
        counter.commit()

    for request in requests:
        counter.answered(partition, request)
        waiting += 1
        if waiting == batch:
            waiting = 0
            yield from fold()
    yield from fold()
    monitor.flush()
    yield from monitor.alerts()
