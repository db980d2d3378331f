"""River's Rust types: what their states look like in bytes, checked before one is restored.

Their own reader trusts what it is given: a wrong length ends in a panic or in an allocation without end. So a state
is read here first, field by field, by the layout of its type, and lengths and positions have to agree.

The layouts were read off River 0.26; `tests/unit/test_snapshot_zoo.py` holds them to the installed one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from river import _river_rust as _untyped

from schemas.errors import SnapshotError

MAX_WINDOW: Final = 1 << 24
"""Largest window of a rolling statistic, in values."""


class _Bytes:
    """A state's bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, code: str) -> Any:
        """Read one number; `struct`'s codes."""
        (value,) = struct.unpack_from("<" + code, self._data, self._at)
        self._at += struct.calcsize("<" + code)
        return value

    def doubles(self, count: int) -> None:
        """Read doubles, of any value."""
        if self._at + 8 * count > len(self._data):
            _wrong()
        self._at += 8 * count

    def flag(self) -> None:
        """Read a boolean, which Rust holds to be 0 or 1."""
        if self.take("B") > 1:
            _wrong()

    def up_to(self, most: int, code: str = "Q") -> int:
        """Read a whole number that is not larger than a bound."""
        value: int = self.take(code)
        if value > most:
            _wrong()
        return value

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            _wrong()


def _wrong() -> None:
    raise SnapshotError("its numbers are inconsistent")


def _quantile(data: _Bytes) -> None:
    data.doubles(21)
    data.up_to(5, "B")
    data.flag()


def _iqr(data: _Bytes) -> None:
    _quantile(data)
    _quantile(data)
    data.doubles(2)


def _ew_mean(data: _Bytes) -> None:
    data.doubles(3)
    data.flag()
    data.doubles(1)


def _ew_var(data: _Bytes) -> None:
    for _ in range(2):
        data.doubles(3)
        data.flag()
    data.doubles(2)


def _kurtosis(data: _Bytes) -> None:
    data.flag()
    data.doubles(7)
    data.flag()


def _skew(data: _Bytes) -> None:
    data.doubles(7)
    data.flag()
    data.flag()


def _window(data: _Bytes) -> int:
    """Read the sorted values and those in order of arrival; gives the window's size."""
    count = data.up_to(MAX_WINDOW)
    data.doubles(count)
    if data.up_to(MAX_WINDOW) != count:
        _wrong()
    data.doubles(count)
    size = data.up_to(MAX_WINDOW)
    if count > size:
        _wrong()
    return size


def _rank(data: _Bytes, size: int) -> None:
    if data.take("Q") != size:
        _wrong()
    data.up_to(size)
    data.up_to(size)
    data.doubles(1)


def _rolling_quantile(data: _Bytes) -> None:
    size = _window(data)
    data.doubles(1)
    _rank(data, size)
    data.doubles(1)
    if data.take("Q") != size:
        _wrong()


def _rolling_iqr(data: _Bytes) -> None:
    size = _window(data)
    data.doubles(2)
    _rank(data, size)
    data.up_to(size)
    data.up_to(size)
    data.doubles(3)
    if data.take("Q") != size:
        _wrong()


def _scores(data: _Bytes) -> None:
    positive, size = data.take("i"), data.up_to(MAX_WINDOW)
    positives = data.up_to(size)
    data.take("Q")
    count = data.up_to(size)
    seen = 0
    for part in range(2):
        if part and data.take("Q") != count:
            _wrong()
        for _ in range(count):
            data.doubles(1)
            seen += data.take("I") >> 31
    if seen != 2 * positives or data.take("i") != positive or data.take("Q") != size:
        _wrong()


def _adwin(data: _Bytes) -> None:
    data.doubles(1)
    clock, buckets = data.up_to(0xFFFFFFFF, "I"), data.up_to(MAX_WINDOW)
    data.doubles(6)
    for _ in range(4):  # counts of buckets, their maximum, ticks, detections
        data.take("I")
    rows = data.up_to(64)
    if rows < 1:
        _wrong()
    for _ in range(rows):
        if data.take("Q") != buckets:
            _wrong()
        data.up_to(buckets + 1)
        for _ in range(2):  # totals and variances
            if data.take("Q") != buckets + 1:
                _wrong()
            data.doubles(buckets + 1)
    data.doubles(1)
    if (data.take("I"), data.take("Q")) != (clock, buckets):
        _wrong()
    data.take("I")
    data.take("I")


_river_rust: Final[Any] = _untyped
_stats: Final = _river_rust.stats
_LAYOUTS: Final[dict[Any, tuple[str, Callable[[_Bytes], None]]]] = {
    _stats.RsQuantile: ("", _quantile),
    _stats.RsIQR: ("dd", _iqr),
    _stats.RsEWMean: ("d", _ew_mean),
    _stats.RsEWVar: ("d", _ew_var),
    _stats.RsKurtosis: ("?", _kurtosis),
    _stats.RsSkew: ("?", _skew),
    _stats.RsPeakToPeak: ("", lambda data: data.doubles(2)),
    _stats.RsRollingQuantile: ("dn", _rolling_quantile),
    _stats.RsRollingIQR: ("ddn", _rolling_iqr),
    _stats.RsRollingROCAUC: ("in", _scores),
    _stats.RsRollingPRAUC: ("in", _scores),
    _river_rust.drift.AdaptiveWindowing: ("dnnnn", _adwin),
}
"""By class: the types of its constructor's arguments (d a double, n a size, i a number, ? a flag), its layout."""
CLASSES: Final = tuple(_LAYOUTS)


def make(cls: Any, values: list[Any]) -> Any:
    """Make a Rust object in a state.

    Raises
    ------
    SnapshotError
        When the arguments or the bytes are not those of the class.
    """
    if cls not in _LAYOUTS:
        raise SnapshotError(f"the snapshot has a compiled {cls!r:.60}, which is not supported")
    codes, layout = _LAYOUTS[cls]
    *arguments, state = values
    try:
        fit = len(arguments) == len(codes) and all(
            _fits(*pair) for pair in zip(arguments, codes, strict=True)
        )
        if not fit or type(state) is not bytes:
            raise SnapshotError(f"its arguments are {arguments!r:.60}")
        data = _Bytes(state)
        layout(data)
        data.end()
    except (SnapshotError, struct.error) as error:
        raise SnapshotError(f"the snapshot has a damaged {cls.__qualname__}: {error}") from error
    made = cls(*arguments)
    made.__setstate__(state)
    return made


def _fits(value: Any, code: str) -> bool:
    if code == "d":
        return type(value) in {float, int} and abs(value) < 1e300
    if code == "?":
        return type(value) is bool
    return type(value) is int and (0 if code == "n" else -(1 << 31)) <= value <= MAX_WINDOW
