"""Models whose predictions leave no trace, around River's that draw or remember when they predict.

A model may only learn from the log, and predictions are not in the log at their time. River's factorization
machines draw the weights of a feature that they meet first in a prediction, `preprocessing.LDA` draws topics and
remembers words, and `feature_selection.PoissonInclusion` decides when it transforms which features it takes. Here
such a model answers as it would, and is then put back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from river import base, facto, feature_selection, preprocessing

from schemas.errors import TaskError

Undo = Callable[[], object]
FACTORIZATION: Final = (
    *(facto.FMClassifier, facto.FMRegressor, facto.FFMClassifier, facto.FFMRegressor),
    *(facto.FwFMClassifier, facto.FwFMRegressor, facto.HOFMClassifier, facto.HOFMRegressor),
)
CHANGED: Final = (*FACTORIZATION, preprocessing.LDA, feature_selection.PoissonInclusion)
"""River's classes that change when they predict, and whose change is known here."""


def pure(estimator: base.Estimator) -> Any:
    """Make a model whose predictions leave no trace.

    It answers what River's would answer if it had learned the same and was never asked before. In River's evaluator
    with immediate labels both give the same scores.

    Parameters
    ----------
    estimator
        A factorization machine of `river.facto`, `preprocessing.LDA` or `feature_selection.PoissonInclusion`, with
        a seed. Of the last one, features are only taken in when an example is learned.

    Returns
    -------
    PureClassifier, PureRegressor or PureTransformer
        As the estimator is.

    Raises
    ------
    TaskError
        When it is another estimator.

    Examples
    --------
    >>> from river import facto
    >>> model = pure(facto.FMClassifier(n_factors=4, seed=1))
    >>> model.learn_one({"user": "Ann", "item": "book"}, True)
    >>> asked = model.predict_proba_one({"user": "Bob", "item": "book"})
    >>> model.predict_proba_one({"user": "Bob", "item": "book"}) == asked
    True
    """
    for kind, made in (
        (FACTORIZATION[::2], PureClassifier),
        (FACTORIZATION[1::2], PureRegressor),
        (CHANGED[-2:], PureTransformer),
    ):
        if issubclass(type(estimator), kind):  # not of a pipeline, which says that it is its last step
            return made(estimator)
    known = ", ".join(each.__name__ for each in CHANGED)
    raise TaskError(f"streams.pure takes {known}, not {type(estimator).__name__}")


class _Pure(base.Wrapper[Any]):
    def __init__(self, estimator: base.Estimator) -> None:
        self.estimator = estimator

    @property
    def _wrapped_model(self) -> Any:
        return self.estimator

    @contextmanager
    def _put_back(self, x: dict[Any, Any]) -> Any:
        undo = list(_undo(self.estimator, x))
        try:
            yield self._wrapped_model
        finally:
            for step in undo:
                step()


class PureClassifier(_Pure, base.Classifier):
    """A classifier of `pure`."""

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn an example."""
        self._wrapped_model.learn_one(x, y, **kwargs)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Return the classes' probabilities."""
        with self._put_back(x) as model:
            probabilities: dict[Any, float] = model.predict_proba_one(x, **kwargs)
            return probabilities


class PureRegressor(_Pure, base.Regressor):
    """A regressor of `pure`."""

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn an example."""
        self._wrapped_model.learn_one(x, y, **kwargs)

    def predict_one(self, x: dict[Any, Any], **kwargs: Any) -> Any:
        """Return a number."""
        with self._put_back(x) as model:
            return model.predict_one(x, **kwargs)


class PureTransformer(_Pure, base.Transformer):
    """A transformer of `pure`."""

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Learn the features of an example."""
        model = self._wrapped_model
        if isinstance(model, feature_selection.PoissonInclusion):
            model.transform_one(x)  # where River's decides
        else:
            model.learn_one(x)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Return the features that come out."""
        model = self._wrapped_model
        if isinstance(model, feature_selection.PoissonInclusion):
            return {name: value for name, value in x.items() if name in model.included}
        with self._put_back(x):
            return dict(model.transform_one(x))


def _undo(model: Any, x: dict[Any, Any]) -> Iterable[Undo]:
    """Yield what puts a model back after it has answered: the entries that it adds, and its generators."""
    if isinstance(model, preprocessing.LDA):
        for entries in (model.word_to_index, model.index_to_word):
            yield _shorten(entries)
        yield _assign(model, "truncation_size_prime")
        yield _rewind(model.rng)
        return
    for entries in (model.weights, model.latents):
        yield _shorten(entries)
    if hasattr(model, "interaction_weights"):
        yield _shorten(model.interaction_weights)
    for name in model._ohe_cat_features(x):
        inner = model.latents.get(name)
        if isinstance(inner, dict):  # by field or by degree
            yield _shorten(inner)
    for initializer in (model.weight_initializer, model.latent_initializer):
        generator = getattr(initializer, "_rng", None)
        if generator is not None:
            yield _rewind(generator)


def _shorten(entries: dict[Any, Any]) -> Undo:
    count = len(entries)

    def undo() -> None:
        while len(entries) > count:
            entries.popitem()  # the newest first

    return undo


def _assign(model: Any, field: str) -> Undo:
    value = getattr(model, field)
    return lambda: setattr(model, field, value)


def _rewind(generator: np.random.RandomState | random.Random) -> Undo:
    if isinstance(generator, random.Random):
        state = generator.getstate()
        return lambda: generator.setstate(state)
    known = generator.get_state(legacy=False)
    return lambda: generator.set_state(known)
