"""Silence: stream time advances where nothing arrives and something falls due."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from infra.task.join import REPORT_S, JoinAgent

MARKS_S: Final = 10.0
"""Shortest time between two notes that a silent partition was read past the marks of transactions."""


class Silence:
    """Moves the joins of partitions that are read to their ends. Their outputs are the join agent's.

    Parameters
    ----------
    idle_ms
        Stream time advances in partitions that are silent for this long.
    """

    def __init__(self, join: JoinAgent, idle_ms: int) -> None:
        self._join, self._idle_ms = join, idle_ms

    def advance(self, quiet: Iterable[int], moved: set[int], waiting: Mapping[int, int]) -> Iterator[None]:
        """Advance stream time in silent partitions where something falls due, in steps as in `steps`.

        Stream time is then the highest ts taken plus the time elapsed since, never the clock itself: a replay
        of last year would jump.

        Parameters
        ----------
        quiet
            Partitions whose predictions are known to be caught up.
        moved
            Gets those that moved, and were not given up meanwhile.
        waiting
            By partition: event time (ms) of the next outcome, where one waits. Stream time does not pass it.
        """
        self._join.dead_letters.clear()
        now = time.monotonic()
        for number in quiet:
            at = self._join.partitions.get(number)
            if at is None or at.quiet_from < 0:
                continue
            elapsed_ms = int((now - at.quiet_since) * 1000)
            stream_time = at.quiet_from + elapsed_ms
            stream_time = min(stream_time, waiting.get(number, stream_time))
            report_is_due = now - at.reported_at > REPORT_S
            if elapsed_ms >= self._idle_ms and (at.join.is_due(stream_time) or report_is_due):
                at.reported_at = now
                for _ in at.join.idle_steps(stream_time):
                    yield
                    if self._join.partitions.get(number) is not at:
                        break
                else:
                    moved.add(number)

    def pass_marks(self, predictions: Mapping[int, int], outcomes: Mapping[int, int]) -> set[int]:
        """Note that partitions are read to behind the marks of transactions; gives those that moved.

        Else a silent partition of which retention has deleted all would seem to have lost records unread.

        Parameters
        ----------
        predictions, outcomes
            By partition: the offset up to which everything is worked off.
        """
        now, moved = time.monotonic(), set()
        for number, at in self._join.partitions.items():
            further = (
                max(at.predictions, predictions.get(number, 0)),
                max(at.outcomes, outcomes.get(number, 0)),
            )
            if further > (at.predictions, at.outcomes) and now - at.marks_at > MARKS_S:
                at.predictions, at.outcomes = further
                at.marks_at = now
                moved.add(number)
        return moved
