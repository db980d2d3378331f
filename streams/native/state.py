"""A pipeline's state on its way between River's objects and the kernel, in both directions, bit for bit."""

from __future__ import annotations

import math
from typing import Any, Final

from river import stats, utils

from streams.native.plan import Kind, NotFused, Op, Plan, Planned, StepPlan

EXACT: Final = 1 << 52
"""Whole numbers up to here: their differences are exact in a double."""

State = tuple[Any, ...]
"""What the kernel's `load` takes."""


def read(planned: Planned) -> State:
    """Read the state of River's objects.

    Raises
    ------
    NotFused
        When it is not one that the kernel could have made, such as one with a number that is not finite.
    """
    plan = planned.plan
    steps: list[list[tuple[Any, ...]]] = []
    encoders: list[list[str]] = []
    levels: list[tuple[int, str, str]] = []
    for step, names, part in zip(plan.steps, plan.step_names, planned.steps, strict=True):
        places = {name: place for place, name in enumerate(names)}
        if step.op == Op.ENCODE:
            encoders.append(list(part._zero_dict))
            levels += _levels(plan, step, places, part)
            steps.append([])
        else:
            steps.append((_scales if step.op == Op.STANDARD else _extremes)(step, places, part))
    columns = [name for each in encoders for name in each]
    plain = {name for encoded, _, name in plan.outputs if not encoded}
    if len({*plain, *columns}) != len(plain) + len(columns):
        raise NotFused("two columns have the same name")
    weights = _weights(planned.glm._weights)
    if not weights.keys() <= {*plain, *columns} or not set(columns) <= weights.keys():
        raise NotFused("the weights are those of other columns")
    intercept, iterations = planned.glm.intercept, planned.glm.optimizer.n_iterations
    if type(iterations) is not int or type(intercept) not in {int, float} or not math.isfinite(intercept):
        raise NotFused("the intercept is no finite number")
    return steps, encoders, levels, list(weights.items()), float(intercept), float(iterations)


def _finite(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise NotFused("its state has a number that is not finite")
    return value


def _scales(step: StepPlan, places: dict[str, int], part: Any) -> list[tuple[Any, ...]]:
    found = []
    for name, count in part.counts.items():
        if name not in places or type(count) is not int or not 0 < count < EXACT or name not in part.means:
            raise NotFused("a StandardScaler has seen other features")
        var = _finite(part.vars[name]) if step.with_std else 0.0
        found.append((places[name], count, _finite(part.means[name]), var))
    # River's prediction leaves zeros for features that it has not learned yet.
    rest = [part.means[name] for name in part.means if name not in part.counts]
    rest += [part.vars[name] for name in part.vars if name not in part.counts or not step.with_std]
    if any(_finite(each) != 0.0 for each in rest):
        raise NotFused("a StandardScaler has seen other features")
    return found


def _extremes(_: StepPlan, places: dict[str, int], part: Any) -> list[tuple[Any, ...]]:
    found = []
    for name, low in part.min.items():
        high = part.max.get(name)
        if name not in places or type(low) is not stats.Min or type(high) is not stats.Max:
            raise NotFused("a MinMaxScaler has seen other features")
        if vars(low).keys() != {"min"} or vars(high).keys() != {"max"}:
            raise NotFused("a MinMaxScaler has other statistics")
        if (low.min, high.max) != (math.inf, -math.inf):  # else only asked for
            found.append((places[name], _bound(low.min), _bound(high.max)))
    if part.max.keys() != part.min.keys():
        raise NotFused("a MinMaxScaler has seen other features")
    return found


def _bound(value: Any) -> Any:
    whole = type(value) in {int, bool} and -EXACT <= value <= EXACT
    return value if whole else _finite(value)


def _levels(plan: Plan, step: StepPlan, places: dict[str, int], part: Any) -> list[tuple[int, str, str]]:
    of_kind = {Kind.TEXT: str, Kind.WHOLE: int, Kind.FLAG: bool}
    found = []
    for name, values in part.values.items():
        for value in values:
            column = f"{name}_{value}"
            if name not in places or column not in part._zero_dict:
                raise NotFused("a OneHotEncoder has seen other features")
            at = step.inputs[places[name]]
            if type(value) is not of_kind[plan.kinds[at]]:
                raise NotFused(f"a OneHotEncoder has seen a {type(value).__name__} as {name}")
            found.append((at, str(value), column))
    if any(type(name) is not str or value != 0 for name, value in part._zero_dict.items()):
        raise NotFused("a OneHotEncoder has other columns")
    return found


def _weights(vector: Any) -> dict[str, float]:
    data: dict[str, float]
    _, (data, factory, mask, *_) = vector.__reduce__()
    if type(vector) is not utils.VectorDict or factory is not None or mask is not None:
        raise NotFused("the weights are no plain vector")
    for name, weight in data.items():
        if type(name) is not str or (_finite(weight) == 0 and math.copysign(1, weight) < 0):
            raise NotFused("a weight is -0.0")
    return data


def write(planned: Planned, dumped: tuple[Any, ...]) -> None:
    """Put a state that the kernel has dumped into River's objects, in place of theirs."""
    plan = planned.plan
    steps, columns, encoders, levels, weights, intercept, iterations = dumped
    for step, names, part, found in zip(plan.steps, plan.step_names, planned.steps, steps, strict=True):
        if step.op == Op.STANDARD:
            _write_scales(step, names, part, found)
        elif step.op == Op.RANGE:
            _write_extremes(names, part, found)
        else:
            own = dict(zip(step.inputs, names, strict=True))
            part.values.clear()
            for at, text, _ in levels:
                if at in own:
                    part.values[own[at]].add(_value(text, plan.kinds[at]))
            part._zero_dict.clear()
            part._zero_dict.update((columns[each], 0) for each in encoders[step.encoder])
    vector = planned.glm._weights
    vector.clear()
    vector.update({columns[each]: weight for each, weight in weights})
    if iterations:  # before the first example it may be an int
        planned.glm.intercept = intercept
    planned.glm.optimizer.n_iterations = iterations


def _value(text: str, kind: Kind) -> Any:
    return text if kind == Kind.TEXT else int(text) if kind == Kind.WHOLE else text == "True"


def _write_scales(step: StepPlan, names: tuple[str, ...], part: Any, found: list[Any]) -> None:
    for each in (part.counts, part.means, part.vars):
        each.clear()
    for place, count, mean, var in found:
        name = names[place]
        part.counts[name], part.means[name] = count, mean
        if step.with_std:
            part.vars[name] = var


def _write_extremes(names: tuple[str, ...], part: Any, found: list[Any]) -> None:
    part.min.clear()
    part.max.clear()
    for place, low, high in found:
        part.min[names[place]].min = low
        part.max[names[place]].max = high
