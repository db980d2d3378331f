"""Every metric, declared once: formula, unit, source, action. The reference page is generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["ratio", "nats", "seconds", "count", "outcome", "signal", "own"]
"""`outcome`: that of the outcome itself; `signal`: nats of `excess_log_loss`, else a ratio; `own`: whatever a
metric of the task's own has."""

SUFFIXES: Final[Mapping[Unit, str]] = {"ratio": "_ratio", "nats": "_nats", "seconds": "_seconds"}


@dataclass(frozen=True, slots=True)
class Declared:
    """Declaration of a metric."""

    name: str
    unit: Unit
    formula: str
    better: Literal["higher", "lower", "neither"]
    action: str
    """What to do when it moves the wrong way."""
    source: str = ""
    """The paper, or the library that computes the cumulative metric."""
    kinds: tuple[str, ...] = ()
    """Kinds of task that have it; empty: a measurement of the loop."""
    counter: bool = False
    """Whether it only increases, with the log."""
    by_model: bool = False
    """Whether a measurement outside `kinds` is one of a model."""
    by_monitor: bool = False
    """Whether each monitor reports its own."""

    @property
    def exported(self) -> str:
        """Its name in Prometheus: with the prefix, and the unit or `_total` behind it.

        Examples
        --------
        >>> [each.exported for each in METRICS if each.name in ("log_loss", "mae", "expired")]
        ['riverloop_log_loss_nats', 'riverloop_mae', 'riverloop_expired_total']
        """
        return f"riverloop_{self.name}{'_total' if self.counter else SUFFIXES.get(self.unit, '')}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels in Prometheus: no request and no version among them."""
        of_model = ("model", "role") if self.kinds or self.by_model else ()
        of_monitor = ("monitor",) if self.by_monitor else ()
        return ("task", *of_model, *of_monitor, "window", "segment")


_B, _C, _R = ("binary",), ("binary", "multiclass"), ("regression",)
_LOSSES: Final[tuple[tuple[str, Unit, tuple[str, ...]], ...]] = (
    ("log_loss", "nats", _C),
    ("mae", "outcome", _R),
)
_CALIBRATION: Final[tuple[tuple[str, Unit, str, str], ...]] = (
    ("slope", "ratio", "b in logit P(label) = a + b logit(score); below 1: scores too extreme", "Cox 1958"),
    ("intercept", "nats", "a of that fit; above 0: scores too low", "Cox 1958"),
    ("score", "ratio", "mean of p in a bin such as `score=0.1-0.2`", ""),
    ("rate", "ratio", "positives / n in the bin; should equal `calibration_score`", ""),
)
_PROMOTE = "Interval above 0: promote the shadow. Interval around 0: no significant difference yet."
_SEQUENCE = "Waudby-Smith and others 2024"
_ESTIMATED = "It falls before `accuracy` because it needs no labels; wait for `accuracy` of the same window."
_COMPARE = "Compare with shadows and earlier versions; check segments, then drift."
_CALIBRATE = "Check the calibration table, the base rate and the label policy."
_OUTCOMES = "Check the service that reports outcomes, and `T.dead-letters`."
_EPISODES = "Read the episode on `T.alerts`: it has the signal and the evidence."
_REQUESTS = "Check the service that sends requests, and `T.dead-letters`."
_FEATURE = "Check the source of the feature."
_PROPOSALS = "`riverloop models rollout status` shows proposals and the author of each decision."
_GATE = "`riverloop models rollout status` says what the gate waits for."
_GATED: Final[tuple[tuple[str, Unit, str], ...]] = (
    ("gate_estimate", "ratio", "mean gain of a challenger over whole cohorts, on the gate's scale of loss"),
    ("gate_low", "ratio", "lower bound of that gain, empirical Bernstein"),
    ("gate_high", "ratio", "upper bound of that gain"),
    ("gate_labels", "count", "matured requests with a label that the gate has counted"),
)

METRICS: Final = (
    Declared("accuracy", "ratio", "correct decisions / n", "higher", _COMPARE, "River", _C),
    Declared("precision", "ratio", "TP / (TP + FP), macro-averaged", "higher", _COMPARE, "", _C),
    Declared("recall", "ratio", "TP / (TP + FN), macro-averaged", "higher", _COMPARE, "", _C),
    Declared("f1", "ratio", "2 TP / (2 TP + FP + FN), macro-averaged", "higher", _COMPARE, "River", _C),
    Declared(
        "log_loss",
        "nats",
        "mean of -ln p(label), p clipped at 1e-15; p of an unknown class is 0",
        "lower",
        _COMPARE,
        "River, for two classes",
        _C,
    ),
    Declared(
        "cross_entropy",
        "nats",
        "`log_loss`, but 0 for a label that the model does not know",
        "lower",
        "Use `log_loss`; this is for comparison with River's `CrossEntropy`.",
        "River",
        ("multiclass",),
    ),
    Declared("confusion", "count", "labels by `outcome=…&decision=…`", "neither", _COMPARE, "", _C),
    Declared("class_precision", "ratio", "TP / (TP + FP) of a class, `class=…`", "higher", _COMPARE, "", _C),
    Declared("class_recall", "ratio", "TP / (TP + FN) of a class", "higher", _COMPARE, "", _C),
    Declared("class_f1", "ratio", "2 TP / (2 TP + FP + FN) of a class", "higher", _COMPARE, "", _C),
    Declared("brier", "ratio", "mean of (p - label)²", "lower", _CALIBRATE, "Brier 1950", _B),
    Declared(
        "roc_auc",
        "ratio",
        "P(score of a positive > score of a negative), over 402 bins of the logit",
        "higher",
        _COMPARE,
        "Mann and Whitney 1947",
        _B,
    ),
    Declared(
        "pr_auc",
        "ratio",
        "average precision over these bins: Σ precision times share of the positives",
        "higher",
        _COMPARE,
        "",
        _B,
    ),
    Declared(
        "ece",
        "ratio",
        "Σ |mean score - base rate| n_g / n over 10 equal-width bins",
        "lower",
        _CALIBRATE,
        "Naeini and others 2015",
        _B,
    ),
    *(
        Declared(f"calibration_{name}", unit, formula, "neither", _CALIBRATE, source, _B)
        for name, unit, formula, source in _CALIBRATION
    ),
    Declared(
        "base_rate",
        "ratio",
        "positives / n",
        "neither",
        "A step while `coverage` falls is an outage of outcomes.",
        "",
        _B,
    ),
    Declared(
        "mean_score",
        "ratio",
        "mean of p",
        "neither",
        "Compare with `base_rate`; the two should agree.",
        "",
        _B,
    ),
    Declared("mae", "outcome", "mean of |error|", "lower", _COMPARE, "River", _R),
    Declared("rmse", "outcome", "√ mean of error²", "lower", _COMPARE, "River", _R),
    Declared("r2", "ratio", "1 - Σ error² / Σ (outcome - mean)²", "higher", _COMPARE, "River", _R),
    Declared("mean_outcome", "outcome", "mean of the outcomes", "neither", _OUTCOMES, "", _R),
    *(
        Declared(
            f"quantile_loss_{name}", "outcome", formula, "lower", _COMPARE, "Koenker and Bassett 1978", _R
        )
        for name, formula in (
            ("10", "mean of max(0.1 e, -0.9 e), e = outcome - score"),
            ("90", "mean of max(0.9 e, -0.1 e), e = outcome - score"),
        )
    ),
    Declared(
        "estimated_accuracy",
        "ratio",
        "mean calibrated probability that the decision is correct, calibrated on older labels",
        "higher",
        _ESTIMATED,
        "CBPE, after Garg and others 2022",
        _B,
    ),
    Declared(
        "estimated_roc_auc",
        "ratio",
        "`roc_auc` with calibrated probabilities instead of labels",
        "higher",
        _ESTIMATED,
        "CBPE",
        _B,
    ),
    Declared(
        "estimate_gap",
        "ratio",
        "accuracy - estimated_accuracy over the same labels",
        "neither",
        "Far from 0: the concept has drifted; do not rely on the estimate.",
        "CBPE",
        _B,
    ),
    *(
        Declared(f"{loss}_gain{end}", unit, formula, "higher", _PROMOTE, source, kinds)
        for loss, unit, kinds in _LOSSES
        for end, formula, source in (
            ("", f"mean of (served - shadow) `{loss}`, same requests; segment `against=` served", ""),
            ("_low", "lower bound of its anytime-valid 95 % interval", _SEQUENCE),
            ("_high", "upper bound of that interval", _SEQUENCE),
        )
    ),
    Declared(
        "coverage", "ratio", "predictions with a first resolution / predictions joined", "higher", _OUTCOMES
    ),
    Declared(
        "label_rate",
        "ratio",
        "first resolutions with an outcome / first resolutions, by request age",
        "neither",
        "A fall in young cohorts at a steady rate of predictions: outcomes are late or lost.",
    ),
    Declared(
        "outcome_delay",
        "seconds",
        "quantile of outcome ts - request ts, within 2.2 %",
        "neither",
        "Models learn later; outcomes beyond the horizon count as late.",
    ),
    Declared(
        "report_delay",
        "seconds",
        "quantile of outcome arrival - outcome ts, within 2.2 %",
        "lower",
        _OUTCOMES,
    ),
    Declared(
        "predictions",
        "count",
        "predictions consumed by the join",
        "neither",
        "No increase: check `T.requests`.",
        counter=True,
    ),
    Declared("outcomes", "count", "outcomes consumed by the join", "neither", _OUTCOMES, counter=True),
    Declared("waiting", "count", "predictions without a resolution", "lower", _OUTCOMES),
    Declared(
        "oldest_waiting",
        "seconds",
        "stream time - ts of the oldest pending request, maximum over partitions",
        "lower",
        "Above horizon + grace: the join of a partition has stopped.",
    ),
    Declared(
        "watermark_lag",
        "seconds",
        "highest - lowest stream time of the partitions",
        "lower",
        "A partition has no requests, or its join has stopped.",
    ),
    *(
        Declared(name, "count", formula, "neither", action, counter=True)
        for name, formula, action in (
            ("labelled", "outcomes in time", _OUTCOMES),
            ("expired", "requests without an outcome by their deadline", _OUTCOMES),
            ("late", "outcomes after their expiry", "Many: the horizon is too short."),
            ("revised", "corrections of an outcome", "A step: a bulk correction."),
            ("unavailable", "outcomes without a value", _OUTCOMES),
            ("early", "outcomes before their prediction", "Many: serving lags."),
            ("orphan", "outcomes of unknown or forgotten requests", _OUTCOMES),
            ("duplicate_prediction", "further predictions of a request", "A service sends requests twice."),
            ("duplicate_outcome", "identical outcomes sent again", "Harmless: a service retries."),
            ("stale_revision", "corrections older than the current outcome", "A service sends out of order."),
        )
    ),
    Declared(
        "open_episodes", "count", "1 while an episode is open, by family", "lower", _EPISODES, by_monitor=True
    ),
    Declared(
        "episodes", "count", "episodes opened, by family", "neither", _EPISODES, counter=True, by_monitor=True
    ),
    Declared("signal_mean", "signal", "mean of the detector's window", "neither", _EPISODES, by_model=True),
    Declared("proposals", "count", "proposals that wait for an approval", "neither", _PROPOSALS),
    Declared("break_glass", "count", "commands done with `--break-glass`", "lower", _PROPOSALS, counter=True),
    *(Declared(name, unit, formula, "neither", _GATE, by_model=True) for name, unit, formula in _GATED),
    *(
        Declared(name, "count", formula, "neither", _REQUESTS, counter=True)
        for name, formula in (
            ("requests", "requests answered"),
            ("requests_rejected", "requests rejected"),
            ("requests_repeated", "requests whose id was already answered"),
            ("requests_disordered", "requests older than their predecessor"),
            ("requests_counted_late", "requests counted after their minute was closed"),
            ("rejected", "rejected requests, by reason"),
            ("warned", "unknown fields and out-of-range values, by field"),
        )
    ),
    *(
        Declared(name, "ratio", formula, "lower", _FEATURE)
        for name, formula in (
            ("feature_missing", "requests without the feature / requests"),
            ("feature_outside", "out-of-range values / values"),
            ("feature_unseen", "values of levels unknown to the reference / values"),
        )
    ),
    *(
        Declared(name, "nats", f"{formula} minus its expectation without drift", "lower", _FEATURE)
        for name, formula in (
            ("feature_psi", "population stability index"),
            ("feature_js", "Jensen-Shannon divergence"),
            ("feature_psi_season", "PSI against the same season of last year"),
        )
    ),
    Declared("feature_psi_limit", "nats", "PSI above which a feature counts as drifted", "neither", _FEATURE),
)
EXTRA: Final = Declared(
    "extra", "own", "the task's own metrics, by `metric`", "neither", _COMPARE, by_model=True
)
"""The family in Prometheus of `MetricRules(extra=…)`: a metric of one task may mean something else in another's."""
UNITS: Final = {each.name: each.unit for each in METRICS}
