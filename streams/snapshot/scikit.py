"""scikit-learn's estimators in River's wrappers: which a state may hold, and why others are refused.

Nothing here imports scikit-learn, an extra: its classes are known by their names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

PACKAGE: Final = "sklearn"
_WRAPPERS: Final = "river.compat.sklearn_to_river"
_LINEAR: Final = frozenset(
    {
        *("coef_", "intercept_", "n_features_in_", "n_iter_", "t_"),
        *("_average_coef", "_average_intercept", "_standard_coef", "_standard_intercept"),
    }
)
_COUNTS: Final = frozenset({"class_count_", "classes_", "n_features_in_"})
_DISCRETE: Final = _COUNTS | {"class_log_prior_", "feature_count_", "feature_log_prob_"}
LEARNED: Final[Mapping[str, frozenset[str]]] = {
    "sklearn.linear_model._passive_aggressive:PassiveAggressiveRegressor": _LINEAR,
    "sklearn.linear_model._stochastic_gradient:SGDClassifier": _LINEAR
    | {"_expanded_class_weight", "classes_"},
    "sklearn.linear_model._stochastic_gradient:SGDRegressor": _LINEAR,
    "sklearn.naive_bayes:BernoulliNB": _DISCRETE,
    "sklearn.naive_bayes:CategoricalNB": (_DISCRETE - {"feature_count_"})
    | {"category_count_", "n_categories_"},
    "sklearn.naive_bayes:ComplementNB": _DISCRETE | {"feature_all_"},
    "sklearn.naive_bayes:GaussianNB": _COUNTS | {"class_prior_", "epsilon_", "theta_", "var_"},
    "sklearn.naive_bayes:MultinomialNB": _DISCRETE,
}
"""By class: the fields that it learns, beside its parameters."""
_ODD: Final[Mapping[str, str]] = {
    "MLPClassifier": "keeps the loss of every example, so that its state grows without end",
    "MLPRegressor": "keeps the loss of every example, so that its state grows without end",
}
_CLASSIFIERS: Final = "linear_model.SGDClassifier(loss='log_loss'), naive_bayes.BernoulliNB or MultinomialNB"
_REGRESSORS: Final = "linear_model.SGDRegressor or PassiveAggressiveRegressor"


def is_scikit(module: str) -> bool:
    """Whether a module is one of scikit-learn's."""
    return module.partition(".")[0] == PACKAGE


def left_out(kind: type) -> frozenset[str]:
    """Give the fields that are no part of a state: a loss function is made again with each example."""
    found: frozenset[str] = _left_out(kind)
    return found


@functools.cache
def _left_out(kind: Any) -> frozenset[str]:
    linear = any(each.__module__ == "sklearn.linear_model._stochastic_gradient" for each in kind.__mro__)
    return frozenset({"_loss_function_"} if linear else ())


def is_wrapper(part: Any) -> bool:
    """Whether it is one of River's wrappers around an estimator of scikit-learn."""
    return any(each.__module__ == _WRAPPERS for each in type(part).__mro__)


def classes_of(parts: Iterator[Any]) -> tuple[Any, ...]:
    """Give the classes that the first wrapper of a classifier among a model's parts is told; empty: none."""
    told = (getattr(part, "classes", ()) for part in parts if is_wrapper(part))
    return tuple(next(filter(None, told), ()))


def faults(wrapper: Any) -> Iterator[str]:
    """Give what is known to be wrong with what a wrapper wraps, before it has learned anything from the log."""
    inside = wrapper.estimator
    kind = type(inside)
    name, classifier = kind.__name__, hasattr(wrapper, "classes")
    wanted = _CLASSIFIERS if classifier else _REGRESSORS
    if is_scikit(kind.__module__) and f"{kind.__module__}:{kind.__qualname__}" not in LEARNED:
        why = _ODD.get(name, "is not among the estimators whose states are read")
        yield f"wraps a {name} of scikit-learn, which {why}; use {wanted}"
        return
    if not classifier:
        return
    if not hasattr(inside, "predict_proba"):
        yield f"wraps a {name}, which gives no probabilities (predict_proba); use {wanted}"
    told = list(wrapper.classes)
    if told != sorted(set(told)):
        yield (
            f"has classes={told!r}, and scikit-learn returns its probabilities in the order {sorted(set(told))!r}; "
            "write them in that order"
        )
    if name == "GaussianNB" and not np.all(getattr(inside, "var_", 0.0)):
        yield (
            "wraps a GaussianNB, which has no variance after one example and then no probabilities; let build call "
            "partial_fit with two different examples of each class, or use River's naive_bayes.GaussianNB"
        )
