"""The board of the models: how good was what was served, and how much of the truth is in."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import EPISODES, REVISIONS
from docs.make.grafana.parts import PER_SECOND, RATIO, REFERENCE, Limits, Query, Row, board, lines, variable

NAMES: Final = "log_loss_nats|roc_auc_ratio|accuracy_ratio|f1_ratio|brier_ratio|mae|rmse|r2_ratio"
"""Which metrics the reader may choose from: those of the task's kind are there."""
MODELS = Row(
    "Served, and what the shadows would have served",
    [
        lines(
            "$metric of the newest labels, and the champion's of all",
            "The dashed line is the champion's over all labels so far: a line that leaves it for good has changed. "
            "Shadows are scored on the same labels. Compare, then look at Drift.",
            "none",
            Query(
                '{__name__="$metric", task="$task", window=~"last_.*", segment=""}',
                "{{model}} ({{role}}), {{window}}",
            ),
            Query(
                '{__name__="$metric", task="$task", window="all", segment="", role="served"}',
                f"{REFERENCE}: {{{{model}}}}, all labels",
            ),
            width=24,
        ),
        lines(
            "Do scores mean what they say?",
            "Mean score and share of positives among the newest labels: they should agree. For tasks that give "
            "probabilities.",
            RATIO,
            Query(
                'riverloop_mean_score_ratio{task="$task", role="served", window=~"last_.*", segment=""}',
                "mean score",
            ),
            Query(
                'riverloop_base_rate_ratio{task="$task", role="served", window=~"last_.*", segment=""}',
                "share of positives",
            ),
            least=0,
        ),
        lines(
            "Calibration error",
            "ECE over ten groups of scores, newest labels. Rising: look at the calibration table in the status.",
            RATIO,
            Query('riverloop_ece_ratio{task="$task", window=~"last_.*", segment=""}', "{{model}} ({{role}})"),
            least=0,
        ),
        lines(
            "Accuracy before the labels, and after",
            "Estimated from calibrated scores alone (CBPE): of what waits, and of the newest labels, for which the "
            "realised one stands beside it. Where these two part, the concept moved, and no estimate is to be "
            "believed.",
            RATIO,
            Query(
                'riverloop_estimated_accuracy_ratio{task="$task", role="served", window="waiting", segment=""}',
                "estimated, of what waits",
            ),
            Query(
                'riverloop_estimated_accuracy_ratio{task="$task", role="served", window=~"last_.*", segment=""}',
                "estimated",
            ),
            Query(
                'riverloop_accuracy_ratio{task="$task", role="served", window=~"last_.*", segment=""}',
                "realised",
            ),
        ),
        lines(
            "What the shadow would have gained",
            "Loss as served minus the shadow's, over the same requests, with its 95 % interval, which holds "
            "whenever one looks. The whole interval above 0: promote the shadow.",
            "none",
            Query(
                '{__name__=~"riverloop_(log_loss_gain_nats|mae_gain)", task="$task"}', "{{model}} {{segment}}"
            ),
            Query('{__name__=~"riverloop_(log_loss_gain_low_nats|mae_gain_low)", task="$task"}', "at least"),
            Query('{__name__=~"riverloop_(log_loss_gain_high_nats|mae_gain_high)", task="$task"}', "at most"),
        ),
        lines(
            "Examples learned",
            "Examples that each model's state has learned, per second.",
            PER_SECOND,
            Query('max by (model) (deriv(riverloop_model_learned{task="$task"}[2m]))', "{{model}}"),
            least=0,
        ),
        lines(
            "Entries passed over",
            "Share of the last 1,000 labelled entries from which a model did not learn because its code raised, "
            "divided by the task's limit. At 1 the model stops learning; the alert is at 0.5.",
            "none",
            Query('max by (model) (riverloop_model_passed_over_ratio{task="$task"})', "{{model}}"),
            Query('max by (model) (riverloop_model_stopped{task="$task"})', "{{model}} stopped"),
            limits=Limits(0.5, 1),
            least=0,
        ),
        lines(
            "Requests without a score",
            "Requests per second for which a model's code raised, or its score was not finite. Of the served model "
            "each is a dead letter, or answered by the fallback.",
            PER_SECOND,
            Query('task_model:riverloop_model_failures:rate5m{task="$task"}', "{{model}}"),
            least=0,
        ),
    ],
)
MATURITY = Row(
    "Maturity: how much of the truth is in",
    [
        lines(
            "Coverage",
            "Share of all predictions that have a resolution. What has none yet is in no metric.",
            RATIO,
            Query('max(riverloop_coverage_ratio{task="$task"})', "resolved"),
            least=0,
        ),
        lines(
            "Outcomes among resolutions, by the request's age",
            "In parts of the horizon. A fall in the young cohorts, predictions going on: outcomes are late or "
            "lost. Never compare a young cohort with an old one.",
            RATIO,
            Query('max by (window) (riverloop_label_rate_ratio{task="$task"})', "{{window}}"),
            least=0,
        ),
        lines(
            "Delay of outcomes",
            "From the request to its outcome, in event time. A later median makes the models learn later.",
            "s",
            Query('max by (segment) (riverloop_outcome_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
        lines(
            "Delay of reports",
            "From the outcome to its arrival. Of a replayed history it is the history's age.",
            "s",
            Query('max by (segment) (riverloop_report_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
    ],
)


def quality() -> models.Dashboard:
    """Make the board."""
    says = "How good was what was served, once the truth was known; how much of it is known."
    metric = variable("metric", "Metric", f"metrics(riverloop_({NAMES})$)")
    return board("Model quality", says, [MODELS, MATURITY], [EPISODES, REVISIONS], [metric])
