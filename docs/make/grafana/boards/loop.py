"""The board for the wall: does the loop turn, how fast, how well."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import EPISODES, REVISIONS
from docs.make.grafana.parts import PER_SECOND, RATIO, Limits, Query, Row, board, lines, number

STATS = Row(
    "Now",
    [
        number(
            "Predictions",
            "Requests that were answered, per second. Still: look at the service that sends requests.",
            PER_SECOND,
            'sum(rate(riverloop_requests_total{task="$task"}[$__rate_interval]))',
        ),
        number(
            "Outcomes",
            "Outcomes that the join took, per second. Still, while predictions go on: an outage of outcomes.",
            PER_SECOND,
            'sum(rate(riverloop_outcomes_total{task="$task"}[$__rate_interval]))',
        ),
        number(
            "Lag",
            "How long ago the oldest record came that no worker has taken up, most over the topics.",
            "s",
            'max(riverloop_lag_seconds{task="$task"})',
            Limits(5, 60),
        ),
        number(
            "Freshness, p99",
            "From an outcome's arrival until what it taught serves. The alert is at 5 s.",
            "s",
            'max(task_stage:riverloop_freshness_seconds:p99_5m{task="$task", stage="arrival_to_serving"})',
            Limits(1, 5),
        ),
        number(
            "AUC, newest labels",
            "Of the score that was served, over the newest labels: 0.5 is chance, 1 perfect.",
            "none",
            'max(riverloop_roc_auc_ratio{task="$task", role="served", window=~"last_.*", segment=""})',
            none="see Model quality",
        ),
        number(
            "Open episodes",
            "Of drift, delays, an outage of outcomes and others. T.alerts has the evidence of each.",
            "none",
            'sum(max by (segment) (riverloop_open_episodes{task="$task"}))',
            Limits(bad=1),
        ),
    ],
)
SERVING = Row(
    "Serving",
    [
        lines(
            "Rate",
            "Requests per second: all that were answered, and those over HTTP.",
            PER_SECOND,
            Query('sum(rate(riverloop_requests_total{task="$task"}[$__rate_interval]))', "answered"),
            Query('sum(rate(riverloop_http_predictions_total{task="$task"}[$__rate_interval]))', "over HTTP"),
            least=0,
            width=8,
        ),
        lines(
            "Errors",
            "Share of what comes that is refused, into dead letters or over HTTP. The alert is at 1 %; "
            "riverloop deadletters shows what was wrong.",
            RATIO,
            Query(
                'max(task:riverloop_dead_letters_per_prediction:ratio_rate5m{task="$task"})', "dead letters"
            ),
            Query(
                'sum(rate(riverloop_http_refused_total{task="$task"}[$__rate_interval])) / (sum(rate('
                'riverloop_http_refused_total{task="$task"}[$__rate_interval])) + sum(rate('
                'riverloop_http_predictions_total{task="$task"}[$__rate_interval])))',
                "of HTTP",
            ),
            limits=Limits(bad=0.01),
            least=0,
            width=8,
        ),
        lines(
            "Duration",
            "From a request's arrival to its answer, committed on the topic or acknowledged over HTTP. "
            "On the topic, a transaction of a batch is part of it.",
            "s",
            Query(
                "histogram_quantile(0.5, sum by (le, way) (rate("
                'riverloop_answer_seconds_bucket{task="$task"}[$__rate_interval])))',
                "{{way}}, p50",
            ),
            Query(
                "histogram_quantile(0.99, sum by (le, way) (rate("
                'riverloop_answer_seconds_bucket{task="$task"}[$__rate_interval])))',
                "{{way}}, p99",
            ),
            least=0,
            width=8,
        ),
    ],
)
LEARNING = Row(
    "From outcome to model",
    [
        lines(
            "Lag by topic",
            "How long ago the oldest record came that was not taken up, by topic. Outcomes that wait for stream "
            "time to reach them count, too.",
            "s",
            Query('max by (topic) (riverloop_lag_seconds{task="$task"})', "{{topic}}"),
            least=0,
        ),
        lines(
            "Freshness by stage, p99",
            "From an outcome's arrival until it lies in the log, from there until it is applied where requests are "
            "served, and both.",
            "s",
            Query(
                'max by (stage) (task_stage:riverloop_freshness_seconds:p99_5m{task="$task"})', "{{stage}}"
            ),
            limits=Limits(bad=5),
            least=0,
        ),
        lines(
            "What the join concluded",
            "Resolutions per second. Many late ones: the horizon is too short. Orphans: outcomes of requests that "
            "nobody asked about.",
            PER_SECOND,
            *(
                Query(f'sum(rate(riverloop_{name}_total{{task="$task"}}[$__rate_interval]))', name)
                for name in ("labelled", "expired", "late", "revised", "unavailable", "orphan")
            ),
            least=0,
        ),
        lines(
            "Waiting",
            "Predictions without a resolution. It grows for a horizon after the start, and is level then.",
            "short",
            Query('max(riverloop_waiting{task="$task"})', "predictions"),
            least=0,
        ),
    ],
)


def loop() -> models.Dashboard:
    """Make the board."""
    says = "Does the loop turn: requests, predictions, outcomes, examples, and back."
    return board("Loop", says, [STATS, SERVING, LEARNING], [EPISODES, REVISIONS])
