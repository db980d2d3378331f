from __future__ import annotations

import pytest

from schemas.topics import (
    MAX_DEAD_LETTER_BYTES,
    MAX_RECORD_BYTES,
    MAX_TOPIC_RECORD_BYTES,
    TaskTopics,
    topics,
)


def test_names_are_the_declared_ones() -> None:
    names = TaskTopics("hotel")
    declared = [spec.name for spec in topics("hotel", 2)]
    assert declared == [
        names.requests,
        names.predictions,
        names.outcomes,
        names.log,
        names.join_state,
        names.metrics,
        names.alerts,
        names.quality,
        names.snapshots,
        names.keys,
        names.control,
        names.dead_letters,
    ]
    assert declared == [
        f"hotel.{kind}"
        for kind in (
            *("requests", "predictions", "outcomes", "log", "join-state"),
            *("metrics", "alerts", "quality", "snapshots", "keys", "control", "dead-letters"),
        )
    ]


def test_what_the_join_reads_and_writes_is_partitioned_alike() -> None:
    names = TaskTopics("hotel")
    specs = {spec.name: spec for spec in topics("hotel", 5)}
    joined = (names.predictions, names.outcomes, names.join_state)
    assert {specs[name].partitions for name in joined} == {5}
    assert {specs[name].key for name in joined} == {"request_id"}
    assert specs[names.log].partitions == 1


def test_the_truth_about_the_models_never_expires() -> None:
    names = TaskTopics("hotel")
    specs = {spec.name: spec for spec in topics("hotel", 5, retention_ms=1000)}
    for name in (names.log, names.control, names.join_state, names.snapshots):
        assert specs[name].retention_ms is None
    assert specs[names.outcomes].retention_ms == 1000


def test_a_record_above_our_limit_arrives_and_fits_into_its_dead_letter() -> None:
    specs = topics("hotel", 1)
    limits = {spec.name: spec.max_message_bytes for spec in specs}
    assert MAX_RECORD_BYTES < MAX_TOPIC_RECORD_BYTES < MAX_DEAD_LETTER_BYTES
    assert limits.pop("hotel.dead-letters") == MAX_DEAD_LETTER_BYTES
    assert set(limits.values()) == {MAX_TOPIC_RECORD_BYTES}


def test_a_task_has_at_least_one_partition() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        topics("hotel", 0)
