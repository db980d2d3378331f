"""The records of a task's next transaction: requests, and predictions merged with outcomes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from infra.kafka.round_robin import RoundRobin
from streams.join.merge import CaughtUp, MergeByTime, Partition, R

T = TypeVar("T")
BUDGET_S: Final = 0.05
"""Time for serving, and for joining, in one transaction (s): an answer does not wait for a long join, nor a label
for slow answers."""


class Intake:
    """Pick requests, while they can be served, then predictions and outcomes in event-time order.

    A `streams.join.merge.Picker`. Where requests are left for a later turn, as after an outage, outcomes from the
    first one's event time on wait for it: otherwise they would fill the join's room for early outcomes, although
    their requests lie on the topic.

    Parameters
    ----------
    may_serve
        Whether requests can be served now; otherwise they wait, and joining continues.
    pace_s
        Minimum time between two merges while there are requests (s): a transaction without a merge is shorter.
    """

    def __init__(
        self,
        requests: str,
        outcomes: str,
        merge: MergeByTime,
        may_serve: Callable[[], bool],
        pace_s: float = 0.0,
    ) -> None:
        self._requests, self._outcomes, self._merge = requests, outcomes, merge
        self._may_serve, self._pace_s = may_serve, pace_s
        self._fair = RoundRobin()
        self._merged_at = -math.inf

    def pick(self, buffers: Mapping[Partition, deque[R]], caught_up: CaughtUp, limit: int) -> list[R]:
        """Take up to `limit` records of each kind; see `Picker.pick`."""
        taken: list[R] = []
        requests = {each: queue for each, queue in buffers.items() if each[0] == self._requests}
        if self._may_serve():
            taken = self._fair.pick(requests, caught_up, limit)
        left = [ts for queue in requests.values() if queue and (ts := queue[0].ts) is not None]
        now = time.monotonic()
        if taken and now < self._merged_at + self._pace_s:
            return taken
        self._merged_at = now
        wait_from = {self._outcomes: min(left)} if left else {}
        return taken + self._merge.pick(buffers, caught_up, limit, wait_from)


class WithinBudget(Generic[T]):
    """Give items until `BUDGET_S` has passed since the first, and at least one.

    Attributes
    ----------
    count
        Number of items given.

    Examples
    --------
    >>> items = WithinBudget("abc")
    >>> "".join(items), items.count
    ('abc', 3)
    """

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[T]:
        until = time.monotonic() + BUDGET_S
        for item in self._items:
            self.count += 1
            yield item
            if time.monotonic() > until:
                return
