"""The board of the workers: do they work, and what would stop them next."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import DECISIONS
from docs.make.grafana.parts import PER_SECOND, RATIO, Limits, Query, Row, board, lines, number

HERE: Final = 'and on (instance) riverloop_ready{task="$task"}'
"""Of the workers that run the task."""
WORKERS = Row(
    "Workers",
    [
        number(
            "Ready",
            "Workers that are ready.",
            "none",
            'sum(riverloop_ready{task="$task"})',
            none="none",
        ),
        number(
            "Not ready",
            "Running workers that are not ready; see GET /ready.",
            "none",
            'count(riverloop_ready{task="$task"}) - sum(riverloop_ready{task="$task"})',
            Limits(bad=1),
        ),
        number(
            "Owners of the log",
            "1; 0 for some seconds while the owner changes; above 1 until a fenced owner, which cannot "
            "publish, stops.",
            "none",
            'sum(riverloop_owner{task="$task"})',
        ),
        number(
            "Snapshots in the last hour",
            "Snapshots by all workers. Without snapshots, restarts read more of the log.",
            "none",
            'sum(increase(riverloop_snapshots_total{task="$task"}[1h]))',
        ),
        number(
            "Failed snapshots in the last hour",
            "See the worker's log; check the store's free space.",
            "none",
            'sum(increase(riverloop_snapshots_failed_total{task="$task"}[1h]))',
            Limits(bad=1),
        ),
        number(
            "Log blocked",
            "Offsets blocked by a transaction that has been open for two minutes.",
            "none",
            'max(task:riverloop_log_blocked_offsets:gap2m{task="$task"})',
            Limits(bad=1),
        ),
    ],
)
USE = Row(
    "Use, saturation, errors of each worker",
    [
        lines(
            "Processor",
            "Share of one core; a worker computes in one thread. Near 1: add workers, up to the number of "
            "partitions.",
            RATIO,
            Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {HERE}", "{{instance}}"),
            limits=Limits(0.8),
            least=0,
        ),
        lines(
            "Memory",
            "Resident memory. It grows with pending predictions unless join_store is rocks.",
            "bytes",
            Query(f"process_resident_memory_bytes {HERE}", "{{instance}}"),
            least=0,
        ),
        lines(
            "Lag in records",
            "Offsets not consumed yet, by topic, commit markers included. Alert above 10,000.",
            "short",
            Query('max by (topic) (task_topic:riverloop_lag_records:sum{task="$task"})', "{{topic}}"),
            limits=Limits(bad=10_000),
            least=0,
        ),
        lines(
            "Open files",
            "Share of the process's limit. Near 1: no further files can be opened.",
            RATIO,
            Query(f"process_open_fds / process_max_fds {HERE}", "{{instance}}"),
            limits=Limits(0.8),
            least=0,
        ),
        lines(
            "Since the last start",
            "A fall to 0 is a restart.",
            "s",
            Query(f"time() - process_start_time_seconds {HERE}", "{{instance}}"),
            least=0,
        ),
        lines(
            "Joins",
            "Partitions joined by each worker; in all as many as the topic has.",
            "none",
            Query('riverloop_join_partitions{task="$task"}', "{{instance}}"),
            least=0,
        ),
    ],
)
LOG = Row(
    "Training log",
    [
        lines(
            "Entries per second",
            "Growth of the log, commit markers included, and entries applied by the models.",
            PER_SECOND,
            Query('max(deriv(riverloop_log_end_offset{task="$task"}[2m]))', "written"),
            Query('max(deriv(riverloop_log_next_offset{task="$task"}[2m]))', "applied"),
            least=0,
        ),
        lines(
            "Offsets in open transactions",
            "Offsets between the log's last stable offset and its end. Under load some transaction is "
            "always open; a constant gap is a transaction that hangs.",
            "short",
            Query(
                'max(riverloop_log_end_offset{task="$task"}) - max(riverloop_log_stable_offset{task="$task"})',
                "offsets",
            ),
            least=0,
        ),
    ],
)


def operations() -> models.Dashboard:
    """Make the board."""
    says = "Workers: use, saturation, errors, snapshots."
    return board("Operations", says, [WORKERS, USE, LOG], [DECISIONS])
