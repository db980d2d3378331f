"""What administrators do to the topics and to the groups' offsets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # public

from agents.ledger.cluster_faults import poison
from agents.ledger.field import Field
from agents.ledger.strike import Strike
from infra.kafka.admin import client_of, code_of, create_topics, delete_topics, partition_count
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError
from schemas.topics import topics

LEFT_S: Final = 60.0
"""Within which the group of workers that were killed is empty."""
TAKEN_S: Final = 60.0
"""Within which added partitions are read; five seconds are the promise."""
NOTICED_S: Final = 6.0
"""Three times as long as workers take to look at their topics."""
WAYS: Final = ("deleted", "earliest", "latest", "moved")
"""What becomes of the offsets."""


def partitions_added(field: Field) -> None:
    """Add partitions to requests and outcomes while both are written and read."""
    if field.grown:
        # Kafka keeps no order between an outcome and its correction on two further partitions.
        with field.quiet():
            new = _grow(field)
    else:
        # Outcomes of before are on their joins' partitions already; forwarded ones come behind them.
        field.sender.scattered = field.grown = True
        new = _grow(field)
    until = time.monotonic() + TAKEN_S
    while not _written(field, new) and field.sender.go_on():
        if time.monotonic() > until:
            raise BrokerError(f"nothing was sent to the new partitions {new}")
        time.sleep(0.1)
    began = time.monotonic()
    while not all(place in field.reader.taken() for place in new) and field.sender.go_on():
        if time.monotonic() > until:
            raise BrokerError(f"the new partitions {new} are not read")
        time.sleep(0.1)
    field.say(f"the new partitions are read after {time.monotonic() - began:.1f} s")


def _written(field: Field, places: Sequence[tuple[str, int]]) -> bool:
    try:
        return all(end_offsets(field.connection, places, committed=False).values())
    except BrokerError:  # a partition that was added a moment ago has no leader yet
        return False


def _grow(field: Field) -> list[tuple[str, int]]:
    new = []
    for topic in (field.topics.requests, field.topics.outcomes):
        before = partition_count(field.connection, topic)
        after = before + field.random.randrange(1, 3)
        with client_of(field.connection) as admin:
            for future in admin.create_partitions([NewPartitions(topic, after)]).values():
                future.result(20)
        until = time.monotonic() + TAKEN_S
        while partition_count(field.connection, topic) < after and time.monotonic() < until:
            time.sleep(0.1)  # not every answer knows of them at once
        new += [(topic, number) for number in range(before, after)]
    return new


def offsets_lost(field: Field) -> None:
    """Let both groups' offsets expire, or be reset, while no worker runs; requests go on coming.

    It is tried while they run, too: Kafka refuses, unless all of them are just joining anew.
    """
    way, workers = field.random.choice(WAYS), field.running()
    refused = _refused(field)
    field.say(f"the offsets are {way}; while workers run Kafka {'refuses' if refused else 'allows'} it")
    for worker in workers:
        # No failover is measured: nobody is left to take over.
        (worker.kill if field.random.random() < 0.5 else worker.stop)()
    until = time.monotonic() + LEFT_S
    while True:
        try:
            _lose(field, way)
            break
        except KafkaException as error:  # the sessions of those that were killed last
            if time.monotonic() > until:
                raise BrokerError(f"the groups' offsets could not be {way}: {error}") from error
            time.sleep(0.5)
    for worker in workers:
        field.start(worker)
    for worker in workers:
        field.wait_ready(worker)
    # Where nothing comes, no offset is committed: how far the workers are would not be known from the groups.
    poison(field)
    field.wait_progress(300)


def _places(field: Field) -> dict[str, list[tuple[str, int]]]:
    names = field.topics
    shared = [
        (topic, number)
        for topic in (names.requests, names.predictions, names.outcomes, names.quality)
        for number in range(partition_count(field.connection, topic))
    ]
    return {field.group: shared, field.log_group: [(names.log, 0)]}


def _refused(field: Field) -> bool:
    """Whether Kafka refuses to move the offsets of a group with members."""
    try:
        _move(field, field.group, [(field.topics.requests, 0)], "earliest")
    except KafkaException:
        return True
    return False


def _lose(field: Field, way: str) -> None:
    if way == "deleted":
        with client_of(field.connection) as admin:
            for future in admin.delete_consumer_groups([field.group, field.log_group]).values():
                try:
                    future.result(20)
                except KafkaException as error:
                    if code_of(error) != KafkaError.GROUP_ID_NOT_FOUND:  # an earlier attempt deleted it
                        raise
        return
    for group, places in _places(field).items():
        _move(field, group, places, way)


def _move(field: Field, group: str, places: Sequence[tuple[str, int]], way: str) -> None:
    ends = end_offsets(field.connection, places, committed=False)
    moved = [
        TopicPartition(*place, {"earliest": 0, "latest": end}.get(way, field.random.randrange(end + 1)))
        for place, end in ends.items()
    ]
    with client_of(field.connection) as admin:
        asked = [ConsumerGroupTopicPartitions(group, moved)]
        for future in admin.alter_consumer_group_offsets(asked).values():
            for place in future.result(20).topic_partitions:
                if place.error is not None:
                    raise KafkaException(place.error)


def topic_recreated(field: Field) -> None:
    """Delete topics and make them again, once all that lay on them was read; workers run, or are stopped."""
    names, chance = field.topics, field.random
    chosen = [
        chance.choice((names.requests, names.outcomes, names.predictions)),
        chance.choice((names.dead_letters, names.metrics, names.alerts, names.snapshots, names.quality)),
    ]
    running = chance.random() < 0.5
    if running:  # which topics there were is on it, and only workers that run know it still
        chosen.append(names.control)
    field.say(f"{', '.join(chosen)} while the workers {'run' if running else 'are stopped'}")
    workers = field.running()
    with field.quiet():
        if not running:
            for worker in workers:
                field.stop(worker)
        for topic in chosen:
            _again(field, topic)
        field.probe.renew()
        if running:
            time.sleep(NOTICED_S)
        else:
            for worker in workers:
                field.start(worker)
        for worker in workers:
            field.wait_ready(worker)
    field.wait_progress(100)


def _again(field: Field, topic: str) -> None:
    count = partition_count(field.connection, topic)
    field.reader.keep(topic)
    delete_topics(field.connection, [topic])
    (spec,) = (spec for spec in topics(field.topics.task, field.partitions) if spec.name == topic)
    create_topics(field.connection, [replace(spec, partitions=count)])


TOPIC_FAULTS: Final = (
    Strike(
        "partitions-added",
        "Requests and outcomes get more partitions than the joins have: all are read, and outcomes forwarded.",
        partitions_added,
    ),
    Strike(
        "offsets-lost",
        "All workers are stopped or killed, and their groups' offsets are deleted, or reset to the earliest "
        "record, the latest, or any other.",
        offsets_lost,
    ),
    Strike(
        "topic-recreated",
        "Requests, outcomes or predictions, and one or two other topics, are deleted and made again after all was "
        "read, while workers run or are stopped.",
        topic_recreated,
    ),
)
"""In the order in which the page lists them."""
