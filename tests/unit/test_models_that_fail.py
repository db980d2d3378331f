"""Following the log: nobody asks a model that is in the middle of an entry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from river import base

from infra import turns
from infra.snapshots.store import SnapshotStore
from schemas.records import Entry, Features, Outcome, Position, Prediction
from streams.learner import Learner
from tests.unit.http_worker import make_http_task, make_log_fold

DAYS_BEFORE = 13
"""The lead time of the request from which no model can learn."""


class Brittle(base.Classifier):
    """Raises in the middle of learning one example: its state has changed by then."""

    def __init__(self) -> None:
        self.days = 1.0

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """See River."""
        self.days += x["LeadTime"]
        if x["LeadTime"] == DAYS_BEFORE:
            raise ArithmeticError

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # River says Any
        """See River."""
        return {True: 1 / self.days, False: 1 - 1 / self.days}


@dataclass(frozen=True, slots=True)
class Message:
    at: int
    data: bytes

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.data

    def key(self) -> bytes:
        return b"stay"

    def timestamp(self) -> tuple[int, int]:
        return 2, 0


def test_models_that_fail_at_one_entry_are_made_again_before_anybody_asks_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)  # a turn ends after every step
    task = make_http_task()
    for fold in task.server.models:
        fold.learner = Learner(Brittle, "binary", 10)
    log_fold = make_log_fold(task, SnapshotStore("memory://log-fold"))
    messages: list[Any] = []
    for at in range(10, 20):
        features: Features = {"LeadTime": at, "Rate": 80.5, "Meal": "BB"}
        place = Position("stay.outcomes", 0, at)
        messages.append(
            Message(
                at,
                task.context.codec.encode(
                    Entry(
                        f"{place}#0",
                        "labelled",
                        5,
                        place,
                        prediction=Prediction(f"r{at}", 5, features, ()),
                        outcome=Outcome(f"r{at}", 5, True),
                    )
                ),
            )
        )
    asked: Features = {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}
    seen: list[set[Any]] = []

    def ask() -> Iterator[None]:
        while task.server.models[0].next_offset < 20:
            seen.append({fold.predict(asked).score for fold in task.server.models})
            yield

    async def both() -> None:
        await asyncio.gather(log_fold.apply(messages), task.turns.run(ask()))

    asyncio.run(both())
    assert [fold.learner.skipped for fold in task.server.models] == [1, 1]
    assert [fold.learned for fold in task.server.models] == [9, 9]
    # The two are equal models, so whenever they were asked they gave one score.
    assert all(len(scores) == 1 for scores in seen)
    assert len({frozenset(scores) for scores in seen}) > 5
