"""Directional ADWIN: the default detector.

Bifet and Gavalda, "Learning from Time-Changing Data with Adaptive Windowing" (SDM 2007), with two confidences
instead of one. For the worse it needs to be sure, for that raises an alarm. For the better it is easily convinced:
that raises nothing, and only moves the reference to the best that was seen of late, against which a turn for the
worse stands out. On the drifting streams of `python -m tests.benchmarks.drift` the whole set finds more than
River's ADWIN, whose window is emptied by every change; on those without drift it stays below the budget, with more
alarms than River's.
"""

from __future__ import annotations

import math
from typing import Any, Final

from schemas.alert import Evidence
from streams.drift.detector import Change, Direction, Recovery, Worse

CLOCK: Final = 8
"""See `clock`. River's 32 finds the same, some 30 events later, and costs less."""
HUSH: Final = 1_000
BUCKETS: Final = 5
"""Buckets of each size; one more, and the two oldest become one of twice the size."""
EASY: Final = 0.3
"""Confidence for the better."""
LEAST: Final = 4
"""Buckets' worth of numbers before anything is tested."""

Bucket = tuple[float, float]
"""The sum of its numbers, and the sum of their squares."""


class DirectionalAdwin:
    """ADWIN that alarms only for the worse.

    Parameters
    ----------
    delta
        Confidence of each test for the worse, in (0, 1): the smaller, the fewer false alarms.
        `streams.drift.budget` says how many a delta costs.
    worse
        Which way of going is bad.
    span
        The bound is for numbers in a range of 1; they are divided by this first. Nothing is cut off: a few
        numbers beyond the span cost some false alarms, many cost many.
    clock
        Numbers between two tests, and in the smallest bucket, 1 or more.

    Notes
    -----
    Memory and the cost of a test grow with the logarithm of the window: some sixty buckets for a million numbers.

    Examples
    --------
    >>> import random
    >>> rng = random.Random(1)
    >>> detector = DirectionalAdwin(0.002, "up")
    >>> for number in range(4000):
    ...     change = detector.update(rng.random() < (0.1 if number < 2000 or number > 3000 else 0.3))
    ...     if change:
    ...         print(number, change.direction, round(change.evidence.recent, 2))
    2127 up 0.27
    """

    def __init__(
        self, delta: float, worse: Worse = "up", *, hush: int = HUSH, span: float = 1.0, clock: int = CLOCK
    ) -> None:
        self.delta, self.worse, self.span, self.clock = delta, worse, span, clock
        self._easy = max(EASY, delta)
        self._recovery = Recovery(worse, hush)
        self._sum = self._squares = 0.0
        self._count = 0
        self._empty()

    def __repr__(self) -> str:
        return f"DirectionalAdwin(delta={self.delta:.2g}, worse={self.worse!r})"

    def _empty(self) -> None:
        self._rows: list[list[Bucket]] = [[]]
        """By size: row k has buckets of `clock` times 2 to the k numbers, the oldest first."""
        self._width, self._total, self._total_squares = 0, 0.0, 0.0

    def update(self, value: float) -> Change | None:
        """See `Detector.update`."""
        scaled = value / self.span
        self._sum += scaled
        self._squares += scaled * scaled
        self._count += 1
        if self._count < self.clock:
            return None
        self._insert((self._sum, self._squares))
        self._sum = self._squares = 0.0
        self._count = 0
        self._recovery.step(self.clock)
        return self._test()

    def _insert(self, bucket: Bucket) -> None:
        rows = self._rows
        rows[0].append(bucket)
        self._width += self.clock
        self._total += bucket[0]
        self._total_squares += bucket[1]
        for number, row in enumerate(rows):
            if len(row) <= BUCKETS:
                break
            (first, first_squares), (second, second_squares) = row[:2]
            del row[:2]
            if number + 1 == len(rows):
                rows.append([])
            rows[number + 1].append((first + second, first_squares + second_squares))

    def _test(self) -> Change | None:
        while self._width >= LEAST * self.clock:
            cut = self._cut()
            if cut is None:
                return None
            before, sum_before, threshold = cut
            reference = sum_before / before
            after = self._width - before
            recent = (self._total - sum_before) / after
            direction: Direction = "up" if recent > reference else "down"
            if self._recovery.is_worse(direction):
                self._empty()
                if not self._recovery.alarms(direction):
                    return None
                span, name = self.span, repr(self)
                compared = (span * abs(recent - reference), span * threshold)
                means = (span * reference, before, span * recent, after)
                return Change(direction, Evidence(name, "difference of means", *compared, *means))
            self._drop_oldest()
        return None

    def _cut(self) -> tuple[int, float, float] | None:
        """Return where the window's parts differ: numbers and sum of the first, the threshold; None if nowhere."""
        width, total = self._width, self._total
        mean = total / width
        twice = 2 * max(self._total_squares / width - mean * mean, 0.0)
        tests = math.log(2 * math.log(width))
        sure, easy = tests - math.log(self.delta), tests - math.log(self._easy)
        up = twice * (sure if self.worse != "down" else easy)
        down = twice * (sure if self.worse != "up" else easy)
        # The difference of the means is d = (mean before - sum_before) width / (before after), and the paper's
        # epsilon-cut is sqrt(2 share variance) + 2/3 share with share = confidence width / (before after). Most
        # splits do not even reach its root: d^2 <= least width / (before after), here free of divisions.
        least = min(up, down) / width
        before, sum_before, apart = 0, 0.0, 0.0
        rows = self._rows
        for number in range(len(rows) - 1, -1, -1):
            size = self.clock << number
            expected = mean * size
            for bucket in rows[number]:
                before += size
                sum_before += bucket[0]
                apart += expected - bucket[0]
                after = width - before
                if apart * apart <= least * before * after:
                    continue
                if not after:
                    return None
                share = width / (before * after)
                difference = apart * share
                if difference * difference <= (up if difference > 0 else down) * share:
                    continue
                worse = self._recovery.is_worse("up" if difference > 0 else "down")
                share *= sure if worse else easy
                threshold = math.sqrt(twice * share) + 2 / 3 * share
                if abs(difference) > threshold:
                    return before, sum_before, threshold
        return None

    def _drop_oldest(self) -> None:
        for number in range(len(self._rows) - 1, -1, -1):
            if self._rows[number]:
                bucket_sum, squares = self._rows[number].pop(0)
                self._width -= self.clock << number
                self._total -= bucket_sum
                self._total_squares -= squares
                return

    @property
    def level(self) -> tuple[float, int] | None:
        """See `Detector.level`."""
        return (self.span * self._total / self._width, self._width) if self._width else None

    def snapshot(self) -> Any:
        """See `Detector.snapshot`."""
        rows = [list(row) for row in self._rows]
        window = (rows, self._width, self._total, self._total_squares)
        return window, (self._sum, self._squares, self._count), self._recovery.snapshot()

    def restore(self, state: Any) -> None:
        """See `Detector.restore`."""
        window, (self._sum, self._squares, self._count), recovery = state
        rows, self._width, self._total, self._total_squares = window
        self._rows = [list(row) for row in rows]
        self._recovery.restore(recovery)
