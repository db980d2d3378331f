"""The board for the wall: does the loop turn, how fast, how well."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import DECISIONS, EPISODES
from docs.make.grafana.parts import PER_SECOND, RATIO, Limits, Query, Row, board, lines, number

STATS = Row(
    "Now",
    [
        number(
            "Predictions",
            "Requests answered per second. At 0: check the service that sends requests.",
            PER_SECOND,
            'sum(rate(riverloop_requests_total{task="$task"}[$__rate_interval]))',
        ),
        number(
            "Outcomes",
            "Outcomes joined per second. At 0 while predictions continue: an outage of outcomes.",
            PER_SECOND,
            'sum(rate(riverloop_outcomes_total{task="$task"}[$__rate_interval]))',
        ),
        number(
            "Lag",
            "Age of the oldest record not consumed yet, maximum over the topics.",
            "s",
            'max(riverloop_lag_seconds{task="$task"})',
            Limits(5, 60),
        ),
        number(
            "Freshness, p99",
            "Time from an outcome's arrival until the serving models have learned it. Alert above 5 s.",
            "s",
            'max(task_stage:riverloop_freshness_seconds:p99_5m{task="$task", stage="arrival_to_serving"})',
            Limits(1, 5),
        ),
        number(
            "AUC, newest labels",
            "Served scores over the newest labels. 0.5 is random, 1 perfect.",
            "none",
            'max(riverloop_roc_auc_ratio{task="$task", role="served", window=~"last_.*", segment=""})',
            none="see Model quality",
        ),
        number(
            "Open episodes",
            "Episodes of drift, delays, outages and others. Their evidence is on T.alerts.",
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
            "Requests answered per second, in all and over HTTP.",
            PER_SECOND,
            Query('sum(rate(riverloop_requests_total{task="$task"}[$__rate_interval]))', "answered"),
            Query('sum(rate(riverloop_http_predictions_total{task="$task"}[$__rate_interval]))', "over HTTP"),
            least=0,
            width=8,
        ),
        lines(
            "Errors",
            "Share of records rejected, on the topics or over HTTP. Alert above 1 %. riverloop deadletters "
            "shows the records.",
            RATIO,
            Query(
                'max(task:riverloop_dead_letters_per_prediction:ratio_rate5m{task="$task"})', "dead letters"
            ),
            Query(
                'sum(rate(riverloop_http_rejected_total{task="$task"}[$__rate_interval])) / (sum(rate('
                'riverloop_http_rejected_total{task="$task"}[$__rate_interval])) + sum(rate('
                'riverloop_http_predictions_total{task="$task"}[$__rate_interval])))',
                "of HTTP",
            ),
            limits=Limits(bad=0.01),
            least=0,
            width=8,
        ),
        lines(
            "Duration",
            "Time from a request's arrival to its answer, committed on the topic or acknowledged over HTTP.",
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
            "Age of the oldest record not consumed yet, by topic. Outcomes may wait for stream time.",
            "s",
            Query('max by (topic) (riverloop_lag_seconds{task="$task"})', "{{topic}}"),
            least=0,
        ),
        lines(
            "Freshness by stage, p99",
            "Time from an outcome's arrival to the log, from the log to the serving models, and in all.",
            "s",
            Query(
                'max by (stage) (task_stage:riverloop_freshness_seconds:p99_5m{task="$task"})', "{{stage}}"
            ),
            limits=Limits(bad=5),
            least=0,
        ),
        lines(
            "Resolutions",
            "Resolutions per second. Many late: the horizon is too short. Orphans: outcomes of unknown requests.",
            PER_SECOND,
            *(
                Query(f'sum(rate(riverloop_{name}_total{{task="$task"}}[$__rate_interval]))', name)
                for name in ("labelled", "expired", "late", "revised", "unavailable", "orphan")
            ),
            least=0,
        ),
        lines(
            "Waiting",
            "Predictions without a resolution. It grows for one horizon after the start and is then constant.",
            "short",
            Query('max(riverloop_waiting{task="$task"})', "predictions"),
            least=0,
        ),
    ],
)


def loop() -> models.Dashboard:
    """Make the board."""
    says = "Overview: requests, predictions, outcomes, learning."
    return board("Loop", says, [STATS, SERVING, LEARNING], [EPISODES, DECISIONS])
