"""Seasons: what comes back each year is known after a year."""

from __future__ import annotations

import random
from collections.abc import Iterator

from schemas.alert import Alert
from schemas.dictionary import Category, Dictionary, Number
from schemas.records import Request
from streams.quality.monitor import QualityMonitor
from streams.quality.replay import replay
from streams.seasons import MONTH_MS, YEAR_MS
from streams.snapshot import dump, load

DICTIONARY = Dictionary(Number(name="nights", unit="nights"), Category(name="month"))
PER_MONTH = 700


def years(count: int, strange: int = -1) -> Iterator[Request]:
    """Some years of bookings for months ahead, longer ones in summer; one month is as none was before."""
    rng = random.Random(3)
    for number in range(12 * count):
        for each in range(PER_MONTH):
            ahead = (number + rng.randrange(4)) % 12
            summer = ahead in {5, 6, 7, 8}
            nights = rng.gauss(14 if summer else 7, 2) + (40 if number == strange else 0)
            ts = number * MONTH_MS + each * (MONTH_MS // PER_MONTH)
            yield Request(f"{number}-{each}", ts, {"nights": nights, "month": str(ahead)})


def opened(alerts: list[Alert]) -> list[float]:
    return [each.ts / YEAR_MS for each in alerts if each.family == "features" and each.state == "opened"]


def test_what_moves_with_the_season_is_found_in_the_first_year_and_known_after_it() -> None:
    found = opened(list(replay(QualityMonitor("t", DICTIONARY), years(4))))
    assert any(each < 1 for each in found)
    assert [each for each in found if each > 1.3] == []


def test_what_no_season_had_is_found_after_years_as_well() -> None:
    found = opened(list(replay(QualityMonitor("t", DICTIONARY), years(4, strange=38))))
    assert [round(each * 12) for each in found if each > 1.5] == [39]


def test_a_restored_monitor_knows_the_seasons() -> None:
    requests = list(years(3))
    whole = list(replay(QualityMonitor("t", DICTIONARY), requests))
    monitor = QualityMonitor("t", DICTIONARY)
    list(replay(monitor, requests[: 14 * PER_MONTH]))
    restored = QualityMonitor("t", DICTIONARY)
    restored.restore(load(dump(monitor.snapshot())))
    rest = list(replay(restored, requests[14 * PER_MONTH :]))
    assert opened(rest) == [each for each in opened(whole) if each > 14 / 12]
