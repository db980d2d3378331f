"""The metrics that `riverloop hooks run` reports."""

from __future__ import annotations

from typing import Final

from infra.worker_metric import WorkerMetric

HOOK_METRICS: Final = {
    each.name: each
    for each in (
        WorkerMetric(
            "riverloop_hook_failing",
            ("task", "destination"),
            "1 while the newest attempt to deliver an event failed, else 0.",
        ),
        WorkerMetric(
            "riverloop_hook_attempts_total",
            ("task", "destination", "result"),
            "Attempts to deliver an event, `delivered` or `failed`.",
        ),
    )
}
"""By name."""
