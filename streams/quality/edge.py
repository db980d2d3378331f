"""The counter at the edge: what a worker answers and rejects, as counts that the owner can add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from schemas.dictionary import Dictionary
from schemas.errors import BadRecord
from schemas.paths import known_paths
from schemas.records import Request
from schemas.remarks import Remark
from schemas.tally import Tally
from streams.native import cells_of
from streams.native.scanned import ScannedRequest
from streams.quality.columns import Columns
from streams.quality.recent_ids import RecentIds
from streams.quality.tally import CELL_MS, Total, bounded, rejection, warning


class EdgeCounter:
    """Counts the requests of a batch.

    What it remembers of a batch, ids and times, holds once the batch is committed; until then it is as if
    the batch had not been seen. So a batch that is read again is counted as it was the first time.

    Parameters
    ----------
    slot
        The worker's stable name.
    way
        How the requests come in.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> counter = EdgeCounter(Dictionary(Number(name="price", low=0)), "worker-1")
    >>> counter.answered(0, Request("a", 60_000, {"price": 3.0}))
    >>> counter.answered(0, Request("b", 61_000, {"price": -1.0}))
    >>> [tally] = counter.tallies()
    >>> tally.features["price"]
    FeatureTally(bins={'3.0': 1, '-1.0': 1}, missing=0, outside=1, total=2.0)
    """

    def __init__(self, dictionary: Dictionary, slot: str, way: Literal["topic", "http"] = "topic") -> None:
        self.slot, self.way = slot, way
        self._columns = Columns(each for each in dictionary if each.personal_data != "left_out")
        self._paths = known_paths(dictionary)
        self._times: dict[int, int] = {}
        self._ids: defaultdict[int, RecentIds] = defaultdict(RecentIds)
        self._begin()

    def _begin(self) -> None:
        self._totals: defaultdict[int, Total] = defaultdict(Total)
        self._rows: defaultdict[int, list[Request | ScannedRequest]] = defaultdict(list)
        self._new_times: dict[int, int] = {}

    def answered(
        self, partition: int, request: Request, written: str = "json", remarks: Iterable[Remark] = ()
    ) -> None:
        """Count a request that got its answer.

        Parameters
        ----------
        partition
            Of the requests' topic.
        request
            Canonical.
        written
            `json`, or the fingerprint of the schema that it was written with.
        remarks
            On fields that nothing reads. Values outside their ranges are counted from the features.
        """
        total = self._totals[request.ts - request.ts % CELL_MS]
        for each in remarks:
            total.warned[bounded(total.warned, warning(each.kind, self._paths))] += 1
        self.answered_many(partition, (request,), written)

    def answered_many(
        self, partition: int, requests: Sequence[Request | ScannedRequest], written: str = "json"
    ) -> None:
        """Count requests of one partition that got their answers; see `answered`."""
        newest, ids = self._new_times.get(partition, self._times.get(partition, -1)), self._ids[partition]
        found = cells_of(requests, newest, CELL_MS, ids.sets) or _cells(requests, newest, ids)
        cells, self._new_times[partition] = found
        start = 0
        for cell, count, disordered, repeated in cells:
            total = self._totals[cell]
            total.requests += count
            total.disordered += disordered
            total.repeated += repeated
            total.written[written if written in total.written else bounded(total.written, written)] += count
            self._rows[cell] += requests[start : start + count]
            start += count

    def rejected(self, partition: int, bad: BadRecord, arrived: int) -> None:
        """Count a request that was rejected: at the time that its partition has come to.

        Parameters
        ----------
        partition
            Of the requests' topic.
        bad
            Why.
        arrived
            When it arrived (ms): its time, where no request has been answered yet.
        """
        ts = self._new_times.get(partition, self._times.get(partition, arrived))
        rejected = self._totals[ts - ts % CELL_MS].rejected
        rejected[bounded(rejected, rejection(bad.reason, bad.field, self._paths))] += 1

    def tallies(self) -> Iterator[Tally]:
        """Return the counts since the last commit, by minute."""
        for cell, total in sorted(self._totals.items()):
            rows = self._rows.get(cell)
            yield total.record(self.slot, self.way, cell, self._columns.count_requests(rows) if rows else {})

    def commit(self) -> None:
        """Keep what was counted: it is written."""
        self._times |= self._new_times
        for ids in self._ids.values():
            ids.commit()
        self._begin()

    def drop(self) -> None:
        """Forget what was counted since the last commit."""
        for ids in self._ids.values():
            ids.drop()
        self._begin()


def _cells(
    requests: Sequence[Request | ScannedRequest], newest: int, ids: RecentIds
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Put requests in cells of event time; see `cells_of`."""
    cells = []
    for cell, group in groupby(requests, lambda request: request.ts - request.ts % CELL_MS):
        count = disordered = repeated = 0
        for request in group:
            count += 1
            if request.ts < newest:
                disordered += 1
            else:
                newest = request.ts
            repeated += ids.add(request.request_id)
        cells.append((cell, count, disordered, repeated))
    return cells, newest
