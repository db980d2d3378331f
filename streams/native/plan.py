"""What the kernel makes of a River pipeline: inputs, steps, columns and the linear model, as plain data."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from river import compose, linear_model, optim, preprocessing

from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from streams.select import Select


class Kind(enum.IntEnum):
    """Types of inputs, as `kernel.hpp` numbers them."""

    REAL = 1
    WHOLE = 2
    FLAG = 3
    TEXT = 4


class Op(enum.IntEnum):
    """Steps, as `kernel.hpp` numbers them."""

    STANDARD = 0
    RANGE = 1
    ENCODE = 2


KINDS: Final = {Number: Kind.REAL, Integer: Kind.WHOLE, Boolean: Kind.FLAG, Category: Kind.TEXT}


class NotFused(Exception):
    """The kernel does not do this pipeline, or not this state; the message says why."""


class StepPlan(NamedTuple):
    """A transformer: it reads registers, and writes registers or an encoder's columns."""

    op: Op
    with_std: bool
    encoder: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class GlmPlan(NamedTuple):
    """The linear model: its loss with two parameters, its two rates with two parameters each, and its constants."""

    loss: int
    p: float
    q: float
    rate: tuple[int, float, float]
    intercept_rate: tuple[int, float, float]
    l2: float
    clip: float
    initial: float
    binary: bool


class Plan(NamedTuple):
    """A pipeline over a dictionary. The first registers are the inputs."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    registers: int
    steps: tuple[StepPlan, ...]
    encoders: int
    outputs: tuple[tuple[bool, int, str], ...]
    """What the linear model sees, in River's order: a register and its name, or (True) an encoder."""
    glm: GlmPlan
    step_names: tuple[tuple[str, ...], ...]
    """For each step its inputs as its River object names them."""


class Planned(NamedTuple):
    """A plan, and the River objects whose state goes with it."""

    plan: Plan
    steps: tuple[Any, ...]
    glm: Any


class _Item(NamedTuple):
    """A place in the dict that goes from one transformer to the next: a feature, or all columns of an encoder."""

    name: str
    register: int
    kind: Kind
    encoded: bool = False


def plan_of(estimator: Any, dictionary: Dictionary, kind: str) -> Planned:
    """Plan a pipeline.

    Parameters
    ----------
    estimator
        Of River. Its state does not matter.
    dictionary, kind
        The task's.

    Raises
    ------
    NotFused
        When something in it is not known to the kernel.
    """
    return _Planner(dictionary).plan(estimator, kind)


_FIELDS: Final[dict[Any, frozenset[str]]] = {
    compose.Pipeline: frozenset(
        {"steps", "_plan", "_inference_transformers", "_last_step_cached", "_last_step_params"}
    ),
    compose.TransformerUnion: frozenset({"transformers"}),
    Select: frozenset({"names"}),
    preprocessing.StandardScaler: frozenset({"with_std", "window_size", "counts", "means", "vars"}),
    preprocessing.MinMaxScaler: frozenset({"window_size", "min", "max"}),
    preprocessing.OneHotEncoder: frozenset(
        {"drop_zeros", "drop_first", "categories", "values", "_zero_dict"}
    ),
    optim.SGD: frozenset({"lr", "n_iterations"}),
}
_GLM_FIELDS: Final = frozenset(
    {"optimizer", "loss", "l2", "l1", "intercept_init", "intercept", "intercept_lr", "clip_gradient"}
    | {"initializer", "_weights", "_y_name"}
)


def _check(part: Any, *kinds: Any) -> None:
    """Check that a part is of a class that the kernel knows, and has no fields that it does not."""
    kind = type(part)
    if kinds and kind not in kinds:
        raise NotFused(f"{kind.__module__}.{kind.__qualname__} is not fused")
    if not vars(part).keys() <= _FIELDS.get(kind, _GLM_FIELDS):
        raise NotFused(f"a {kind.__qualname__} has fields of its own")


def _real(value: Any, what: str) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise NotFused(f"{what}={value!r:.40} is not fused")
    return float(value)


class _Planner:
    def __init__(self, dictionary: Dictionary) -> None:
        features = [each for each in dictionary if each.personal_data != "left_out"]
        self.names = tuple(each.name for each in features)
        self.kinds = tuple(KINDS[type(each)] for each in features)
        self.registers = len(features)
        self.steps: list[StepPlan] = []
        self.step_names: list[tuple[str, ...]] = []
        self.parts: list[Any] = []
        self.encoders = 0

    def plan(self, estimator: Any, kind: str) -> Planned:
        items = [_Item(*each) for each in zip(self.names, range(self.registers), self.kinds, strict=True)]
        *before, glm = self._steps(estimator) if type(estimator) is compose.Pipeline else [estimator]
        model = _glm(glm, kind)
        items = self._through(before, items)
        outputs = []
        for item in items:
            if not item.encoded and item.kind == Kind.TEXT:
                raise NotFused(f"{item.name} is a text before the linear model")
            outputs.append((item.encoded, item.register, item.name))
        return Planned(
            Plan(
                *(self.names, self.kinds, self.registers, tuple(self.steps), self.encoders, tuple(outputs)),
                *(model, tuple(self.step_names)),
            ),
            tuple(self.parts),
            glm,
        )

    def _steps(self, pipeline: Any) -> Sequence[Any]:
        _check(pipeline)
        if compose.Pipeline._LEARN_UNSUPERVISED_DURING_PREDICT or not pipeline.steps:
            raise NotFused("a pipeline that learns when it predicts, or without steps, is not fused")
        return list(pipeline.steps.values())

    def _through(self, transformers: Iterable[Any], items: list[_Item]) -> list[_Item]:
        for each in transformers:
            items = self._one(each, items)
        return items

    def _one(self, part: Any, items: list[_Item]) -> list[_Item]:
        kind = type(part)
        if kind is compose.TransformerUnion:
            return self._union(part, items)
        _check(
            part,
            Select,
            preprocessing.StandardScaler,
            preprocessing.MinMaxScaler,
            preprocessing.OneHotEncoder,
        )
        if any(item.encoded for item in items):
            raise NotFused(f"a {kind.__qualname__} behind a OneHotEncoder is not fused")
        if kind is Select:
            by_name = {item.name: item for item in items}
            return [by_name[name] for name in dict.fromkeys(part.names) if name in by_name]
        if kind is preprocessing.OneHotEncoder:
            return self._encode(part, items)
        if part.window_size is not None or any(item.kind == Kind.TEXT for item in items):
            raise NotFused(f"a {kind.__qualname__} with a window, or of texts, is not fused")
        standard = kind is preprocessing.StandardScaler
        made = [_Item(item.name, self.registers + n, Kind.REAL) for n, item in enumerate(items)]
        self.registers += len(made)
        with_std = standard and bool(part.with_std)
        self._add(part, Op.STANDARD if standard else Op.RANGE, with_std, -1, items, made)
        return made

    def _encode(self, part: Any, items: list[_Item]) -> list[_Item]:
        plain = part.categories is None and not part.drop_zeros and not part.drop_first
        if not plain or any(item.kind == Kind.REAL or item.register >= len(self.names) for item in items):
            raise NotFused(
                "a OneHotEncoder of numbers, or with categories, drop_zeros or drop_first, is not fused"
            )
        self._add(part, Op.ENCODE, False, self.encoders, items, [])
        self.encoders += 1
        return [_Item("", self.encoders - 1, Kind.REAL, True)]

    def _add(
        self, part: Any, op: Op, with_std: bool, encoder: int, items: list[_Item], made: list[_Item]
    ) -> None:
        inputs = tuple(item.register for item in items)
        self.steps.append(StepPlan(op, with_std, encoder, inputs, tuple(item.register for item in made)))
        self.step_names.append(tuple(item.name for item in items))
        self.parts.append(part)

    def _union(self, union: Any, items: list[_Item]) -> list[_Item]:
        _check(union)
        made = []
        for part in union.transformers.values():
            inside = self._steps(part) if type(part) is compose.Pipeline else [part]
            made.append(self._through(inside, items))
        # River fills the dict from the last transformer to the first.
        out = [item for each in reversed(made) for item in each]
        names = [item.name for item in out if not item.encoded]
        if len(set(names)) != len(names):
            raise NotFused("a union that gives a feature twice is not fused")
        return out


_LOSSES: Final[dict[Any, tuple[int, tuple[str, ...]]]] = {
    optim.losses.Log: (0, ("weight_pos", "weight_neg")),
    optim.losses.Hinge: (1, ("threshold",)),
    optim.losses.Squared: (2, ()),
    optim.losses.Absolute: (3, ()),
    optim.losses.Huber: (4, ("epsilon",)),
    optim.losses.Quantile: (5, ("alpha",)),
    optim.losses.EpsilonInsensitiveHinge: (6, ("eps",)),
    optim.losses.Cauchy: (7, ("C",)),
    optim.losses.Poisson: (8, ()),
}
_RATES: Final[dict[Any, tuple[int, tuple[str, ...]]]] = {
    optim.schedulers.Constant: (0, ("learning_rate",)),
    optim.schedulers.InverseScaling: (1, ("learning_rate", "power")),
    optim.schedulers.Optimal: (2, ("alpha", "t0")),
}


def _numbered(part: Any, known: dict[Any, tuple[int, tuple[str, ...]]]) -> tuple[int, float, float]:
    if type(part) not in known:
        raise NotFused(f"{type(part).__qualname__} is not fused")
    number, names = known[type(part)]
    if not vars(part).keys() <= {*names, "loss"}:
        raise NotFused(f"a {type(part).__qualname__} has fields of its own")
    first, second = [*(_real(getattr(part, name), name) for name in names), 0.0, 0.0][:2]
    return number, first, second


def _glm(glm: Any, kind: str) -> GlmPlan:
    wanted = {"binary": linear_model.LogisticRegression, "regression": linear_model.LinearRegression}
    if type(glm) is not wanted.get(kind):
        raise NotFused(f"{type(glm).__qualname__} is not fused for a task of kind {kind}")
    if glm.l1 != 0:
        raise NotFused("l1 is not fused")
    _check(glm)
    _check(glm.optimizer, optim.SGD)
    if type(glm.initializer) not in {optim.initializers.Zeros, optim.initializers.Constant}:
        raise NotFused(f"{type(glm.initializer).__qualname__} is not fused")
    initial = _real(glm.initializer.value, "initializer")
    clip = _real(glm.clip_gradient, "clip_gradient")
    loss, p, q = _numbered(glm.loss, _LOSSES)
    binary = kind == "binary"
    if binary != isinstance(glm.loss, optim.losses.BinaryLoss):
        raise NotFused(f"{type(glm.loss).__qualname__} is not fused for a task of kind {kind}")
    if clip <= 0 or math.copysign(1, initial) < 0 or (loss == 7 and p == 0):
        raise NotFused("such a clip_gradient, initializer or loss is not fused")
    rates = _numbered(glm.optimizer.lr, _RATES), _numbered(glm.intercept_lr, _RATES)
    return GlmPlan(loss, p, q, *rates, _real(glm.l2, "l2"), clip, initial, binary)
