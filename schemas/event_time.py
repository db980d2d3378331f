"""Which event times a record may have: one rule for every way in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.errors import BadRecord

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Where event time begins, unless a task says otherwise: a time in seconds lies before it, in January 1970."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SINCE_S, UNTIL_S = 946_684_800, 4_102_444_800
"""2000 and 2100, in s since 1970."""
UNITS: Final = (("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9))


def hint(ts: int) -> str:
    """Say which unit a time seems to have, where it is a time of this century in another one than ms.

    Examples
    --------
    >>> hint(1_700_000_000), hint(1_700_000_000_000_000)
    ('; send milliseconds instead of seconds', '; send milliseconds instead of microseconds')
    >>> hint(1_700_000_000_000), hint(0)
    ('', '')
    """
    for unit, in_a_second in UNITS:
        if SINCE_S <= ts // in_a_second < UNTIL_S:
            return f"; send milliseconds instead of {unit}"
    return ""


def millis_of(moment: datetime) -> int:
    """Give a moment in ms since 1970-01-01 UTC.

    Examples
    --------
    >>> millis_of(EARLIEST)
    946684800000
    """
    span = moment - EPOCH
    return (span.days * 86_400 + span.seconds) * 1000 + span.microseconds // 1000


def shown(ts: int) -> str:
    """Give a time for people.

    Examples
    --------
    >>> shown(946_684_800_000)
    '2000-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(ts // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def before(ts: int, earliest_ms: int) -> str:
    """Say that a time lies before the earliest one.

    Examples
    --------
    >>> before(5, 946_684_800_000)
    'ts=5 is before 2000-01-01T00:00:00Z, the earliest time that the task accepts'
    """
    return f"ts={ts} is before {shown(earliest_ms)}, the earliest time that the task accepts{hint(ts)}"


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """The event times that a task takes.

    Parameters
    ----------
    earliest_ms
        The first one, in ms since 1970-01-01 UTC.
    max_ahead_ms
        How far one may lie ahead of its record's arrival.

    Examples
    --------
    >>> bounds = TimeBounds(946_684_800_000, 300_000)
    >>> bounds.check(1_700_000_000_000, 1_700_000_000_000)
    >>> bounds.check(1_700_000_000, 1_700_000_000_000)
    Traceback (most recent call last):
    ...
    schemas.errors.BadRecord: ts=1700000000 is before 2000-01-01T00:00:00Z, the earliest time that the task \
accepts; send milliseconds instead of seconds
    """

    earliest_ms: int
    max_ahead_ms: int

    def check(self, ts: int, arrived: int) -> None:
        """Reject a time that cannot be meant: one wrong clock must not expire everybody, nor a wrong unit be lost.

        Parameters
        ----------
        ts
            Of the record.
        arrived
            When it arrived (ms).

        Raises
        ------
        BadRecord
            `impossible_time`, with the unit that the time seems to have.
        """
        if self.earliest_ms <= ts <= arrived + self.max_ahead_ms:
            return
        if ts < self.earliest_ms:
            why = before(ts, self.earliest_ms)
        else:
            ahead = timedelta(milliseconds=self.max_ahead_ms)
            why = f"ts={ts} is more than {ahead} after its arrival, {arrived}{hint(ts)}"
        raise BadRecord("impossible_time", why, "ts")
