"""Arguments for River's estimators where those of its own tests do not show what a task can do with them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Final

from river import (
    anomaly,
    bandit,
    compose,
    facto,
    feature_extraction,
    feature_selection,
    forest,
    linear_model,
    metrics,
    model_selection,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
    utils,
)

from streams.amrules import AMRules
from streams.anomalies import AnomalyClassifier
from streams.pure import pure


def halved(x: dict[str, Any]) -> dict[str, Any]:
    """Return a feature of a transformer's own."""
    return {"half": x["size"] / 2}


def half(y: float) -> float:
    """Return what is learned of a target."""
    return y / 2


def twice(y: float) -> float:
    """Return the target of what is learned."""
    return y * 2


def _filtered(kind: Any, **limit: float) -> Any:
    return (
        kind(anomaly.HalfSpaceTrees(n_trees=3, height=3, seed=1), **limit) | linear_model.LogisticRegression()
    )


_floats: Final[Any] = compose.SelectType
TEXT: Final = frozenset(
    {
        *("feature_extraction.BagOfWords", "feature_extraction.TFIDF", "preprocessing.LDA"),
        *("naive_bayes.MultinomialNB", "naive_bayes.ComplementNB", "preprocessing.GapEncoder"),
    }
)
"""Those that take a text, or the counts of its words."""


def _halves() -> dict[str, Any]:
    return {"classifier": linear_model.LogisticRegression(), "desired_dist": {False: 0.5, True: 0.5}}


def _regressor() -> dict[str, Any]:
    return {"regressor": linear_model.LinearRegression()}


ARGUMENTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "forest.AMFClassifier": lambda: {"n_estimators": 2},
    "forest.AMFRegressor": lambda: {"n_estimators": 2},
    "forest.OXTRegressor": lambda: {"n_models": 2},
    "feature_selection.PoissonInclusion": lambda: {"p": 0.1},
    "imblearn.RandomOverSampler": _halves,
    "imblearn.RandomSampler": _halves,
    "imblearn.RandomUnderSampler": _halves,
    "model_selection.SuccessiveHalvingClassifier": lambda: {
        "models": [linear_model.LogisticRegression(), naive_bayes.GaussianNB()],
        "metric": metrics.Accuracy(),
        "budget": 100,
    },
    "preprocessing.GapEncoder": lambda: {"on": "text", "n_components": 2},
    "preprocessing.TargetMinMaxScaler": _regressor,
    "preprocessing.TargetStandardScaler": _regressor,
    "feature_extraction.RandomTreesEmbedding": lambda: {"n_trees": 2, "height": 3},
    "feature_extraction.RBFSampler": lambda: {"n_components": 5},
    "ensemble.SRPClassifier": lambda: {"n_models": 2},
    "ensemble.SRPRegressor": lambda: {"n_models": 2},
}
"""By estimator: arguments that it needs, or that make a trial short."""
Maker = Callable[[], Any]
MADE_OF: Final[dict[str, Maker]] = {
    "anomaly.QuantileFilter": lambda: _filtered(anomaly.QuantileFilter, q=0.95),
    "anomaly.ThresholdFilter": lambda: _filtered(anomaly.ThresholdFilter, threshold=0.9),
    "compose.Discard": lambda: compose.Discard("age", "shop"),
    "compose.FuncTransformer": lambda: compose.FuncTransformer(halved),
    "compose.Grouper": lambda: compose.Grouper(_floats(float) | preprocessing.StandardScaler(), by="price"),
    "compose.Pipeline": lambda: _floats(float) | linear_model.LogisticRegression(),
    "compose.Prefixer": lambda: compose.Prefixer("of "),
    "compose.Renamer": lambda: compose.Renamer({"size": "length"}),
    "compose.Select": lambda: compose.Select("size", "price"),
    "compose.SelectType": lambda: _floats(float),
    "compose.Suffixer": lambda: compose.Suffixer(" of it"),
    "compose.TargetTransformRegressor": lambda: (
        _floats(float) | compose.TargetTransformRegressor(linear_model.LinearRegression(), half, twice)
    ),
    "compose.TransformerProduct": lambda: _floats(float) * compose.Select("size"),
    "compose.TransformerUnion": lambda: _floats(float) + compose.Renamer({"size": "length"}),
    "feature_extraction.Agg": lambda: feature_extraction.Agg(on="size", by="price", how=stats.Mean()),
    "feature_extraction.BagOfWords": lambda: feature_extraction.BagOfWords(on="text"),
    "feature_extraction.TFIDF": lambda: feature_extraction.TFIDF(on="text"),
    "feature_extraction.TargetAgg": lambda: feature_extraction.TargetAgg(by="price", how=stats.Mean()),
    "neighbors.KNNClassifier": neighbors.KNNClassifier,
    "neighbors.KNNRegressor": neighbors.KNNRegressor,
    "preprocessing.StatImputer": lambda: preprocessing.StatImputer(("size", stats.Mean())),
    "utils.Rolling": lambda: utils.Rolling(stats.Mean, window_size=20),
    "utils.TimeRolling": lambda: utils.TimeRolling(stats.Mean, period=datetime.timedelta(days=1)),
}
"""By estimator."""


def _pure(kind: Any, **arguments: Any) -> tuple[str, Maker]:
    return "a seed in `streams.pure(...)`", lambda: pure(kind(seed=1, **arguments))


def _engine(kind: Any) -> tuple[str, Maker]:
    return "`engine=neighbors.LazySearch()`", lambda: kind(engine=neighbors.LazySearch(window_size=30))


def _bandit(kind: Any, models: Any, metric: Any) -> tuple[str, Maker]:
    def make() -> Any:
        return kind(models=models(), metric=metric(), policy=bandit.EpsilonGreedy(0.2, seed=1))

    return "a seed in its policy", make


def _means(kind: Any, **arguments: Any) -> tuple[str, Maker]:
    seeded = "a seed; " if arguments else ""
    return f"{seeded}`leaf_prediction='mean'` for texts", lambda: kind(leaf_prediction="mean", **arguments)


def _detecting(kind: Any, **arguments: Any) -> tuple[str, Maker]:
    seeded = "a seed in " if "seed" in arguments else ""
    return f"{seeded}`streams.AnomalyClassifier(...)`", lambda: AnomalyClassifier(
        kind(**arguments), q=0.9, least=20
    )


WITH: Final[dict[str, tuple[str, Maker]]] = {
    "anomaly.HalfSpaceTrees": _detecting(anomaly.HalfSpaceTrees, n_trees=3, height=3, window_size=20, seed=1),
    "anomaly.LODA": _detecting(anomaly.LODA, seed=1),
    "anomaly.LocalOutlierFactor": _detecting(anomaly.LocalOutlierFactor, n_neighbors=5),
    "anomaly.OneClassSVM": _detecting(anomaly.OneClassSVM),
    "forest.ARFRegressor": _means(forest.ARFRegressor, seed=1),
    "rules.AMRules": (
        "`streams.AMRules`",
        lambda: AMRules(n_min=30, delta=0.1),
    ),
    "tree.HoeffdingAdaptiveTreeRegressor": _means(tree.HoeffdingAdaptiveTreeRegressor, seed=1),
    "tree.HoeffdingTreeRegressor": _means(tree.HoeffdingTreeRegressor),
    "model_selection.BanditClassifier": _bandit(
        model_selection.BanditClassifier,
        lambda: [linear_model.LogisticRegression(), naive_bayes.GaussianNB()],
        metrics.Accuracy,
    ),
    "model_selection.BanditRegressor": _bandit(
        model_selection.BanditRegressor,
        lambda: [linear_model.LinearRegression(), linear_model.PARegressor()],
        metrics.MAE,
    ),
    "compose.Select": ("one name; of several use `streams.Select`", lambda: compose.Select("size")),
    **{f"facto.{name}": _pure(getattr(facto, name), n_factors=3) for name in facto.__all__},
    "feature_selection.PoissonInclusion": _pure(feature_selection.PoissonInclusion, p=0.1),
    "neighbors.KNNClassifier": _engine(neighbors.KNNClassifier),
    "neighbors.KNNRegressor": _engine(neighbors.KNNRegressor),
    "preprocessing.LDA": _pure(preprocessing.LDA, n_components=2),
}
"""By estimator: what makes it accepted, and how."""
