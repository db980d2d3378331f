from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.datafiles.rows import rows
from infra.taskfile import load_task
from schemas.records import Outcome, Request
from streams.datafile import Event, in_time_order
from streams.schedule import Sync, schedule

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def event(request_id: str, ts: int, *outcomes: int | tuple[int, Any]) -> Event:
    reported = (each if isinstance(each, tuple) else (each, True) for each in outcomes)
    return Event(
        Request(request_id, ts, {}), tuple(Outcome(request_id, when, value) for when, value in reported)
    )


def reported(events: list[Event], horizon_ms: int = 100) -> list[str]:
    steps = []
    for step in schedule(events, horizon_ms):
        if isinstance(step, Sync):
            steps.append(f"sync {step.ts}: " + " ".join(f"{o.request_id}@{o.ts}" for o in step.outcomes))
        else:
            steps.append(f"ask {step.request_id}")
    return steps


def test_what_is_due_at_a_requests_own_time_comes_before_it() -> None:
    assert reported([event("a", 0, 5), event("b", 4, 9), event("c", 5, 8)]) == [
        *("ask a", "ask b", "sync 5: a@5", "ask c", "sync 9: c@8 b@9"),
    ]


def test_an_outcome_at_its_requests_time_comes_after_it() -> None:
    assert reported([event("a", 7, 7), event("b", 7, 7)]) == ["ask a", "sync 7: a@7", "ask b", "sync 7: b@7"]


def test_outcomes_of_equal_time_come_in_the_order_of_their_requests() -> None:
    events = [event("a", 0, 50), event("b", 1, 50), event("c", 2, 49), event("d", 60)]
    assert reported(events) == [
        *("ask a", "ask b", "ask c"),
        "sync 60: c@49 a@50 b@50",
        "ask d",
        "sync 160: ",
    ]


def test_silence_falls_due_at_the_deadline() -> None:
    assert reported([event("a", 0), event("b", 99), event("c", 100)]) == [
        *("ask a", "ask b", "sync 100: ", "ask c", "sync 200: "),
    ]


def test_a_late_outcome_does_not_keep_its_request_from_expiring() -> None:
    assert reported([event("a", 0, 150), event("b", 120)]) == [
        *("ask a", "sync 120: ", "ask b", "sync 220: a@150"),
    ]


def test_nor_does_one_before_its_request_which_the_join_rejects() -> None:
    assert reported([event("a", 50, 40)]) == ["ask a", "sync 150: a@40"]


def test_corrections_come_in_their_order() -> None:
    assert reported([event("a", 0, (5, True), (5, False), (300, True))]) == [
        "ask a",
        "sync 300: a@5 a@5 a@300",
    ]


def test_nothing_asked_nothing_to_do() -> None:
    assert reported([]) == []


def test_a_sync_point_precedes_exactly_the_requests_before_which_something_is_due() -> None:
    """Against the definition, on random events."""
    pick = random.Random(7)
    for _ in range(100):
        times = sorted(pick.randrange(60) for _ in range(12))
        events = [
            event(str(n), ts, *sorted(ts + pick.randrange(40) for _ in range(pick.randrange(3))))
            for n, ts in enumerate(times)
        ]
        horizon = 20
        pending: list[tuple[int, int, int]] = []
        expected: list[str] = []
        for n, each in enumerate(events):
            ts = each.request.ts
            if any(due <= ts for due, _, _ in pending):
                now = sorted(due for due in pending if due[0] <= ts)
                expected.append(
                    f"sync {ts}: " + " ".join(f"{m}@{due}" for due, m, index in now if index >= 0)
                )
                pending = [due for due in pending if due[0] > ts]
            expected.append(f"ask {n}")
            pending += [(outcome.ts, n, index) for index, outcome in enumerate(each.outcomes)]
            if all(outcome.ts > ts + horizon for outcome in each.outcomes):
                pending.append((ts + horizon, n, -1))
        if pending:
            last = max(times[-1], max(pending)[0])
            left = " ".join(f"{m}@{due}" for due, m, index in sorted(pending) if index >= 0)
            expected.append(f"sync {last}: {left}")
        assert reported(events, horizon) == expected


@pytest.mark.parametrize(
    ("reference", "points"), [("task.py", 2295), ("task.py:cancellation_within_30_days", 2231)]
)
def test_the_hotels_sync_points(reference: str, points: int) -> None:
    """Not one per date: 1,408 outcomes fall on their booking day. The drain at the end is not counted."""
    loaded = load_task(str(EXAMPLES / "hotel_bookings" / reference))
    task = loaded.task
    assert task.data
    events = in_time_order(task.data.events(rows(loaded.data_path()), task.features, task.kind))
    assert len(events) == 40_060
    same_day = sum(each.outcomes[0].ts == each.request.ts for each in events if each.outcomes)
    horizon_ms = task.horizon // timedelta(milliseconds=1)
    steps = list(schedule(events, horizon_ms))
    assert isinstance(steps[-1], Sync)
    syncs = [step for step in steps[:-1] if isinstance(step, Sync)]
    assert len(syncs) == points
    reported = [outcome for step in [*syncs, steps[-1]] for outcome in step.outcomes]
    assert len(reported) == sum(len(each.outcomes) for each in events)
    if reference == "task.py":
        assert same_day == 1408
        assert len(reported) == 40_060
