"""The wiring is data, and the agents follow it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from river.dummy import NoChangeClassifier

from schemas.dictionary import Dictionary, Number
from schemas.topics import topics
from streams.chain import After
from streams.mapping import OutcomeMapping
from streams.task import Task
from streams.task_model import Model
from streams.topology import TOPOLOGY, describe, topics_of, wiring


def test_every_topic_of_a_task_is_read_or_written_by_somebody_or_a_service() -> None:
    named = {name for each in TOPOLOGY for name in (*each.reads, *each.writes)}
    wired = set(topics_of("t", tuple(named)))
    declared = {spec.name for spec in topics("t", 1, aggregates=True)}
    assert wired <= declared
    assert declared == wired


def task(name: str, **more: Any) -> Task:
    features = Dictionary(Number(name="score"), parents="none")
    model = Model("none", NoChangeClassifier)
    return Task(
        name=name, question="?", horizon=timedelta(days=1), features=features, models=(model,), **more
    )


def test_the_topology_prints_each_processor_with_its_topics() -> None:
    text = describe(task("orders"))
    for each in TOPOLOGY:
        assert f"{each.name}: " in text
        for topic in topics_of("orders", (*each.reads, *each.writes)):
            assert topic in text
    assert "outcomes-from" not in text
    assert "after" not in text


def test_the_topology_has_what_a_task_reads_outside() -> None:
    shop = OutcomeMapping(topic="shop.orders", request_id="id", value="paid", ts="at")
    orders = task("orders", outcomes_from=(shop,), after=After(task("fraud"), score="score"))
    first, second, *rest = wiring(orders)
    assert (first.reads, first.writes) == (("shop.orders",), ("orders.outcomes", "orders.dead-letters"))
    assert (second.reads, second.writes) == (
        ("fraud.predictions",),
        ("orders.requests", "orders.dead-letters"),
    )
    assert [each.name for each in rest] == [each.name for each in TOPOLOGY]
    assert orders.foreign_topics == {"shop.orders": first.name, "fraud.predictions": second.name}
