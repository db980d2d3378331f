"""What a model does that a task cannot use, and what to write instead."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from river import base, compose, ensemble, feature_extraction, multiclass, rules, utils
from river.tree import HoeffdingTreeRegressor

from streams.pure import CHANGED
from streams.snapshot.components import components, label, members
from streams.snapshot.scikit import is_wrapper

_KEYS: Final[Mapping[str, type]] = {"binary": bool, "multiclass": str}


class OddAnswer(Exception):
    """An answer has a form that no score has."""


def check_form(answer: Any, kind: str) -> None:
    """Check that an answer is what a score is made of: a number, or the classes' probabilities.

    Raises
    ------
    OddAnswer
        It is something else.
    """
    if kind == "regression":
        if answer is not None and not _is_number(answer):  # None: it has learned too little
            raise OddAnswer(f"predict_one returned {answer!r:.60}, which is no number")
        return
    if not isinstance(answer, Mapping):
        raise OddAnswer(
            f"predict_proba_one returned {answer!r:.60}, which is no dict of probabilities by class"
        )
    for name, value in answer.items():
        if kind == "multiclass" and isinstance(name, bool):
            raise OddAnswer("it takes two classes; put multiclass.OneVsRestClassifier(...) around it")
        if not isinstance(name, _KEYS[kind]) or not _is_number(value):
            wanted = "True and False" if kind == "binary" else "texts"
            raise OddAnswer(
                f"predict_proba_one returned {name!r:.40}: {value!r:.40}; the classes are {wanted}, and their "
                "probabilities numbers"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def culprit(model: Any, error: BaseException) -> str:
    """Name the innermost component in whose methods an exception was raised."""
    by_id = {id(each.estimator): each.place for each in components(model)}
    if isinstance(error, OddAnswer):
        return by_id.get(id(getattr(model, "_last_step", model)), label(model))
    inside = {id(part): f"{label(part)} in {label(model)}" for part in members(model) if _is_part(part)}
    found = label(model)
    for owner in _owners(error.__traceback__):
        found = by_id.get(id(owner), inside.get(id(owner), found))
    return found


def _is_part(part: Any) -> bool:
    return isinstance(part, base.Estimator) and not isinstance(part, compose.Pipeline)


def _owners(trace: TracebackType | None) -> list[Any]:
    """Give the objects in whose methods an exception was raised, the outermost first."""
    found = []
    while trace is not None:
        found.append(trace.tb_frame.f_locals.get("self"))
        trace = trace.tb_next
    return found


_NO_PROBABILITIES: Final[tuple[tuple[type, str], ...]] = (
    (ensemble.VotingClassifier, "use ensemble.StackingClassifier"),
    (multiclass.OneVsOneClassifier, "use multiclass.OneVsRestClassifier"),
    (multiclass.OutputCodeClassifier, "use multiclass.OneVsRestClassifier"),
)


def cure_of(model: Any, error: Exception, kind: str) -> str:
    """Give what happened when a model answered or learned, and what to write instead; empty: not known."""
    owners = _owners(error.__traceback__)
    if isinstance(error, NotImplementedError):
        parts = [*owners, *members(model)]
        cures = (text for kind_, text in _NO_PROBABILITIES for part in parts if isinstance(part, kind_))
        return f"it returns no probabilities (predict_proba_one); {next(cures, 'use a classifier that does')}"
    if isinstance(error, OddAnswer):
        return str(error)
    if isinstance(error, AttributeError) and error.name == "transform_one":
        return f"{label(error.obj)} is no transformer, and only the last part of a pipeline may be something else"
    return _of_times(model, error) or _of_texts(owners, error) or _of_missing(owners, error)


def _of_missing(owners: list[Any], error: Exception) -> str:
    """Give the cure where scikit-learn, which takes the same features in every example, misses one."""
    if not isinstance(error, KeyError) or not any(map(is_wrapper, owners)):
        return ""
    return (
        f"scikit-learn takes the first example's features in every example, and {error.args[0]!r} was missing; "
        "fill it in before, as with compose.FuncTransformer"
    )


def _of_texts(owners: list[Any], error: Exception) -> str:
    """Give the cure where a component that takes numbers got a text."""
    trace = error.__traceback__
    names: list[str] = []
    while trace is not None:
        here = trace.tb_frame.f_locals
        if isinstance(here.get("self"), base.Estimator) and isinstance(here.get("x"), Mapping):
            names = [str(name) for name, value in here["x"].items() if isinstance(value, str)]
        trace = trace.tb_next
    if not names or not (isinstance(error, TypeError | ValueError) or _is_missing_splitter(error)):
        return ""
    listed = ", ".join(map(repr, names[:3]))
    texts = f"it takes numbers and got texts, {listed} ({type(error).__name__}: {error})"
    select = ", ".join(f'"{name}"' for name in names[:3])
    for owner in owners:
        if isinstance(owner, HoeffdingTreeRegressor):
            return (
                f"{texts}: its leaves hold a linear regression; set leaf_prediction='mean', or put "
                "preprocessing.OneHotEncoder() before the texts"
            )
        if isinstance(owner, rules.AMRules):
            return f"{texts}, on which River's rules fail; put preprocessing.OneHotEncoder() before the texts"
    return (
        f"{texts}; take the texts as Select({select}) | preprocessing.OneHotEncoder(), and the numbers beside them "
        "with +"
    )


def _is_missing_splitter(error: Exception) -> bool:
    """Whether it is River's rules that lack a class for texts (River 0.26.1)."""
    return isinstance(error, AttributeError) and error.name == "NominalSplitterReg"


def _of_times(model: Any, error: Exception) -> str:
    """Give the cure where aggregates over time stand beside others, which River cannot do."""
    aggregates = [part for part in members(model) if isinstance(part, feature_extraction.Agg)]
    timed = [part for part in aggregates if isinstance(part.how, utils.TimeRolling)]
    if timed and isinstance(error, TypeError) and "'t'" in str(error):
        return (
            f"River passes the time t to every part that takes it or any keyword, and one of them fails on it "
            f"({error}); let every {label(timed[0])} be over utils.TimeRolling, and keep ensembles out"
        )
    return ""


def pure_cure(model: Any) -> str:
    """Give what to write where a part of a model changes when it predicts; empty when it is not known."""
    for part in members(model):
        if issubclass(type(part), CHANGED):  # a pipeline says that it is an instance of its last step's class
            name = label(part)
            return f"; write streams.pure({name}(...)), whose predictions leave no trace"
    return ""
