"""The board of drift: has the world moved, or only a feed."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import DECISIONS, EPISODES
from docs.make.grafana.parts import NATS, PER_SECOND, RATIO, Limits, Query, Row, board, lines
from streams.quality.judge import LARGE, MODERATE


def _signal(name: str) -> Query:
    return Query(f'riverloop_signal_mean{{task="$task", segment="{name}"}}', "{{model}} ({{role}})")


WINDOW = "Mean of the detector's window, which restarts at an alarm. "
EVIDENCE = "The evidence on T.alerts has the threshold. Red spans are open episodes."
FAMILIES = Row(
    "Episodes",
    [
        lines(
            "Open episodes",
            "1 while an episode of the family is open; the alerts fire above 0. During an outage of "
            "outcomes the others are held back.",
            "none",
            Query('max by (segment) (riverloop_open_episodes{task="$task"})', "{{segment}}"),
            limits=Limits(bad=1),
            least=0,
        ),
        lines(
            "Predictions and outcomes",
            "If outcomes fall at a steady rate of predictions, outcomes are lost or late.",
            PER_SECOND,
            Query('sum(rate(riverloop_predictions_total{task="$task"}[$__rate_interval]))', "predictions"),
            Query('sum(rate(riverloop_outcomes_total{task="$task"}[$__rate_interval]))', "outcomes"),
            least=0,
        ),
    ],
)
SIGNALS = Row(
    "Signals of the labelled stream",
    [
        lines(
            "Excess log loss",
            "Log loss minus the entropy of the model's own score: above 0 the model errs more than its "
            "scores predict. " + WINDOW + EVIDENCE,
            NATS,
            _signal("excess_log_loss"),
        ),
        lines("Error", "Share of incorrect decisions. " + WINDOW + EVIDENCE, RATIO, _signal("error")),
        lines(
            "Labels",
            "Mean of the labels, once per policy. " + WINDOW + EVIDENCE,
            RATIO,
            _signal("label_mean"),
        ),
        lines(
            "Scores",
            "Mean of the scores. It moves before labels do. " + WINDOW + EVIDENCE,
            RATIO,
            _signal("score_mean"),
        ),
    ],
)
FEATURES = Row(
    "Features and delays",
    [
        lines(
            "Features with the highest PSI",
            "Population stability index minus its expectation without drift, last window. An episode opens "
            f"above {LARGE:g} and stays open above {MODERATE:g}. Ten features.",
            NATS,
            Query(
                'topk(10, max by (segment) (riverloop_feature_psi_nats{task="$task"}))',
                "{{segment}}",
            ),
            limits=Limits(MODERATE, LARGE),
            least=0,
        ),
        lines(
            "Delay of outcomes",
            "From the request to its outcome, in event time. If only this moves, the data has not drifted.",
            "s",
            Query('max by (segment) (riverloop_outcome_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
    ],
)


def drift() -> models.Dashboard:
    """Make the board."""
    says = "Drift of the concept, the features and the delays, and outages of outcomes."
    return board("Drift", says, [FAMILIES, SIGNALS, FEATURES], [EPISODES, DECISIONS])
