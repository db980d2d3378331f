"""Pipelines that the kernel does, each over a dictionary of its own; examples of it that nobody would send."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st
from river import compose, linear_model, optim, preprocessing
from river.optim import losses, schedulers

from schemas import Boolean, Category, Dictionary, Integer, Number
from schemas.features import Feature
from streams import Select

LINEAR: Final = linear_model.LinearRegression
LOGISTIC: Final = linear_model.LogisticRegression
NUMBERS: Final = Dictionary(*(Number(name=f"x{n}") for n in range(8)))
MIXED: Final = Dictionary(
    Number(name="real", optional=True),
    Integer(name="whole", low=-5, high=50),
    Boolean(name="flag", optional=True),
    Category(name="c", missing="none"),
    Number(name="a_b", low=0, high=1),
    Category(name="a", levels=("b_c", "d", "c")),
    Integer(name="code", low=0, high=4, optional=True),
    Category(name="person", personal_data="left_out"),
)


class Fusable(NamedTuple):
    """A pipeline, its dictionary and the kind of task."""

    make: Callable[[], Any]
    dictionary: Dictionary
    kind: str


def everything() -> Any:
    centred = Select("a_b", "real") | preprocessing.StandardScaler(with_std=False)
    ranged = Select("whole") | preprocessing.MinMaxScaler() | preprocessing.StandardScaler()
    encoded = Select("flag", "c", "a") | preprocessing.OneHotEncoder()
    codes = Select("code") | preprocessing.OneHotEncoder()
    union = compose.TransformerUnion(centred, ranged, encoded, codes)
    return union | LOGISTIC(
        optim.SGD(schedulers.Optimal(losses.Log(), alpha=0.001)),
        loss=losses.Log(weight_pos=2.5, weight_neg=0.5),
        intercept_init=0.25,
        intercept_lr=schedulers.InverseScaling(0.05, power=0.3),
        l2=0.001,
        clip_gradient=1,
        initializer=optim.initializers.Constant(0.125),
    )


def encoded(model: Any) -> Any:
    numbers = Select("real", "whole", "a_b") | preprocessing.StandardScaler()
    return compose.Pipeline(numbers + (Select("c", "a", "flag") | preprocessing.OneHotEncoder()), model)


def ranged(loss: Any, **settings: Any) -> Callable[[], Any]:
    select = Select("whole", "flag", "real", "unknown")

    def make() -> Any:
        model = LINEAR(optim.SGD(0.02), loss=loss(**settings), intercept_lr=0)
        return select | preprocessing.MinMaxScaler() | model

    return make


PIPELINES: Final[dict[str, Fusable]] = {
    "scaled": Fusable(lambda: preprocessing.StandardScaler() | LOGISTIC(), NUMBERS, "binary"),
    "scaled numbers": Fusable(
        lambda: preprocessing.StandardScaler() | LINEAR(optim.SGD(1e-3)), NUMBERS, "regression"
    ),
    "bare": Fusable(lambda: LINEAR(optim.SGD(1e-4), l2=0.1), NUMBERS, "regression"),
    "encoded": Fusable(lambda: encoded(LOGISTIC(optim.SGD(schedulers.InverseScaling(0.1)))), MIXED, "binary"),
    "hinge": Fusable(lambda: encoded(LOGISTIC(loss=losses.Hinge(0.5))), MIXED, "binary"),
    "everything": Fusable(everything, MIXED, "binary"),
    "encoded numbers": Fusable(lambda: encoded(LINEAR(optim.SGD(0.01))), MIXED, "regression"),
    "absolute": Fusable(ranged(losses.Absolute), MIXED, "regression"),
    "huber": Fusable(ranged(losses.Huber, epsilon=0.3), MIXED, "regression"),
    "quantile": Fusable(ranged(losses.Quantile, alpha=0.2), MIXED, "regression"),
    "epsilon": Fusable(ranged(losses.EpsilonInsensitiveHinge), MIXED, "regression"),
    "cauchy": Fusable(ranged(losses.Cauchy, C=2), MIXED, "regression"),
    "poisson": Fusable(ranged(losses.Poisson), MIXED, "regression"),
}


def bits(value: Any) -> bytes | None:
    """A score's bits."""
    return None if value is None else struct.pack("<d", value)


REALS: Final = st.floats() | st.floats(-10, 10) | st.sampled_from([0.0, -0.0, 1e149, -1e150, 5e-324, 1e308])
WHOLES: Final = (
    st.integers() | st.integers(-5, 50) | st.sampled_from([2**52, 2**53 + 1, -(2**63), 2**64, 10**400])
)
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["b", "c", "b_c", "d"]
)


def values(feature: Feature) -> st.SearchStrategy[Any]:
    """Values of a feature's type, most of them usual; now and then one of another type."""
    usual: dict[type, st.SearchStrategy[Any]] = {
        Number: st.floats(-3, 3),
        Integer: st.integers(0, 4),
        Boolean: st.booleans(),
        Category: st.sampled_from(["b", "c", "b_c", "d", "e"]),
    }
    odd: dict[type, st.SearchStrategy[Any]] = {
        Number: REALS,
        Integer: WHOLES,
        Boolean: st.booleans(),
        Category: TEXTS,
    }
    others = st.none() | REALS | WHOLES | st.booleans() | TEXTS
    kind = type(feature)
    return st.integers(0, 39).flatmap(
        lambda n: others if n == 0 else odd[kind] if n < 6 else usual[kind],
    )


def features(dictionary: Dictionary) -> st.SearchStrategy[dict[str, Any]]:
    """Examples: in the dictionary's order with some missing, or in another one, or with a name too many."""
    own = [each for each in dictionary if each.personal_data != "left_out"]
    whole = st.fixed_dictionaries({each.name: values(each) for each in own})
    some = st.fixed_dictionaries({}, optional={each.name: values(each) for each in own})
    other = st.permutations(own).flatmap(
        lambda order: st.fixed_dictionaries({e.name: values(e) for e in order})
    )
    more = st.tuples(whole, REALS).map(lambda pair: pair[0] | {"a_b_c": pair[1]})
    return st.integers(0, 9).flatmap(
        lambda n: other if n == 0 else more if n == 1 else some if n < 5 else whole
    )


def targets(kind: str) -> st.SearchStrategy[Any]:
    """Labels, which a policy has checked."""
    if kind == "binary":
        return st.booleans()
    return st.floats(-5, 5) | st.floats(-1e149, 1e149) | st.integers(-5, 5) | st.integers(-(10**20), 10**20)
