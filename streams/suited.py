"""Whether a model answers what a task asks; if not, what to write instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from river import active, base, reco, time_series

from streams.snapshot.scikit import is_scikit

KINDS: Final[Mapping[str, type]] = {
    "binary": base.Classifier,
    "multiclass": base.Classifier,
    "regression": base.Regressor,
}

INSTEAD: Final[Mapping[str, str]] = {
    "anomaly": "'binary' with streams.AnomalyClassifier(detector, q=0.99), whose outcome is a later label",
    "forecast": "'regression' with the later value as outcome and features of the past",
    "ranking": "'regression' with the rating as outcome, user and item as features",
}
"""Kinds of River's that a task does not have, and what a task takes instead."""

_CURES: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    (
        (active.base.ActiveLearningClassifier,),
        "it asks for labels of its choice, and a task takes those that come; use the classifier inside it",
    ),
    (
        (base.AnomalyFilter,),
        "it filters what a model learns; put a {wanted} after it, such as linear_model.LogisticRegression()",
    ),
    (
        (base.AnomalyDetector,),
        "it answers kind='binary' as streams.AnomalyClassifier(detector, q=0.99), whose outcome is a later label",
    ),
    (
        (base.SupervisedAnomalyDetector,),
        "it scores an outcome, not a request; use streams.AnomalyClassifier(anomaly.HalfSpaceTrees(seed=1))",
    ),
    ((base.Clusterer,), "there is no kind of task for clusters, which have no outcome"),
    (
        (time_series.base.Forecaster,),
        "there is no kind of task for forecasts over a horizon; set kind='regression', the later value as outcome, "
        "and use a regressor on features of the past, such as feature_extraction.Agg",
    ),
    (
        (reco.base.Ranker,),
        "there is no kind of task for rankings; set kind='regression' with the rating as outcome, user and item as "
        "features and streams.pure(facto.FMRegressor(seed=1))",
    ),
    (
        (base.MultiTargetRegressor, base.MultiLabelClassifier),
        "a task has one outcome; make a task for each",
    ),
    ((base.Transformer, base.SupervisedTransformer), "put a {wanted} after it"),
    ((base.Regressor,), "set kind='regression', or use a classifier such as linear_model.LogisticRegression"),
    (
        (base.Classifier,),
        "set kind='binary' or 'multiclass', or use a regressor such as linear_model.LinearRegression",
    ),
)
"""By base class, the first that fits: why a model does not answer, and what does."""


def why_not(model: Any, kind: str) -> str:
    """Give why a model cannot answer what a task asks, and what can; empty when it can.

    Parameters
    ----------
    model
        A River model.
    kind
        What the outcome is, as in `Task`.

    Examples
    --------
    >>> from river import linear_model
    >>> why_not(linear_model.LinearRegression(), "regression")
    ''
    >>> why_not(linear_model.LinearRegression(), "binary")[:52]
    "kind='binary' requires a classifier, not LinearRegre"
    """
    wanted = KINDS[kind]
    last = getattr(model, "_last_step", model)
    odd = (active.base.ActiveLearningClassifier, base.MultiTargetRegressor)
    if isinstance(last, wanted) and not isinstance(last, odd):
        return ""
    name = wanted.__name__.lower()
    found = f"kind={kind!r} requires a {name}, not {type(last).__name__}"
    cure = next((text for kinds, text in _CURES if isinstance(last, kinds)), "")
    return f"{found}: {cure.format(wanted=name)}" if cure else found


def other_library(made: Any) -> str:
    """Give what to write where something else than a River model is built; empty when it is not known."""
    module = type(made).__module__
    if module.startswith("river.compat"):
        return "; use the River model inside it, which takes one example at a time"
    if is_scikit(module):
        is_classifier = getattr(made, "_estimator_type", "") == "classifier" or hasattr(made, "predict_proba")
        wrapper = "Classifier(..., classes=[False, True])" if is_classifier else "Regressor(...)"
        return f"; put compat.SKL2River{wrapper} around it"
    return ""


def range_problem(kind: str, low: object, high: object) -> str:
    """Give what is wrong with the range of a task's outcomes; empty when nothing is.

    Examples
    --------
    >>> range_problem("regression", 0.0, None), range_problem("binary", 0.0, None)
    ('', "outcome_low= is for kind='regression'")
    """
    for name, bound in (("outcome_low", low), ("outcome_high", high)):
        if bound is None:
            continue
        if kind != "regression":
            return f"{name}= is for kind='regression'"
        if not isinstance(bound, int | float) or isinstance(bound, bool) or not math.isfinite(bound):
            return f"{name}={bound!r} must be a finite number"
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        return f"outcome_low={low} must be below outcome_high={high}"
    return ""
