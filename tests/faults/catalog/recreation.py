"""Topics are deleted and created again."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from infra.kafka.admin import create_topics, partition_count
from schemas.topics import topics
from tests.faults.context import FaultContext
from tests.faults.fault import Fault
from tests.topics import delete_topics

NOTICED_S: Final = 6.0
"""Three times the interval at which workers check their topics."""


def recreate_topics(context: FaultContext) -> None:
    """Delete and recreate topics, once all their records are consumed; workers run, or are stopped."""
    names, chance = context.topics, context.random
    chosen = [
        chance.choice((names.requests, names.outcomes, names.predictions)),
        chance.choice((names.dead_letters, names.metrics, names.alerts, names.snapshots, names.quality)),
    ]
    running = chance.random() < 0.5
    if running:  # the control topic records which topics existed, and only running workers still know it
        chosen.append(names.control)
    context.echo(f"{', '.join(chosen)} while the workers {'run' if running else 'are stopped'}")
    workers = context.running()
    with context.paused():
        if not running:
            for worker in workers:
                context.stop(worker)
        for topic in chosen:
            _recreate(context, topic)
        context.probe.renew()
        if running:
            time.sleep(NOTICED_S)
        else:
            for worker in workers:
                context.start(worker)
        for worker in workers:
            context.wait_ready(worker)
    context.wait_for_entries(100)


def _recreate(context: FaultContext, topic: str) -> None:
    count = partition_count(context.connection, topic)
    context.history.preserve(topic)
    delete_topics(context.connection, [topic])
    (spec,) = (spec for spec in topics(context.topics.task, context.partitions) if spec.name == topic)
    create_topics(context.connection, [replace(spec, partitions=count)])


FAULTS: Final = (
    Fault(
        "topic-recreated",
        "Consumed requests, outcomes or predictions, and other topics, are deleted and recreated, while "
        "workers run or are stopped.",
        recreate_topics,
    ),
)
