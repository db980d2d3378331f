"""The wiring is data, and the agents follow it."""

from __future__ import annotations

from schemas.topics import topics
from streams.topology import TOPOLOGY, describe, topics_of


def test_every_topic_of_a_task_is_read_or_written_by_somebody_or_a_service() -> None:
    named = {name for each in TOPOLOGY for name in (*each.reads, *each.writes)}
    wired = set(topics_of("t", tuple(named)))
    declared = {spec.name for spec in topics("t", 1, aggregates=True)}
    assert wired <= declared
    assert declared == wired


def test_the_topology_prints_each_processor_with_its_topics() -> None:
    text = describe("orders")
    for each in TOPOLOGY:
        assert f"{each.name}: " in text
        for topic in topics_of("orders", (*each.reads, *each.writes)):
            assert topic in text
