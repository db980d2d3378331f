"""Every metric, declared once: formula, unit, source, and what to do. The reference page comes from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from river import metrics
from river.metrics.base import Metric

from streams.metrics import binary, multiclass, regression

CLASSIFICATION: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.F1,
    "log_loss": metrics.LogLoss,
}
MULTICLASS: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.MacroF1,
    "log_loss": metrics.CrossEntropy,
}
REGRESSION: Mapping[str, Callable[[], Metric]] = {
    "mae": metrics.MAE,
    "rmse": metrics.RMSE,
    "r2": metrics.R2,
}
REGISTRY: Final = {"binary": CLASSIFICATION, "multiclass": MULTICLASS, "regression": REGRESSION}
"""River's, cumulative: to the last digit what `progressive_val_score` gives."""

KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "binary": ("log_loss",),
    "multiclass": tuple(MULTICLASS),
    "regression": tuple(REGRESSION),
}
"""Those whose River object is folded: the others are the same number, made of whole counts for a fraction of the
cost (accuracy and F1 of two classes)."""

TALLIES: Final[Mapping[str, Callable[[], Any]]] = {
    "binary": binary.BinaryTally,
    "multiclass": multiclass.MulticlassTally,
    "regression": regression.RegressionTally,
}
OBSERVE: Final[Mapping[str, Callable[..., Any]]] = {
    "binary": binary.observe,
    "multiclass": multiclass.observe,
    "regression": regression.observe,
}

Unit = Literal["ratio", "nats", "seconds", "count", "outcome", "signal"]
"""`outcome`: that of the outcome itself; `signal`: nats of `excess_log_loss`, else a ratio."""

SUFFIXES: Final[Mapping[Unit, str]] = {"ratio": "_ratio", "nats": "_nats", "seconds": "_seconds"}


@dataclass(frozen=True, slots=True)
class Declared:
    """What a metric is."""

    name: str
    unit: Unit
    formula: str
    better: Literal["higher", "lower", "neither"]
    do: str
    """What to do when it moves the wrong way."""
    source: str = ""
    """The paper, or the library that computes the cumulative one."""
    kinds: tuple[str, ...] = ()
    """Kinds of task that have it; none: a measurement of the loop."""
    counter: bool = False
    """Whether it only grows, with the log."""
    by_model: bool = False
    """Whether a measurement outside `kinds` is one of a model."""
    by_monitor: bool = False
    """Whether several monitors give it, each of its own."""

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
_PROMOTE = "Its interval above 0: promote the shadow. Around 0: not known yet, or no difference."
_SEQUENCE = "Confidence sequence, Waudby-Smith and others 2024"
_COMPARE = "Compare with the shadows and the older versions; look at segments, then at drift."
_CALIBRATE = "Look at the calibration table; the base rate may have moved, or the label policy be wrong."
_OUTCOMES = "Look at the service that reports outcomes, and at `T.dead-letters`."
_EPISODES = "Read the episode on `T.alerts`: it names the signal and has the evidence."
_REQUESTS = "Look at the service that sends requests, and at `T.dead-letters`."
_FEATURE = "Look at where the feature comes from; compare with the same feature of other segments."

METRICS: Final = (
    Declared("accuracy", "ratio", "right decisions / n", "higher", _COMPARE, "River", _C),
    Declared(
        "precision", "ratio", "TP / (TP + FP); several classes: mean over them", "higher", _COMPARE, "", _C
    ),
    Declared(
        "recall", "ratio", "TP / (TP + FN); several classes: mean over them", "higher", _COMPARE, "", _C
    ),
    Declared(
        "f1",
        "ratio",
        "2 TP / (2 TP + FP + FN); several classes: mean over them",
        "higher",
        _COMPARE,
        "River",
        _C,
    ),
    Declared(
        "log_loss",
        "nats",
        "mean of -ln p(label), p held within 1e-15 of 0 and 1",
        "lower",
        _COMPARE,
        "River",
        _C,
    ),
    Declared("brier", "ratio", "mean of (p - label)²", "lower", _CALIBRATE, "Brier 1950", _B),
    Declared(
        "roc_auc",
        "ratio",
        "P(score of a positive > of a negative), ties half, over 402 bins of the logit",
        "higher",
        _COMPARE,
        "Mann and Whitney 1947",
        _B,
    ),
    Declared(
        "ece",
        "ratio",
        "Σ |mean score - base rate| n_g / n over 10 groups of equal width",
        "lower",
        _CALIBRATE,
        "Naeini and others 2015",
        _B,
    ),
    Declared(
        "calibration_slope",
        "ratio",
        "b of logit P(label) = a + b logit(score), over the bins; below 1: too extreme",
        "neither",
        _CALIBRATE,
        "Cox 1958",
        _B,
    ),
    Declared(
        "calibration_intercept",
        "nats",
        "a of the same fit; above 0: scores too low",
        "neither",
        _CALIBRATE,
        "Cox 1958",
        _B,
    ),
    Declared(
        "calibration_score",
        "ratio",
        "mean of p within a group of scores, `score=0.1-0.2`",
        "neither",
        _CALIBRATE,
        "",
        _B,
    ),
    Declared(
        "calibration_rate",
        "ratio",
        "positives / n of the same group; should equal `calibration_score`",
        "neither",
        _CALIBRATE,
        "",
        _B,
    ),
    Declared(
        "base_rate",
        "ratio",
        "positives / n",
        "neither",
        "A step with a falling `coverage` is an outage of outcomes, not a change of customers.",
        "",
        _B,
    ),
    Declared(
        "mean_score", "ratio", "mean of p", "neither", "Compare with `base_rate`: they should agree.", "", _B
    ),
    Declared("mae", "outcome", "mean of |error|", "lower", _COMPARE, "River", _R),
    Declared("rmse", "outcome", "√ mean of error²", "lower", _COMPARE, "River", _R),
    Declared("r2", "ratio", "1 - Σ error² / Σ (outcome - mean)²", "higher", _COMPARE, "River", _R),
    Declared("mean_outcome", "outcome", "mean of the outcomes", "neither", _OUTCOMES, "", _R),
    Declared(
        "quantile_loss_10",
        "outcome",
        "mean of max(0.1 e, -0.9 e), e = outcome - score",
        "lower",
        _COMPARE,
        "Koenker and Bassett 1978",
        _R,
    ),
    Declared(
        "quantile_loss_90",
        "outcome",
        "mean of max(0.9 e, -0.1 e), e = outcome - score",
        "lower",
        _COMPARE,
        "Koenker and Bassett 1978",
        _R,
    ),
    Declared(
        "estimated_accuracy",
        "ratio",
        "Σ over scores of the calibrated probability that the decision is right; calibration from all that is "
        "older than the window; of `waiting` from all labels, in ten groups",
        "higher",
        "It needs no labels of its own: it falls first. Wait for `accuracy` of the same window.",
        "CBPE, after Garg and others 2022",
        _B,
    ),
    Declared(
        "estimated_roc_auc",
        "ratio",
        "`roc_auc` with calibrated probabilities in place of labels",
        "higher",
        "As `estimated_accuracy`.",
        "CBPE",
        _B,
    ),
    Declared(
        "estimate_gap",
        "ratio",
        "accuracy - estimated_accuracy over the same labels",
        "neither",
        "Far from 0: the estimate is not to be believed now, since the concept moved.",
        "CBPE",
        _B,
    ),
    *(
        Declared(f"{loss}_gain{end}", unit, formula, "higher", _PROMOTE, source, kinds)
        for loss, unit, kinds in _LOSSES
        for end, formula, source in (
            ("", f"mean of `{loss}` as served - the shadow's, same requests; segment `against=` served", ""),
            ("_low", "lower end of its 95 % interval, which may be looked at at any time", _SEQUENCE),
            ("_high", "upper end of that interval", _SEQUENCE),
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
        "A fall in the young cohorts with a steady flow of predictions: outcomes are late or lost.",
    ),
    Declared(
        "outcome_delay",
        "seconds",
        "quantile of outcome ts - request ts, in bins of 4.4 %",
        "neither",
        "A later median makes models learn later; beyond the horizon outcomes count as late.",
    ),
    Declared(
        "report_delay",
        "seconds",
        "quantile of the outcome's arrival - its ts, in bins of 4.4 %",
        "lower",
        _OUTCOMES,
    ),
    Declared(
        "predictions",
        "count",
        "predictions that the join took",
        "neither",
        "Still: look at `T.requests`.",
        counter=True,
    ),
    Declared("outcomes", "count", "outcomes that the join took", "neither", _OUTCOMES, counter=True),
    Declared("waiting", "count", "predictions without a resolution", "lower", _OUTCOMES),
    Declared(
        "oldest_waiting",
        "seconds",
        "stream time - ts of the oldest request that waits; most over partitions",
        "lower",
        "Above horizon + grace: a partition's join stands still.",
    ),
    Declared(
        "watermark_lag",
        "seconds",
        "newest stream time - that of the partition furthest behind",
        "lower",
        "A partition without requests, or a join that stands still.",
    ),
    *(
        Declared(name, "count", formula, "neither", do, counter=True)
        for name, formula, do in (
            ("labelled", "outcomes in time", _OUTCOMES),
            ("expired", "deadlines that passed without an outcome", _OUTCOMES),
            ("late", "outcomes after their expiry", "Many: the horizon is too short for the outcomes."),
            ("revised", "corrections of an outcome", "A step: somebody corrects in bulk."),
            ("unavailable", "outcomes that say that there will be none", _OUTCOMES),
            ("early", "outcomes that waited for their prediction", "Many: serving lags behind the outcomes."),
            ("orphan", "outcomes whose request is not known or was forgotten", _OUTCOMES),
            (
                "duplicate_prediction",
                "predictions of a request that has one",
                "A service sends requests twice.",
            ),
            ("duplicate_outcome", "outcomes that say the same again", "Harmless; a service retries."),
            ("stale_revision", "corrections older than what stands", "A service sends out of order."),
        )
    ),
    Declared(
        "open_episodes",
        "count",
        "1 while an episode of the family is open",
        "lower",
        _EPISODES,
        by_monitor=True,
    ),
    Declared(
        "episodes",
        "count",
        "episodes opened, by family",
        "neither",
        _EPISODES,
        counter=True,
        by_monitor=True,
    ),
    Declared("signal_mean", "signal", "mean of the detector's window", "neither", _EPISODES, by_model=True),
    *(
        Declared(name, "count", formula, "neither", _REQUESTS, counter=True)
        for name, formula in (
            ("requests", "requests that were answered"),
            ("requests_refused", "requests that were refused"),
            ("requests_repeated", "requests with an id that had been answered"),
            ("requests_disordered", "requests older than one before them"),
            ("requests_counted_late", "requests whose minute was closed when they were counted"),
            ("refused", "refused requests, by reason"),
            ("warned", "unknown fields and values outside their range in answered requests, by field"),
        )
    ),
    *(
        Declared(name, "ratio", formula, "lower", _FEATURE)
        for name, formula in (
            ("feature_missing", "requests without the feature / requests of the last window"),
            ("feature_outside", "values outside the range / values of the last window"),
            ("feature_unseen", "values of a level that the reference had not / values"),
        )
    ),
    *(
        Declared(name, "nats", f"{formula} above what chance gives, last window", "lower", _FEATURE)
        for name, formula in (
            ("feature_psi", "population stability index"),
            ("feature_js", "Jensen-Shannon divergence"),
            ("feature_psi_season", "PSI against the same season a year ago,"),
        )
    ),
    Declared(
        "feature_psi_limit",
        "nats",
        "PSI above which a feature counts as moved, last window",
        "neither",
        _FEATURE,
    ),
)
UNITS: Final = {each.name: each.unit for each in METRICS}
