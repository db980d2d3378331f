"""What every worker reports of the store that workers share: look-ups, their rows, and predictions."""

from __future__ import annotations

from typing import Final

from infra.worker_metric import WorkerMetric

STORE_METRICS: Final = (
    WorkerMetric(
        "riverloop_shared_answers_total",
        ("task",),
        "Predictions given back from the shared store.",
        "",
        "shared_answers",
    ),
    WorkerMetric(
        "riverloop_shared_late_total",
        ("task",),
        "Requests for which the shared store was late or refused.",
        "",
        "shared_late",
    ),
    WorkerMetric(
        "riverloop_shared_lost_total",
        ("task",),
        "Predictions not written to the shared store.",
        "",
        "shared_lost",
    ),
    WorkerMetric(
        "riverloop_lookups_total", ("task",), "Look-ups for requests: one for each view.", "", "lookups"
    ),
    WorkerMetric(
        "riverloop_lookups_missing_total",
        ("task",),
        "Look-ups whose entity the store does not have, or only too old.",
        "",
        "lookups_missing",
    ),
    WorkerMetric(
        "riverloop_lookups_late_total",
        ("task",),
        "Look-ups that the store did not answer in time, or refused.",
        "",
        "lookups_late",
    ),
    WorkerMetric(
        "riverloop_lookups_invalid_total",
        ("task",),
        "Look-ups with a value that the dictionary rejects; it counts as missing.",
        "",
        "lookups_invalid",
    ),
    WorkerMetric(
        "riverloop_feature_rows_total",
        ("task",),
        "Rows of `T.features` that this worker wrote to the store.",
        "",
        "feature_rows",
    ),
    WorkerMetric(
        "riverloop_feature_rows_unreadable_total",
        ("task",),
        "Records of `T.features` that are no rows, passed over.",
        "",
        "feature_rows_unreadable",
    ),
)
