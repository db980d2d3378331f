"""The board of drift: has the world moved, or only a feed."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import EPISODES, REVISIONS
from docs.make.grafana.parts import NATS, PER_SECOND, RATIO, Limits, Query, Row, board, lines
from streams.quality.judge import LARGE, MODERATE


def _signal(name: str) -> Query:
    return Query(f'riverloop_signal_mean{{task="$task", segment="{name}"}}', "{{model}} ({{role}})")


WINDOW = (
    "Mean of the detector's window, which begins anew at an alarm. Its threshold depends on the window, so "
)
EVIDENCE = "the evidence on T.alerts has the one that was passed; red spans are open episodes."
FAMILIES = Row(
    "Episodes",
    [
        lines(
            "Open episodes",
            "1 while an episode of the family is open; the alerts fire above 0. While an outage of outcomes is "
            "open, the others are held back.",
            "none",
            Query('max by (segment) (riverloop_open_episodes{task="$task"})', "{{segment}}"),
            limits=Limits(bad=1),
            least=0,
        ),
        lines(
            "Predictions and outcomes",
            "Outcomes that fall while predictions go on are an outage, not a change of customers.",
            PER_SECOND,
            Query('sum(rate(riverloop_predictions_total{task="$task"}[$__rate_interval]))', "predictions"),
            Query('sum(rate(riverloop_outcomes_total{task="$task"}[$__rate_interval]))', "outcomes"),
            least=0,
        ),
    ],
)
SIGNALS = Row(
    "Signals of the labelled stream, the most telling first",
    [
        lines(
            "Excess log loss",
            "Log loss minus the entropy of the model's own score: above 0 it errs more than it expects to. "
            + WINDOW
            + EVIDENCE,
            NATS,
            _signal("excess_log_loss"),
        ),
        lines("Error", "Share of wrong decisions. " + WINDOW + EVIDENCE, RATIO, _signal("error")),
        lines(
            "Labels",
            "Mean of the labels, once per policy. " + WINDOW + EVIDENCE,
            RATIO,
            _signal("label_mean"),
        ),
        lines(
            "Scores",
            "Mean of the scores. It moves before any label does. " + WINDOW + EVIDENCE,
            RATIO,
            _signal("score_mean"),
        ),
    ],
)
FEATURES = Row(
    "Features and delays",
    [
        lines(
            "Features that moved most",
            f"Population stability index beyond what chance gives, last window: an episode opens above "
            f"{LARGE:g}, and is kept open above {MODERATE:g}. Ten features at most.",
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
            "From the request to its outcome, in event time. When this moves alone, the world is what it was.",
            "s",
            Query('max by (segment) (riverloop_outcome_delay_seconds{task="$task"})', "{{segment}}"),
            least=0,
        ),
    ],
)


def drift() -> models.Dashboard:
    """Make the board."""
    says = "Has the concept moved, the features, the delays, or has a feed died?"
    return board("Drift", says, [FAMILIES, SIGNALS, FEATURES], [EPISODES, REVISIONS])
