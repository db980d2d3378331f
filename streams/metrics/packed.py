"""Several whole numbers in one: their sums are added, taken back and merged by a single addition.

Python's integers have no limit, so fields lie side by side, each wide enough for any sum. The fields are signed:
a sum that is taken back further than it was added (a correction of what a cut log no longer holds) spoils no
neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence


class Fields:
    """The layout.

    Parameters
    ----------
    widths
        Of the fields, in bits with the sign, the first in the lowest.

    Examples
    --------
    >>> fields = Fields(8, 8)
    >>> fields.unpack(fields.pack(3, 5) - fields.pack(4, 1))
    [-1, 4]
    """

    def __init__(self, *widths: int) -> None:
        self._widths = widths
        self.shifts: Sequence[int] = [sum(widths[:at]) for at in range(len(widths))]
        """Where each field begins, in bits."""

    def pack(self, *values: int) -> int:
        """Return one number for all."""
        return sum(value << shift for value, shift in zip(values, self.shifts, strict=True))

    def unpack(self, packed: int) -> list[int]:
        """Return the fields."""
        found = []
        for width in self._widths:
            value = packed & ((1 << width) - 1)
            if value >> (width - 1):
                value -= 1 << width
            found.append(value)
            packed = (packed - value) >> width
        return found
