"""What a task needs at a rate: partitions, workers, memory, disk, and how long a restart takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.errors import UsageError


class Cost(NamedTuple):
    """A cost that was measured on another machine than the one that will pay it."""

    name: str
    value: float
    unit: str
    description: str
    measured_by: str


COSTS: Final = (
    Cost(
        "loop",
        104.7,
        "µs of CPU per event",
        "serving and joining, shared by the workers",
        "compare --stages, loop without monitoring",
    ),
    Cost(
        "monitoring",
        51.2,
        "µs of CPU per event",
        "metrics, drift and data quality, on the log's owner",
        "compare --stages, the difference",
    ),
    Cost(
        "fold",
        232.0,
        "µs of CPU per entry",
        "reading and folding the log, on every worker, without its models",
        "compare --scale: what a second worker adds, two events an entry",
    ),
    Cost("worker", 264.0, "MB", "memory of a worker without pending requests", "compare, ours"),
    Cost(
        "pending",
        515.0,
        "bytes",
        "memory of a request in the join, beside its prediction",
        "join_state --store memory: 672 bytes, less a prediction of 157",
    ),
    Cost(
        "rocks",
        0.47,
        "bytes per byte",
        "disk of a pending prediction with join_store=rocks",
        "join_state --store rocks: 74 bytes for a prediction of 157",
    ),
    Cost(
        "start", 7.0, "s", "start of a worker from a snapshot, until it is ready", "restart --entries 1000000"
    ),
    Cost(
        "replay",
        460.0,
        "µs per entry",
        "reading the log again at a start, without its models",
        "restart --entries 1000000, without snapshots",
    ),
    Cost(
        "restore",
        44.0,
        "µs per request",
        "reading the join's changelog at a start",
        "join_state --store rocks, rebuild of 1,000,000",
    ),
)
"""Measured on two busy cores on 26 November 2026, with the benchmarks of tests/benchmarks that each one names."""
BY_NAME: Final = {cost.name: cost.value for cost in COSTS}

FRAME_BYTES: Final = 80
"""Of Kafka around a record, at most: a batch of its own, with its part of the transaction's marker."""
BUSY: Final = 0.6
"""Share of a core that a worker uses in the plan; the rest is for peaks and for catching up."""
GROWTH: Final = 2
"""The partitions are enough for so many times the workers, since their number cannot change."""
HEADROOM: Final = 1.5
DAY_S: Final = 86_400.0
YEAR_DAYS: Final = 365.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes in, and what the task keeps.

    Attributes
    ----------
    rate
        Requests per second, on average over the busiest hour.
    horizon_s, revision_horizon_s
        Of the task.
    outcome_after_s
        When a typical outcome comes, at most the horizon.
    labelled
        Share of the requests that get an outcome.
    learn_us
        CPU of all models for one example: score and learn.
    request_bytes, prediction_bytes, outcome_bytes, entry_bytes, state_bytes
        Typical sizes of encoded records with their keys.
    replication, retention_days
        Of the topics.
    snapshot_every
        Entries between two snapshots.
    """

    rate: float
    horizon_s: float
    revision_horizon_s: float
    outcome_after_s: float
    labelled: float = 1.0
    learn_us: float
    request_bytes: int
    prediction_bytes: int
    outcome_bytes: int
    entry_bytes: int
    state_bytes: int
    replication: int = 3
    retention_days: float = 30.0
    snapshot_every: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to provide. Bytes on the brokers' disks count every replica."""

    workers: int
    """One of them in reserve."""
    partitions: int
    busy_share: float
    """Of a core, of the log's owner, with one worker less than `workers`."""
    most_rate: float
    """Requests per second at which the log's owner alone would be busy, however many workers there are."""
    pending: int
    """Requests that wait for their outcome."""
    resolved: int
    """Requests in the join's state that are resolved and may still be corrected."""
    memory_bytes: int
    """Of each worker, with `join_store=memory` and one worker less; a container's limit."""
    join_disk_bytes: int
    """Of each worker, with `join_store=rocks`."""
    inputs_bytes: int
    """Requests, predictions and outcomes that retention keeps."""
    log_bytes_per_day: int
    state_topic_bytes: int
    """The join's changelog after compaction."""
    disk_bytes_first_year: int
    restart_s: float
    """At most, with snapshots, and the join's state in memory."""
    rebuild_first_year_s: float
    """Of a start without snapshots, with a log of one year."""


def plan(load: Load) -> Plan:
    """Compute what a load needs, from measured costs.

    Raises
    ------
    UsageError
        A value makes no sense, or the log's owner cannot fold so many entries: the log has one partition.

    Examples
    --------
    >>> hour = 3600.0
    >>> load = Load(rate=100, horizon_s=24 * hour, revision_horizon_s=0, outcome_after_s=24 * hour, learn_us=50,
    ...             request_bytes=300, prediction_bytes=200, outcome_bytes=60, entry_bytes=400, state_bytes=250)
    >>> found = plan(load)
    >>> found.workers, found.partitions, found.pending, round(found.restart_s)
    (2, 4, 8640000, 392)
    """
    _check(load)
    entries = load.rate
    events = load.rate * (1.0 + load.labelled)
    everywhere = entries * (BY_NAME["fold"] + load.learn_us) / 1e6
    owner = everywhere + events * BY_NAME["monitoring"] / 1e6
    most_rate = load.rate * BUSY / owner
    if owner >= BUSY:
        raise UsageError(
            f"{load.rate:g} requests per second would keep the log's owner busy for {owner:.2f} of a core, more "
            f"than {BUSY:g}: every worker learns the whole log. At most {most_rate:,.0f} requests per second fit; "
            "use fewer or cheaper models, or split the task"
        )
    shared = events * BY_NAME["loop"] / 1e6
    needed = max(1, math.ceil(shared / (BUSY - owner)))
    partitions = max(4, 2 ** math.ceil(math.log2(needed * GROWTH)))
    pending = load.rate * min(load.outcome_after_s, load.horizon_s) * load.labelled + (
        load.rate * load.horizon_s * (1.0 - load.labelled)
    )
    known = load.rate * (load.horizon_s + load.revision_horizon_s)
    resolved = max(0.0, known - pending)
    state = (pending * (BY_NAME["pending"] + load.prediction_bytes) + resolved * BY_NAME["pending"]) / needed
    replicas = load.replication
    inputs = (
        load.request_bytes
        + load.prediction_bytes
        + load.labelled * load.outcome_bytes
        + FRAME_BYTES * (2.0 + load.labelled)
    )
    kept = load.rate * DAY_S * load.retention_days * inputs * replicas
    log_day = entries * DAY_S * (load.entry_bytes + FRAME_BYTES) * replicas
    changelog = (pending * (load.state_bytes + FRAME_BYTES) + resolved * 2 * FRAME_BYTES) * replicas
    # The cleaner works when half of the changelog is old.
    disk = kept + log_day * YEAR_DAYS + 2 * changelog
    per_entry = (BY_NAME["replay"] + load.learn_us) / 1e6
    restore = (pending + resolved) / needed * BY_NAME["restore"] / 1e6
    return Plan(
        workers=needed + 1,
        partitions=partitions,
        busy_share=round(owner + shared / needed, 4),
        most_rate=round(most_rate, 1),
        pending=round(pending),
        resolved=round(resolved),
        memory_bytes=round((BY_NAME["worker"] * 1e6 + state) * HEADROOM),
        join_disk_bytes=round(pending / needed * load.prediction_bytes * BY_NAME["rocks"] * HEADROOM),
        inputs_bytes=round(kept),
        log_bytes_per_day=round(log_day),
        state_topic_bytes=round(changelog),
        disk_bytes_first_year=round(disk),
        restart_s=round(BY_NAME["start"] + load.snapshot_every * per_entry + restore, 1),
        rebuild_first_year_s=round(
            BY_NAME["start"] + entries * DAY_S * YEAR_DAYS * per_entry + restore,
            1,
        ),
    )


def _check(load: Load) -> None:
    wrong = ""
    if not 0 < load.rate < 1e9:
        wrong = f"rate={load.rate:g} must be above 0 and below 1e9 requests per second"
    elif not 0 <= load.labelled <= 1:
        wrong = f"labelled={load.labelled:g} must be between 0 and 1"
    elif load.horizon_s <= 0 or load.outcome_after_s < 0 or load.revision_horizon_s < 0:
        wrong = "the horizon must be above 0, other times 0 or more"
    if wrong:
        raise UsageError(wrong)
