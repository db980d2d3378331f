"""The topics of a task: names, keys, partitions, retention. Topic names are declared here only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The largest record that riverloop accepts as input or writes as its own, dead letters excepted; we check it.
MAX_RECORD_BYTES = 1024 * 1024
# What the topics accept: above ours, so that an oversized record arrives and can be rejected with a reason,
# and so that a prediction, which embeds its request, has room.
MAX_TOPIC_RECORD_BYTES = 4 * 1024 * 1024
# A dead letter contains the whole rejected record.
MAX_DEAD_LETTER_BYTES = 6 * 1024 * 1024

# How long a record stays on a topic that is not the truth about the models: 30 days, in ms. `verify` can
# reconcile inputs with the log only as far back as they are kept.
RETENTION_MS = 30 * 24 * 3600 * 1000

# How long every record of `T.features` stays: an older row that comes late must not be all that compaction leaves,
# before the owner has written the newer one again. In ms.
FEATURES_KEPT_MS = 6 * 3600 * 1000

# Producers of keyed records must use it: Java's default. librdkafka's own default differs on most keys, and
# predictions, outcomes and join-state have to agree about a key's partition.
PARTITIONER = "murmur2_random"

Cleanup = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """Specification of a topic.

    Parameters
    ----------
    name
        Its full name on the cluster.
    partitions
        Their number, 1 or more.
    key
        What a record's key is, in words.
    cleanup
        ``delete``: records go after ``retention_ms``; ``compact``: the newest of each key stays.
    retention_ms
        How long records stay, in ms; None for ever. Always None where ``cleanup`` is ``compact``.
    max_message_bytes
        The largest batch of records, in bytes, that the topic accepts.
    compacted_after_ms
        How long a compacted topic keeps every record, in ms.
    description
        Its content, one sentence.
    written_by
        Who writes to it, in words.
    """

    name: str
    partitions: int
    key: str
    cleanup: Cleanup
    retention_ms: int | None
    max_message_bytes: int
    description: str
    written_by: str
    compacted_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class TaskTopics:
    """The names of a task's topics.

    Parameters
    ----------
    task
        The task's name: lower-case letters, digits, hyphens.

    Examples
    --------
    >>> TaskTopics("hotel-cancellation").join_state
    'hotel-cancellation.join-state'
    """

    task: str

    @property
    def requests(self) -> str:
        """Requests for predictions."""
        return f"{self.task}.requests"

    @property
    def predictions(self) -> str:
        """Predictions with their features."""
        return f"{self.task}.predictions"

    @property
    def outcomes(self) -> str:
        """Outcomes of requests."""
        return f"{self.task}.outcomes"

    @property
    def log(self) -> str:
        """The ordered entries of which every model is a fold."""
        return f"{self.task}.log"

    @property
    def join_state(self) -> str:
        """The join's state, as a changelog."""
        return f"{self.task}.join-state"

    @property
    def aggregates(self) -> str:
        """The requests that count in aggregates, as a changelog; only of tasks that have aggregates."""
        return f"{self.task}.aggregates"

    @property
    def metrics(self) -> str:
        """Metrics over time."""
        return f"{self.task}.metrics"

    @property
    def alerts(self) -> str:
        """Alerts of detectors and of the loop itself."""
        return f"{self.task}.alerts"

    @property
    def quality(self) -> str:
        """Counts of requests and their features, from every worker."""
        return f"{self.task}.quality"

    @property
    def snapshots(self) -> str:
        """Manifests of snapshots."""
        return f"{self.task}.snapshots"

    @property
    def keys(self) -> str:
        """Salts of the keys that tokens are made with."""
        return f"{self.task}.keys"

    @property
    def features(self) -> str:
        """Features of entities, for look-ups; only of tasks with look-ups."""
        return f"{self.task}.features"

    @property
    def control(self) -> str:
        """Requests for commands, and audits."""
        return f"{self.task}.control"

    @property
    def dead_letters(self) -> str:
        """Rejected records."""
        return f"{self.task}.dead-letters"


def topics(
    task: str, partitions: int, retention_ms: int = RETENTION_MS, *, aggregates: bool = False
) -> tuple[TopicSpec, ...]:
    """Declare the topics of a task: twelve, and one more for one with aggregates.

    Parameters
    ----------
    partitions
        P, the number of partitions of the topics keyed by request, 1 or more.
    retention_ms
        How long records stay, in ms, on the topics that are not kept for ever.
    aggregates
        Whether the task has aggregates.

    Examples
    --------
    >>> for spec in topics("demo", 4)[:4]:
    ...     print(spec.name, spec.partitions, spec.cleanup)
    demo.requests 4 delete
    demo.predictions 4 delete
    demo.outcomes 4 delete
    demo.log 1 delete
    """
    if partitions < 1:
        raise ValueError(f"partitions must be 1 or more, not {partitions}")
    names = TaskTopics(task)

    def spec(
        name: str,
        key: str,
        description: str,
        written_by: str,
        *,
        parts: int = 1,
        cleanup: Cleanup = "delete",
        keep_ms: int | None = None,
        limit: int = MAX_TOPIC_RECORD_BYTES,
    ) -> TopicSpec:
        return TopicSpec(name, parts, key, cleanup, keep_ms, limit, description, written_by)

    changelog = spec(
        names.aggregates,
        "request_id",
        "Changelog of the aggregates: the requests that count in them; only of tasks with aggregates.",
        "workers",
        parts=partitions,
        cleanup="compact",
    )
    declared = (
        spec(
            names.requests,
            "the entity of the aggregates" if aggregates else "request_id",
            "Requests for a prediction.",
            f"services, `riverloop produce`{', HTTP' if aggregates else ''}",
            parts=partitions,
            keep_ms=retention_ms,
        ),
        spec(
            names.predictions,
            "request_id",
            "Predictions with their features.",
            "workers",
            parts=partitions,
            keep_ms=retention_ms,
        ),
        spec(
            names.outcomes,
            "request_id",
            "Outcomes of requests.",
            "services, `riverloop produce`, HTTP",
            parts=partitions,
            keep_ms=retention_ms,
        ),
        spec(
            names.log,
            "none",
            "Training log: all entries in order.",
            "the join, `riverloop backfill`, commands",
        ),
        spec(
            names.join_state,
            "request_id",
            "Changelog of the join: pending and recently resolved requests.",
            "the join",
            parts=partitions,
            cleanup="compact",
        ),
        spec(
            names.metrics,
            "model or signal",
            "Metrics at log offsets.",
            "the log's owner",
            keep_ms=retention_ms,
        ),
        spec(
            names.alerts,
            "model or signal",
            "Alerts: steps of episodes.",
            "the log's owner",
            keep_ms=retention_ms,
        ),
        spec(
            names.quality,
            "worker's slot",
            "Counts of requests and their features, for data quality.",
            "workers",
            keep_ms=retention_ms,
        ),
        spec(
            names.snapshots,
            "version",
            "Manifests of snapshots; tombstones for deleted ones.",
            "the log's owner",
            cleanup="compact",
        ),
        spec(
            names.keys,
            "keyed hash of the subject",
            "Random 32-byte salt of each subject's key; `riverloop forget` deletes it.",
            "workers, `riverloop backfill`, `riverloop forget`",
        ),
        spec(
            names.control,
            "task",
            "Requests for commands, audits and their chain, and which commands each worker has applied.",
            "commands, workers",
        ),
        spec(
            names.dead_letters,
            "original key",
            "Rejected records with reason and position.",
            "workers",
            parts=partitions,
            keep_ms=retention_ms,
            limit=MAX_DEAD_LETTER_BYTES,
        ),
    )
    return (*declared, changelog) if aggregates else declared


def features_topic(task: str, partitions: int) -> TopicSpec:
    """Declare the topic that a task with look-ups has beside the others.

    Examples
    --------
    >>> features_topic("demo", 4).cleanup
    'compact'
    """
    return TopicSpec(
        TaskTopics(task).features,
        partitions,
        "view and entity",
        "compact",
        None,
        MAX_TOPIC_RECORD_BYTES,
        "Features of entities, from which workers fill the store of look-ups.",
        "`riverloop features put`, services, the log's owner",
        FEATURES_KEPT_MS,
    )
