"""The default picker of a channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from streams.join.merge import CaughtUp, Partition, R


class RoundRobin:
    """Takes from each partition in turn, in offset order."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, buffers: Mapping[Partition, deque[R]], caught_up: CaughtUp, limit: int) -> list[R]:
        """Take up to `limit` records, from each partition about as many; see `Picker.pick`."""
        waiting = [buffer for buffer in buffers.values() if buffer]
        if not waiting:
            return []
        self._turn += 1
        start = self._turn % len(waiting)
        waiting = waiting[start:] + waiting[:start]
        taken: list[R] = []
        while waiting and len(taken) < limit:
            for place, buffer in enumerate(waiting):
                share = max(1, (limit - len(taken)) // (len(waiting) - place))
                count = min(share, len(buffer), limit - len(taken))
                if count == len(buffer):
                    taken.extend(buffer)
                    buffer.clear()
                else:
                    taken.extend([buffer.popleft() for _ in range(count)])
            waiting = [buffer for buffer in waiting if buffer]
        return taken
