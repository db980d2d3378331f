"""Resolved requests that are too young to count, by cohorts of their time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

from schemas.records import ScoreValue, Value

Who = tuple[tuple[str, int], ...]
"""Model and revision of each score; the first has answered."""
Extra = tuple[float, str, int, tuple[str, ...]]
"""Share with which the model that answers was drawn, the entity's key, the log offset that the worker had applied,
levels of the segments."""
Item = tuple[int, int, Who, tuple[ScoreValue, ...], Value, bool, Extra | None]
"""Event time of the request, offset of its newest entry, who scored, the scores, the label (None: none), whether
silence is the label, and what guardrails and shares need."""
COHORTS: Final = 30
"""Cohorts that fill a horizon, where they are not longer than a day."""
DAY_MS: Final = 86_400_000
TIME: Final = itemgetter(0)
OFFSET: Final = itemgetter(1)


def width(horizon_ms: int) -> int:
    """Return the width of a cohort, in ms.

    Examples
    --------
    >>> width(30 * DAY_MS) / DAY_MS, width(800 * DAY_MS) / DAY_MS, width(6_000)
    (1.0, 1.0, 200)
    """
    return max(1, min(DAY_MS, horizon_ms // COHORTS))


class Held:
    """Requests by cohort. Beyond `most` only a part of all is held, drawn by the request id, so cohorts stay whole.

    Parameters
    ----------
    width_ms
        Of a cohort.
    """

    def __init__(self, width_ms: int, most: int) -> None:
        self.width_ms, self.most = width_ms, most
        self.cohorts: dict[int, dict[str, Item]] = {}
        """By the event time of their beginning, then by request id."""
        self.count = 0
        self.halvings = 0
        """Of 2 ** halvings requests one is held."""

    def drawn(self, request_id: str) -> bool:
        """Whether a request is among those that are held."""
        return not crc32(request_id.encode()) & ((1 << self.halvings) - 1)

    def thin(self) -> None:
        """Hold half of what is held."""
        self.halvings += 1
        for cohort in self.cohorts.values():
            for request_id in [each for each in cohort if not self.drawn(each)]:
                del cohort[request_id]
        self.count = sum(map(len, self.cohorts.values()))

    def due(self, before: int) -> Iterator[tuple[int, list[Item]]]:
        """Take out the cohorts that end by an event time (ms), the oldest first, with their beginnings."""
        for start in sorted(each for each in self.cohorts if each + self.width_ms <= before):
            items = self.cohorts.pop(start)
            self.count -= len(items)
            yield start, sorted(items.values(), key=TIME)

    def snapshot(self) -> Any:
        """Return the state: plain data, who scored named once."""
        names: dict[Who, int] = {}
        cohorts = []
        for start, items in self.cohorts.items():
            rows = [
                [
                    request_id,
                    ts,
                    offset,
                    names.setdefault(who, len(names)),
                    list(values),
                    label,
                    silent,
                    extra,
                ]
                for request_id, (ts, offset, who, values, label, silent, extra) in items.items()
            ]
            cohorts.append([start, rows])
        return [self.halvings, [[list(each) for each in who] for who in names], cohorts]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        self.halvings, names, cohorts = state
        whos = [tuple((model, revision) for model, revision in who) for who in names]
        self.cohorts = {
            start: {
                row[0]: (row[1], row[2], whos[row[3]], tuple(row[4]), row[5], row[6], row[7]) for row in rows
            }
            for start, rows in cohorts
        }
        self.count = sum(map(len, self.cohorts.values()))
