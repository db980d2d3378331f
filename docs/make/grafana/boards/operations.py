"""The board of the workers: do they work, and what would stop them next."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import REVISIONS
from docs.make.grafana.parts import PER_SECOND, RATIO, Limits, Query, Row, board, lines, number

HERE: Final = 'and on (instance) riverloop_ready{task="$task"}'
"""Of the workers that run the task."""
WORKERS = Row(
    "Workers",
    [
        number(
            "Ready",
            "Workers whose models may answer.",
            "none",
            'sum(riverloop_ready{task="$task"})',
            none="none",
        ),
        number(
            "Not ready",
            "Workers that run, and whose models may not answer yet: GET /ready says why.",
            "none",
            'count(riverloop_ready{task="$task"}) - sum(riverloop_ready{task="$task"})',
            Limits(bad=1),
        ),
        number(
            "Owners of the log",
            "1; 0 for seconds while the log goes to another worker. Above 1 for as long as a fenced one has not "
            "noticed: it can publish nothing.",
            "none",
            'sum(riverloop_owner{task="$task"})',
        ),
        number(
            "Snapshots in the last hour",
            "Written by all workers. None for long: a restart reads that much more of the log.",
            "none",
            'sum(increase(riverloop_snapshots_total{task="$task"}[1h]))',
        ),
        number(
            "Failed snapshots in the last hour",
            "Look at the worker's log, and at the room in the store.",
            "none",
            'sum(increase(riverloop_snapshots_failed_total{task="$task"}[1h]))',
            Limits(bad=1),
        ),
        number(
            "Log held back",
            "Offsets behind an open transaction that has not ended for two minutes: what waits for them stands.",
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
            "Of one core: a worker is one process that computes in one thread. Near 1: add a worker, up to the "
            "number of partitions.",
            RATIO,
            Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {HERE}", "{{instance}}"),
            limits=Limits(0.8),
            least=0,
        ),
        lines(
            "Memory",
            "Resident. It grows with what waits in the joins, unless join_store is rocks.",
            "bytes",
            Query(f"process_resident_memory_bytes {HERE}", "{{instance}}"),
            least=0,
        ),
        lines(
            "Records behind",
            "Offsets that were not taken up, by topic; commit markers count, so a few remain. The alert is at "
            "10,000.",
            "short",
            Query('max by (topic) (task_topic:riverloop_lag_records:sum{task="$task"})', "{{topic}}"),
            limits=Limits(bad=10_000),
            least=0,
        ),
        lines(
            "Open files",
            "Of those that the system allows. Near 1 nothing new can be opened.",
            RATIO,
            Query(f"process_open_fds / process_max_fds {HERE}", "{{instance}}"),
            limits=Limits(0.8),
            least=0,
        ),
        lines(
            "Since the last start",
            "A fall to zero is a restart.",
            "s",
            Query(f"time() - process_start_time_seconds {HERE}", "{{instance}}"),
            least=0,
        ),
        lines(
            "Joins",
            "Partitions whose join runs in each worker; together as many as the topic has.",
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
            "Growth of the log, commit markers included, and what the models apply of it.",
            PER_SECOND,
            Query('max(deriv(riverloop_log_end_offset{task="$task"}[2m]))', "written"),
            Query('max(deriv(riverloop_log_next_offset{task="$task"}[2m]))', "applied"),
            least=0,
        ),
        lines(
            "Behind open transactions",
            "Offsets between the log's last stable offset and its end. Under load some transaction is always open; "
            "a gap that stays is one that hangs.",
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
    says = "Do the workers work; what would stop them next; would a restart lose time?"
    return board("Operations", says, [WORKERS, USE, LOG], [REVISIONS])
