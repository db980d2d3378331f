"""The metrics that every worker tells of itself, beside those of `streams.metrics.registry`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Own:
    """What such a metric is."""

    name: str
    """As samples carry it."""
    labels: tuple[str, ...]
    says: str
    do: str
    """What to do when it is not as it should be."""
    count: str = ""
    """The worker's counter that it shows; empty: no counter."""


OWN: Final = {
    each.name: each
    for each in (
        Own(
            "riverloop_build_info",
            ("version", "runtime"),
            "Version and runtime fingerprint of the worker.",
            "Two runtimes of one task: finish the upgrade; models open a revision with each of them.",
        ),
        Own(
            "riverloop_cluster_reachable",
            (),
            "1 while the Kafka cluster answers this worker and acknowledges what it writes, else 0.",
            "`GET /readyz` says what was not answered; then look at the brokers.",
        ),
        Own(
            "riverloop_http_requests_total",
            ("route", "status"),
            "HTTP calls by route and status; 499: the caller did not wait for the answer.",
            "5xx: `GET /readyz` and the worker's log. 4xx: the answers said why.",
        ),
        Own(
            "riverloop_http_seconds",
            ("route",),
            "From an HTTP call to its answer, by route.",
            "Of predictions: the cluster's acknowledgement is most of it, then the processor.",
        ),
        Own(
            "riverloop_event_loop_held_seconds_total",
            (),
            "Time for which single steps of more than 100 ms have held the worker: nothing but health checks is "
            "answered meanwhile.",
            "A model is slow: `riverloop_answer_seconds` grows, too. Make it faster, or start more workers.",
        ),
        Own(
            "riverloop_ready",
            ("task",),
            "1 while the task's models may answer, else 0.",
            "`GET /ready` says why not.",
        ),
        Own(
            "riverloop_topic_refused",
            ("task", "what"),
            "1 for each topic, or positions, with which the task does not go on: it has stopped. 0, without a "
            "name, when it goes on with all of them.",
            "`GET /ready` says why, and what to do.",
        ),
        Own(
            "riverloop_topics_renewed_total",
            ("task",),
            "Topics that were deleted and made again while they were in use, and that the task went on with.",
            "Somebody deletes topics in use: what was on them and not read is lost.",
            "topics_renewed",
        ),
        Own(
            "riverloop_further_total",
            ("task",),
            "Outcomes forwarded from partitions that only the services' topic has.",
            "None: `T.outcomes` has more partitions than the task's own topics, which costs each a detour.",
            "further",
        ),
        Own(
            "riverloop_owner",
            ("task",),
            "1 in the worker that owns the training log, else 0.",
            "0 everywhere for longer than a change of owner takes: look at the workers' logs.",
        ),
        Own(
            "riverloop_model_info",
            ("task", "model", "role", "revision"),
            "The revision of each model that is in force here.",
            "Different ones in different workers: an upgrade that is not finished.",
        ),
        Own(
            "riverloop_model_learned",
            ("task", "model"),
            "Examples that the model's state has learned.",
            "Level while outcomes come: the policy gives no labels, or the log is not followed.",
        ),
        Own(
            "riverloop_model_passed_over_total",
            ("task", "model"),
            "Labelled entries that the model has not learned from, because its code raised; all of its log.",
            "`GET /tasks/{task}/status` lists the newest, each with offset, request and exception.",
        ),
        Own(
            "riverloop_model_passed_over_ratio",
            ("task", "model"),
            "Entries passed over of the last 1,000 labelled ones, by `max_passed_over`: above 1 the model stops.",
            "From a half on an alert fires. `riverloop verify` lists the entries with their exceptions.",
        ),
        Own(
            "riverloop_model_stopped",
            ("task", "model"),
            "1 when the model has stopped learning, because its code raised too often, else 0.",
            "`riverloop verify` says where and why. Mend the model: a new specification learns the log anew.",
        ),
        Own(
            "riverloop_model_failures_total",
            ("task", "model"),
            "Requests for which the model gave no score: its code raised, or the score was not finite.",
            "Of the served model they are dead letters `model_failed`, or answered by the fallback.",
        ),
        Own(
            "riverloop_join_partitions",
            ("task",),
            "Partitions whose join runs in this worker.",
            "Fewer than the topic has, over all workers: a rebalance, or a join that is being restored.",
        ),
        Own(
            "riverloop_join_waiting",
            ("task",),
            "Predictions that wait in this worker's joins.",
            "It costs memory: `join_store=rocks` puts it on disk.",
        ),
        Own(
            "riverloop_log_next_offset",
            ("task",),
            "The first log offset that the models here have not applied.",
            "It stays behind the end: learning costs more than the processor has.",
        ),
        Own(
            "riverloop_log_end_offset",
            ("task",),
            "The end of the training log, open transactions included.",
            "Missing: the cluster does not answer.",
        ),
        Own(
            "riverloop_log_stable_offset",
            ("task",),
            "The training log's last stable offset: where its oldest open transaction begins, or its end.",
            "It stands still below the end: an open transaction hangs.",
        ),
        Own(
            "riverloop_log_bytes_total",
            ("task",),
            "Bytes of the training log's records, keys included, since this worker has followed it.",
            "Its rate is what the log grows by on every replica, before compression.",
            "log_bytes",
        ),
        Own(
            "riverloop_lag_records",
            ("task", "topic"),
            "Offsets between the ends of the topic's partitions here and what was taken up of them.",
            "Rising: more workers, up to the number of partitions.",
        ),
        Own(
            "riverloop_lag_seconds",
            ("task", "topic"),
            "How long ago the oldest record that was not taken up came, most over the topic's partitions here.",
            "As `riverloop_lag_records`. Of outcomes alone: they wait for stream time to reach them.",
        ),
        Own(
            "riverloop_answer_seconds",
            ("task", "way"),
            "From a request's arrival until its answer is committed (way: topic) or acknowledged (way: http).",
            "Look at the lag on requests first, then at the processor, then at the cluster.",
        ),
        Own(
            "riverloop_freshness_seconds",
            ("task", "stage"),
            "From the arrival of a resolution's trigger until it lies in the log, is applied, and both.",
            "The stage says where: `arrival_to_log` is the join, `log_to_serving` is learning.",
        ),
        Own(
            "riverloop_dead_letters_total",
            ("task", "reason"),
            "Records that this worker refused.",
            "`riverloop deadletters list` shows them; the reason's page says what to change.",
        ),
        Own(
            "riverloop_snapshots_total",
            ("task",),
            "Snapshots that were written here.",
            "None for long: a restart reads that much more of the log.",
            "snapshots",
        ),
        Own(
            "riverloop_snapshots_failed_total",
            ("task",),
            "Snapshots that could not be written here.",
            "The worker's log says why; look at the room in the store.",
            "snapshots_failed",
        ),
        Own(
            "riverloop_http_predictions_total",
            ("task",),
            "Predictions that were answered over HTTP.",
            "Still: look at who asks.",
            "http_predictions",
        ),
        Own(
            "riverloop_http_outcomes_total",
            ("task",),
            "Outcomes taken over HTTP.",
            "Still: look at who reports.",
            "http_outcomes",
        ),
        Own(
            "riverloop_http_refused_total",
            ("task",),
            "Records that were refused over HTTP.",
            "The answers said why: look at who asks or reports.",
            "http_refused",
        ),
        Own(
            "riverloop_misplaced_total",
            ("task",),
            "Outcomes forwarded to their partition.",
            "The reporting service does not use the partitioner of the topics.",
            "misplaced",
        ),
    )
}
"""All of them by name; those with a count start from 0 with the process, as Prometheus expects."""
