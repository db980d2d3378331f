"""Runs of records that the native core takes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from infra.inbound import Inbound
from streams.join.join import RUN


def runs(
    items: Iterable[Inbound], most: Callable[[], int] = lambda: RUN
) -> Iterator[tuple[int, list[Inbound]]]:
    """Cut a batch into runs of one partition, of records that are scanned, or of a single one that is not.

    Parameters
    ----------
    most
        Returns how many records the next run has, at most.
    """
    run: list[Inbound] = []
    last, limit = -1, 0
    for item in items:
        number = item.partition
        if run and (item.scanned is None or number != last or len(run) == limit):
            yield last, run
            run = []
        last = number
        if item.scanned is None:
            yield number, [item]
            continue
        limit = limit if run else most()
        run.append(item)
    if run:
        yield last, run
