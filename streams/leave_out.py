"""What a revision leaves out: intervals of the training log that its model never learns from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

from schemas.dictionary import Dictionary
from schemas.records import Entry, FeatureValue

KINDS: Final = ("log", "event", "request", "arrival")
"""Log offsets; or the times (ms) of the fact, of its request, and of its arrival in Kafka."""
MOST: Final = 50
"""Intervals of one revision."""
_FORM: Final = re.compile(r"(?:(?P<kind>[a-z]+):)?(?P<first>[0-9].*?)\.\.(?P<last>[0-9].*)\Z", re.DOTALL)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,15}\Z")


class Interval(NamedTuple):
    """An interval of the log, both ends included; of all its entries, or of those with one level of a feature."""

    kind: str
    """Of `KINDS`."""
    first: int
    last: int
    feature: str = ""
    level: str = ""

    def covers(self, offset: int, entry: Entry) -> bool:
        """Whether an entry lies in it."""
        at = self._place(offset, entry)
        if at is None or not self.first <= at <= self.last:
            return False
        if not self.feature:
            return True
        prediction = entry.prediction
        return prediction is not None and is_level(prediction.features.get(self.feature), self.level)

    def _place(self, offset: int, entry: Entry) -> int | None:
        if self.kind == "log":
            return offset
        if self.kind == "event":
            return entry.ts
        if self.kind == "arrival":
            return entry.arrived
        return None if entry.prediction is None else entry.prediction.ts

    def __str__(self) -> str:
        if self.kind == "log":
            text = f"log offsets {self.first}..{self.last}"
        else:
            text = f"{self.kind} times {_when(self.first)}..{_when(self.last)}"
        return f"{text} where {self.feature}={self.level}" if self.feature else text


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """The intervals that a revision leaves out; none of most revisions.

    Examples
    --------
    >>> found = LeaveOut.parse(["100..200"], "country=PRT")
    >>> print(found, "and", LeaveOut.parse(["2016-03-01..2016-03-02"]))
    log offsets 100..200 where country=PRT and event times 2016-03-01T00:00:00Z..2016-03-02T23:59:59.999Z
    >>> LeaveOut.read(found.text) == found
    True
    """

    intervals: tuple[Interval, ...] = ()
    text: str = field(init=False, default="")
    """The canonical form, which is a part of the revision's identity; empty for no interval."""

    def __post_init__(self) -> None:
        rows = [list(each) for each in self.intervals]
        text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False) if rows else ""
        object.__setattr__(self, "text", text)

    def covers(self, offset: int, entry: Entry) -> bool:
        """Whether an entry of the log is left out."""
        return any(each.covers(offset, entry) for each in self.intervals)

    def __bool__(self) -> bool:
        return bool(self.intervals)

    def __str__(self) -> str:
        return ", ".join(map(str, self.intervals))

    @classmethod
    def parse(cls, intervals: Iterable[str], where: str = "") -> Self:
        """Read what a person gives.

        Parameters
        ----------
        intervals
            Each `FROM..TO`: log offsets, or event times as ISO 8601 dates or times in UTC. `request:` or
            `arrival:` before it means other times. A day as the end is meant whole.
        where
            `FEATURE=LEVEL`: only entries of requests with that level. Empty: all.

        Raises
        ------
        ValueError
            Saying which part is wrong.
        """
        feature, equals, level = where.partition("=")
        if where and not (feature and equals and level):
            raise ValueError(f"{where!r:.80} is not FEATURE=LEVEL, for example country=PRT")
        found = [_interval(each, feature, level) for each in intervals]
        if where and not found:
            raise ValueError("--where needs an interval in which it holds: --leave-out FROM..TO")
        if len(found) > MOST:
            raise ValueError(f"a revision leaves out at most {MOST} intervals, these are {len(found)}")
        return cls(tuple(sorted(set(found))))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the canonical form.

        Raises
        ------
        ValueError
            It is none.
        """
        if not text:
            return cls()
        try:
            rows = json.loads(text)
        except RecursionError:
            rows = None
        if not isinstance(rows, list) or not 0 < len(rows) <= MOST or not all(map(_is_row, rows)):
            raise ValueError(f"{text!r:.80} is not a list of intervals")
        found = cls(tuple(Interval(*each) for each in rows))
        if found.text != text or tuple(sorted(set(found.intervals))) != found.intervals:
            raise ValueError(f"{text!r:.80} is not the canonical form of its intervals")
        return found

    def check(self, features: Dictionary) -> None:
        """Check that the features are in a task's dictionary, in plain.

        Raises
        ------
        ValueError
            Naming the feature.
        """
        for each in self.intervals:
            if each.feature and each.feature not in features.by_name:
                raise ValueError(f"the dictionary has no feature {each.feature!r:.80}")
            if each.feature and features.by_name[each.feature].personal_data != "none":
                raise ValueError(f"{each.feature} is personal data, of which the log has no levels")


NOTHING: Final = LeaveOut()


def is_level(value: FeatureValue | None, level: str) -> bool:
    """Whether a feature's value is a level, as text.

    Examples
    --------
    >>> is_level("PRT", "PRT"), is_level(True, "true"), is_level(2.0, "2"), is_level(None, "")
    (True, True, True, False)
    """
    if isinstance(value, bool):
        return level == ("true" if value else "false")
    if isinstance(value, int | float):
        try:
            return float(level) == value
        except ValueError:
            return False
    return value is not None and value == level


def _interval(text: str, feature: str, level: str) -> Interval:
    found = _FORM.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r:.80} is not an interval: FROM..TO, for example 1000..2000")
    numbers = bool(_NUMBER.match(found["first"]) and _NUMBER.match(found["last"]))
    kind = found["kind"] or ("log" if numbers else "event")
    if kind not in KINDS or (kind == "log" and not numbers):
        raise ValueError(
            f"{text!r:.80}: an interval is of one of {', '.join(KINDS)}; log offsets are numbers"
        )
    first, last = (
        (int(found["first"]), int(found["last"]))
        if numbers
        else (_time(found["first"]), _time(found["last"], end=True))
    )
    if last < first:
        raise ValueError(f"{text!r:.80} ends before it begins")
    return Interval(kind, first, last, feature, level)


def _time(text: str, *, end: bool = False) -> int:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r:.40} is not an ISO 8601 date or time, such as 2026-03-01T14:00") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    if end and _DAY.match(text.strip()):
        found += timedelta(days=1)
        return round(found.timestamp() * 1000) - 1
    return round(found.timestamp() * 1000)


def _when(ts: int) -> str:
    text = datetime.fromtimestamp(ts / 1000, UTC).isoformat(
        timespec="milliseconds" if ts % 1000 else "seconds"
    )
    return text.replace("+00:00", "Z")


def _is_row(row: object) -> bool:
    types = [str, int, int, str, str]
    return isinstance(row, list) and [type(each) for each in row] == types and row[0] in KINDS
