"""The bounds at which a backtest fails."""

from __future__ import annotations

from typing import Any

import pytest

from agents.cli.bounds import found_in, parse_bounds
from schemas.errors import UsageError

NAN = float("nan")
REPORT: dict[str, Any] = {
    "requests": 120,
    "coverage": 0.75,
    "label_rate": None,
    "models": {
        "lr": {
            "n": 100,
            "accuracy": 0.8,
            "log_loss": 0.4,
            "version": "lr.1@5",
            "published": {"accuracy": 0.8, "brier": 0.1, "mean_score": 0.3, "count": 100},
            "segments": {
                "country=DE": {"accuracy": 0.6, "count": 31},
                "country=FR": {"accuracy": 0.9, "count": 29},
            },
            "classes": {
                "true": {"class_recall": 0.25, "count": 40},
                "false": {"class_recall": 0.9, "count": 9},
            },
        },
    },
    "baselines": {
        "ht-2": {"n": 20, "accuracy": 0.79, "log_loss": NAN, "published": {}, "segments": {}},
    },
}
MODELS = ["lr", "ht-2"]


def failure(side: Any, text: str, least: int = 30) -> str:
    (bound,) = parse_bounds(side, [text], MODELS, "binary")
    return bound.failure(found_in(REPORT), least)


@pytest.mark.parametrize(
    ("side", "text", "reason"),
    [
        ("below", "accuracy=0.8", ""),
        ("below", "accuracy=8e-1", ""),
        ("below", "accuracy=0.81", "lr.accuracy is 0.800000, below the bound 0.81"),
        ("above", "log_loss=0.4", ""),
        ("above", "lr.log_loss=0.39", "lr.log_loss is 0.400000, above the bound 0.39"),
        ("above", "brier=0.05", "lr.brier is 0.100000, above the bound 0.05"),
        ("below", "mean_score=0.5", "lr.mean_score is 0.300000, below the bound 0.5"),
        ("above", "mean_score=0.2", "lr.mean_score is 0.300000, above the bound 0.2"),
        ("below", "accuracy@country=DE=0.5", ""),
        ("below", "lr.accuracy@country=DE=0.7", "lr.accuracy@country=DE is 0.600000, below the bound 0.7"),
        (
            "below",
            "accuracy@country=FR=0.5",
            "lr.accuracy@country=FR rests on 29 label(s), --min-labels wants 30",
        ),
        ("below", "accuracy@country=AT=0.5", "lr.accuracy@country=AT has no value"),
        ("below", "ht-2.accuracy=0.5", "ht-2.accuracy rests on 20 label(s), --min-labels wants 30"),
        ("above", "ht-2.log_loss=0.5", "ht-2.log_loss has no value"),
        ("below", "roc_auc=0.5", "lr.roc_auc has no value"),
        ("below", "class_recall@class=true=0.2", ""),
        (
            "below",
            "class_recall@class=true=0.3",
            "lr.class_recall@class=true is 0.250000, below the bound 0.3",
        ),
        (
            "below",
            "class_recall@class=false=0.3",
            "lr.class_recall@class=false rests on 9 label(s), --min-labels wants 30",
        ),
        ("below", "coverage=0.8", "lr.coverage is 0.750000, below the bound 0.8"),
        ("below", "coverage=0.7", ""),
        ("below", "label_rate=0.1", "lr.label_rate has no value"),
    ],
)
def test_a_bound_fails_on_the_wrong_side_without_a_value_and_without_enough_labels(
    side: str, text: str, reason: str
) -> None:
    assert failure(side, text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ht-2.accuracy=lr-0.02", ""),
        ("ht-2.accuracy=lr", "ht-2.accuracy is 0.790000, below the bound lr with 0.800000+0"),
        ("accuracy=ht-2+0.02", "lr.accuracy is 0.800000, below the bound ht-2 with 0.790000+0.02"),
        ("accuracy=ht-2", ""),
    ],
)
def test_a_bound_may_be_another_model_with_a_margin(text: str, reason: str) -> None:
    assert failure("below", text, 10) == reason


def test_the_other_model_needs_labels_too() -> None:
    assert failure("below", "accuracy=ht-2") == "ht-2.accuracy rests on 20 label(s), --min-labels wants 30"


@pytest.mark.parametrize(
    ("side", "text", "reason"),
    [
        (
            "below",
            "accuracy",
            "must be [MODEL.]METRIC[@FEATURE=LEVEL]=BOUND, such as accuracy=0.7 or lr.log_loss=0.5",
        ),
        ("below", "log_loss=0.5", "log_loss is better when it is lower; use --fail-above"),
        ("above", "accuracy=0.5", "accuracy is better when it is higher; use --fail-below"),
        ("below", "mae=3", "a binary task has no metric 'mae'; it has accuracy, precision, "),
        ("below", "nb.accuracy=0.5", "there is no model 'nb'; there are lr, ht-2"),
        ("below", "accuracy=nb-0.1", "there is no model 'nb'; there are lr, ht-2"),
        ("below", "accuracy=0,5", "the bound '0,5' is no number, and no model with a margin such as lr-0.01"),
    ],
)
def test_a_bound_that_cannot_be_meant_is_rejected(side: Any, text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        failure(side, text)
    assert str(caught.value).startswith(f"--fail-{side} {text}: {reason}")
