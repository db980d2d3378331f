"""A poisoned interval on real data: what a rebuild without it is worth, and that it is a model never poisoned."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from infra.taskfile import LoadedTask, examples, load_task
from schemas.records import Entry
from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.leave_out import LeaveOut
from streams.model import ModelFold

LEVEL: Final = "Corporate"
FEATURE: Final = "MarketSegment"
EVENTS: Final = 12_000
FLIPPED: Final = 0.05
"""Of the labels of all entries."""
JUDGED: Final = 1_500
"""Entries after the interval on which scores are compared."""


@cache
def hotel() -> tuple[LoadedTask, Sequence[Event]]:
    loaded = load_task(f"{examples() / 'hotel_bookings' / 'task.py'}:cancellation")
    return loaded, loaded.events(limit=EVENTS)


@cache
def honest() -> list[Entry]:
    loaded, events = hotel()
    driver = MemoryDriver(loaded.task, [loaded.task.model("lr")])
    list(driver.run(events))
    return driver.log


def poisoned(entries: Sequence[Entry], first: int, last: int) -> list[Entry]:
    """Flip labels of one level: 5 % of all entries of the interval."""
    rng, found = random.Random(5), list(entries)
    places = [
        offset
        for offset in range(first, last + 1)
        if (entry := entries[offset]).prediction is not None
        and entry.prediction.features.get(FEATURE) == LEVEL
        and entry.outcome is not None
        and isinstance(entry.outcome.value, bool)
    ]
    wanted = round(FLIPPED * (last - first + 1))
    assert len(places) > wanted
    for offset in rng.sample(places, wanted):
        outcome = found[offset].outcome
        assert outcome is not None
        found[offset] = replace(found[offset], outcome=replace(outcome, value=not outcome.value))
    return found


def folded(entries: Sequence[Entry], since: int, leave_out: LeaveOut = LeaveOut()) -> tuple[str, float]:  # noqa: B008
    """Fold a log; gives the digest, and the log loss of its scores from an offset on."""
    loaded, _ = hotel()
    fold = ModelFold(loaded.task, loaded.task.model("lr"), leave_out=leave_out)
    losses = []
    for offset, entry in enumerate(entries):
        value = None if entry.outcome is None else entry.outcome.value
        if since <= offset < since + JUDGED and entry.prediction is not None and isinstance(value, bool):
            score = fold.predict(entry.prediction.features).score
            assert isinstance(score, float)
            losses.append(-math.log(max(score if value else 1 - score, 1e-15)))
        fold.apply(offset, entry)
    return fold.digest, sum(losses) / len(losses)


def test_a_rebuild_without_the_poisoned_level_scores_as_a_model_that_was_never_poisoned() -> None:
    first, last = 2_000, 8_000
    log = poisoned(honest(), first, last)
    leave_out = LeaveOut.parse([f"{first}..{last}"], f"{FEATURE}={LEVEL}")
    _, never = folded(honest(), last + 1)
    _, spoiled = folded(log, last + 1)
    digest, rebuilt = folded(log, last + 1, leave_out)
    print(f"log loss afterwards: never {never:.5f}, poisoned {spoiled:.5f}, rebuilt {rebuilt:.5f}")
    assert spoiled / never > 1.02
    assert digest == folded([*_without(log, leave_out)], 0)[0]
    assert abs(rebuilt - never) / never < 0.01


def _without(log: Sequence[Entry], leave_out: LeaveOut) -> list[Entry]:
    return [entry for offset, entry in enumerate(log) if not leave_out.covers(offset, entry)]
