"""The metrics that every worker reports about its own process, beside those of `streams.metrics.registry`."""

from __future__ import annotations

from typing import Final

from infra.store_metrics import STORE_METRICS
from infra.worker_metric import WorkerMetric

WORKER_METRICS: Final = {
    each.name: each
    for each in (
        WorkerMetric(
            "riverloop_build_info",
            ("version", "runtime"),
            "Version and runtime fingerprint of the worker, always 1.",
            "Several runtimes: finish the upgrade.",
        ),
        WorkerMetric(
            "riverloop_cluster_reachable",
            (),
            "1 while Kafka answers and acknowledges writes, else 0.",
            "See `GET /readyz`, then the brokers.",
        ),
        WorkerMetric(
            "riverloop_http_requests_total",
            ("route", "status"),
            "HTTP calls; status 499: the client disconnected first.",
            "5xx: see `GET /readyz` and the worker's log.",
        ),
        WorkerMetric("riverloop_http_seconds", ("route",), "Duration of HTTP calls.", ""),
        WorkerMetric(
            "riverloop_event_loop_blocked_seconds_total",
            (),
            "Time in single steps longer than 100 ms, which block the event loop.",
            "Make the model faster, or add workers.",
        ),
        WorkerMetric(
            "riverloop_ready", ("task",), "1 while the task can answer, else 0.", "See `GET /ready`."
        ),
        WorkerMetric(
            "riverloop_warming_entries_left",
            ("task",),
            "Offsets of the training log that a starting worker has to fold before it may answer; else 0.",
            "`GET /ready` says how long. Not falling: add processor time, or take snapshots more often.",
        ),
        WorkerMetric(
            "riverloop_topic_rejected",
            ("task", "what"),
            "1 for each topic or position for which the task has stopped; 0 with empty `what` when there is none.",
            "See `GET /ready`.",
        ),
        WorkerMetric(
            "riverloop_topics_renewed_total",
            ("task",),
            "Topics recreated while in use.",
            "Unread records of the deleted topic are lost.",
            "topics_renewed",
        ),
        WorkerMetric(
            "riverloop_further_total",
            ("task",),
            "Outcomes forwarded from partitions that only `T.outcomes` has.",
            "",
            "further",
        ),
        WorkerMetric(
            "riverloop_owner",
            ("task",),
            "1 in the worker that owns the training log, else 0.",
            "0 everywhere: see the workers' logs.",
        ),
        WorkerMetric(
            "riverloop_model_revision_info",
            ("task", "model", "revision", "spec"),
            "Active revision of each model, with the digest of its specification, always 1.",
            "Several revisions: finish the upgrade.",
        ),
        WorkerMetric(
            "riverloop_model_role",
            ("task", "model", "role"),
            "1 for what the model does (`served`, `shadow` or `retired`), 0 for the other roles.",
        ),
        WorkerMetric(
            "riverloop_model_share_ratio",
            ("task", "model"),
            "Share of the requests that the model answers.",
        ),
        WorkerMetric("riverloop_model_frozen", ("task", "model"), "1 while the model is frozen, else 0."),
        WorkerMetric(
            "riverloop_validation_failed",
            ("task", "model"),
            "1 while the newest validation of the model failed, else 0; missing without one.",
        ),
        WorkerMetric(
            "riverloop_validation_lag_ratio",
            ("task",),
            "Log offsets since the newest validation, divided by `every`; missing where the task has none.",
        ),
        WorkerMetric(
            "riverloop_command_offset",
            ("task", "command", "model"),
            "Log offset of the newest command of each kind that the worker has applied, -1 without one; missing "
            "until the worker is ready.",
            "Different among workers: see the lag of the log.",
        ),
        WorkerMetric(
            "riverloop_command_waiting_seconds",
            ("task",),
            "Age of the oldest command that is asked for and not decided, from the log's owner only.",
            "See the owner's log.",
        ),
        WorkerMetric(
            "riverloop_model_learned",
            ("task", "model"),
            "Examples learned.",
            "Constant while outcomes arrive: check the label policy and the lag of the log.",
        ),
        WorkerMetric(
            "riverloop_model_skipped_total",
            ("task", "model"),
            "Labelled entries skipped because the model raised or scored not finite.",
            "See `GET /tasks/T/status`.",
        ),
        WorkerMetric(
            "riverloop_model_skipped_ratio",
            ("task", "model"),
            "Entries skipped among the last 1,000 labelled, divided by `max_skipped`. Above 1 the model stops.",
            "Run `riverloop verify`.",
        ),
        WorkerMetric(
            "riverloop_model_stopped",
            ("task", "model"),
            "1 when the model has stopped learning, else 0.",
            "Fix the model: a new specification learns the log again.",
        ),
        WorkerMetric(
            "riverloop_model_failures_total",
            ("task", "model"),
            "Requests without a score because the model raised or scored not finite.",
            "See dead letters with reason `model_failed`.",
        ),
        WorkerMetric(
            "riverloop_join_partitions",
            ("task",),
            "Partitions joined by this worker.",
            "Fewer than the topic has: a rebalance or restore is running.",
        ),
        WorkerMetric(
            "riverloop_join_waiting",
            ("task",),
            "Predictions pending in this worker's joins.",
            "Too much memory: set `join_store=rocks`.",
        ),
        WorkerMetric(
            "riverloop_log_next_offset", ("task",), "First log offset not applied to the models.", ""
        ),
        WorkerMetric(
            "riverloop_log_end_offset",
            ("task",),
            "End offset of the training log, open transactions included.",
            "",
        ),
        WorkerMetric(
            "riverloop_log_stable_offset",
            ("task",),
            "Last stable offset of the training log.",
            "Constant below the end: a transaction hangs.",
        ),
        WorkerMetric(
            "riverloop_log_bytes_total",
            ("task",),
            "Bytes read from the training log, keys included, before compression.",
            "",
            "log_bytes",
        ),
        WorkerMetric(
            "riverloop_lag_records",
            ("task", "topic"),
            "Records not yet consumed from this worker's partitions.",
            "Rising: add workers, up to the number of partitions.",
        ),
        WorkerMetric(
            "riverloop_lag_seconds",
            ("task", "topic"),
            "Age of the oldest record not yet consumed, maximum over this worker's partitions.",
            "Outcomes only: they wait for stream time.",
        ),
        WorkerMetric(
            "riverloop_answer_seconds",
            ("task", "way"),
            "Time from a request's arrival to its answer, committed (`topic`) or acknowledged (`http`).",
            "Check the lag of requests, then CPU, then Kafka.",
        ),
        WorkerMetric(
            "riverloop_freshness_seconds",
            ("task", "stage"),
            "Time from an outcome's arrival to the log (`arrival_to_log`), on to the model (`log_to_serving`), "
            "and in all.",
            "",
        ),
        WorkerMetric(
            "riverloop_dead_letters_total",
            ("task", "reason"),
            "Records rejected by this worker.",
            "Run `riverloop deadletters list`.",
        ),
        WorkerMetric(
            "riverloop_outcomes_mapped_total",
            ("task",),
            "Outcomes made of changes on the task's foreign topics.",
            "0 while changes arrive: check `where` and `value` of the mapping.",
            "outcomes_mapped",
        ),
        WorkerMetric(
            "riverloop_changes_ignored_total",
            ("task",),
            "Changes on the task's foreign topics that give no outcome.",
            "",
            "changes_ignored",
        ),
        WorkerMetric(
            "riverloop_requests_chained_total",
            ("task",),
            "Requests made of the predictions of the task before.",
            "0 while that task predicts: see the lag of its predictions.",
            "requests_chained",
        ),
        WorkerMetric("riverloop_snapshots_total", ("task",), "Snapshots written.", "", "snapshots"),
        WorkerMetric(
            "riverloop_snapshots_failed_total",
            ("task",),
            "Snapshots that failed.",
            "See the worker's log; check the store's free space.",
            "snapshots_failed",
        ),
        WorkerMetric(
            "riverloop_http_predictions_total",
            ("task",),
            "Predictions answered over HTTP.",
            "",
            "http_predictions",
        ),
        WorkerMetric(
            "riverloop_http_outcomes_total", ("task",), "Outcomes accepted over HTTP.", "", "http_outcomes"
        ),
        WorkerMetric(
            "riverloop_http_rejected_total",
            ("task",),
            "Records rejected over HTTP.",
            "The answers give the reason.",
            "http_rejected",
        ),
        *STORE_METRICS,
        WorkerMetric(
            "riverloop_misplaced_total",
            ("task",),
            "Outcomes forwarded to their partition.",
            "Set the producer's partitioner.",
            "misplaced",
        ),
        WorkerMetric(
            "riverloop_requests_misplaced_total",
            ("task",),
            "Requests forwarded to the partition of their entity.",
            "Set the producer's key and partitioner.",
            "requests_misplaced",
        ),
        WorkerMetric(
            "riverloop_aggregates_too_late_total",
            ("task",),
            "Requests that came too late to have aggregates.",
            "Raise the task's `lateness`.",
            "aggregates_too_late",
        ),
    )
}
"""By name. Those with a count start from 0 with the process, as Prometheus expects."""
