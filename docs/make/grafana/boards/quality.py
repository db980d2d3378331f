"""The board of the models: how good was what was served, and how much of the truth is in."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import DECISIONS, EPISODES
from docs.make.grafana.parts import PER_SECOND, RATIO, REFERENCE, Limits, Query, Row, board, lines, variable

NAMES: Final = "log_loss_nats|roc_auc_ratio|accuracy_ratio|f1_ratio|brier_ratio|mae|rmse|r2_ratio"
"""Which metrics the reader may choose from: those of the task's kind are there."""
MODELS = Row(
    "Served model and shadows",
    [
        lines(
            "$metric over the newest labels, and of the served model over all",
            "The dashed line is the served model over all labels. Shadows are scored on the same labels. On "
            "a lasting difference, see Drift.",
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
            "Calibration",
            "Mean score and share of positives over the newest labels; they should agree. Binary tasks.",
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
            "ECE over ten groups of scores, newest labels. If it rises, check the calibration table in the status.",
            RATIO,
            Query('riverloop_ece_ratio{task="$task", window=~"last_.*", segment=""}', "{{model}} ({{role}})"),
            least=0,
        ),
        lines(
            "Estimated and realised accuracy",
            "Estimated from calibrated scores (CBPE), for pending predictions and for the newest labels, "
            "beside the realised accuracy. If the two differ, the concept has drifted: do not rely on the "
            "estimate.",
            RATIO,
            Query(
                'riverloop_estimated_accuracy_ratio{task="$task", role="served", window="waiting", segment=""}',
                "estimated, pending",
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
            "Gain of the shadow",
            "Served loss minus the shadow's on the same requests, with its anytime-valid 95 % interval. "
            "Interval above 0: promote the shadow.",
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
            "Entries skipped",
            "Share of the last 1,000 labelled entries from which a model did not learn because its code raised, "
            "divided by the task's limit. At 1 the model stops learning; the alert is at 0.5.",
            "none",
            Query('max by (model) (riverloop_model_skipped_ratio{task="$task"})', "{{model}}"),
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
ROLES = Row(
    "Roles and commands",
    [
        lines(
            "Shares",
            "Share of the requests that each model answers. A step is a command; the page of a worker says whose.",
            RATIO,
            Query('max by (model) (riverloop_model_share_ratio{task="$task"})', "{{model}}"),
            least=0,
            width=8,
        ),
        lines(
            "Frozen and retired",
            "1 while a model does not learn: frozen by a command, or retired.",
            "none",
            Query('max by (model) (riverloop_model_frozen{task="$task"})', "{{model}} frozen"),
            Query('max by (model) (riverloop_model_role{task="$task", role="retired"})', "{{model}} retired"),
            least=0,
            width=8,
        ),
        lines(
            "Commands not active everywhere",
            "Age of the oldest command without a decision, and workers that lack the newest command. Alert after a "
            "minute.",
            "none",
            Query('max(riverloop_command_waiting_seconds{task="$task"})', "seconds without a decision"),
            Query(
                'sum(instance_task:riverloop_commands_not_applied:offsets{task="$task"} > bool 0)',
                "workers that lack the newest",
            ),
            limits=Limits(bad=60),
            least=0,
            width=8,
        ),
    ],
)
MATURITY = Row(
    "Maturity of labels",
    [
        lines(
            "Coverage",
            "Share of predictions with a resolution. The others are in no metric.",
            RATIO,
            Query('max(riverloop_coverage_ratio{task="$task"})', "resolved"),
            least=0,
        ),
        lines(
            "Share of outcomes among resolutions, by request age",
            "Age in parts of the horizon. A fall in young cohorts at a steady rate of predictions: outcomes "
            "are late or lost. Do not compare cohorts of different ages.",
            RATIO,
            Query('max by (window) (riverloop_label_rate_ratio{task="$task"})', "{{window}}"),
            least=0,
        ),
        lines(
            "Delay of outcomes",
            "From the request to its outcome, in event time. If the median rises, models learn later.",
            "s",
            Query('max by (segment) (riverloop_outcome_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
        lines(
            "Delay of reports",
            "From the outcome to its arrival. In a replay it is the age of the data.",
            "s",
            Query('max by (segment) (riverloop_report_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
    ],
)


def quality() -> models.Dashboard:
    """Make the board."""
    says = "Quality of served predictions and maturity of labels."
    metric = variable("metric", "Metric", f"metrics(riverloop_({NAMES})$)")
    return board("Model quality", says, [MODELS, ROLES, MATURITY], [EPISODES, DECISIONS], [metric])
