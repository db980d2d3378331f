"""Values over time in bounded memory: when there are too many rows every second one goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST: Final = 480
"""Rows that are kept: about two points per three pixels of a wide chart."""

Row = tuple[int, int, dict[str, float]]
"""Published at (ms), event time (ms), values by column."""


class History:
    """Rows of values by column, each with the time at which it was published and the event time that it covers.

    Rows are spread evenly over all that was seen: after each halving only every second, fourth, … one is kept,
    and the newest of all is always there.

    Parameters
    ----------
    most
        Rows that are kept, 4 or more.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.rows: list[Row] = []
        self._every = 1
        self._added = 0

    def add(self, at: int, ts: int, values: Mapping[str, float]) -> None:
        """Add a row; times are ms, `at` does not fall.

        Examples
        --------
        >>> history = History(most=4)
        >>> for at in range(10):
        ...     history.add(at, at, {"x": float(at)})
        >>> [at for at, _, _ in history.rows]
        [0, 4, 8, 9]
        """
        row = (at, ts, {name: float(f"{value:.6g}") for name, value in values.items()})
        if self._added and (self._added - 1) % self._every:
            self.rows[-1] = row  # the newest one did not fall on a place that is kept
        else:
            self.rows.append(row)
        self._added += 1
        if len(self.rows) > self.most:
            self._every *= 2
            self.rows = self.rows[::2]
            if self.rows[-1] is not row:
                self.rows.append(row)

    def columns(self) -> dict[str, Any]:
        """Return the rows as one list per column, in JSON's types; a value that a row lacks is None."""
        names = sorted({name for _, _, values in self.rows for name in values})
        return {
            "at": [at for at, _, _ in self.rows],
            "ts": [ts for _, ts, _ in self.rows],
            "values": {name: [values.get(name) for _, _, values in self.rows] for name in names},
        }
