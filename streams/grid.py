"""A grid of parameters: one model of each combination."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.errors import TaskError
from streams.task_model import Model


@dataclass(frozen=True, slots=True)
class Grid:
    """A model with all combinations of some of its parameters.

    Parameters
    ----------
    model
        Gives pipeline, policy and the other parameters. Its own values are not made again.
    values
        By parameter, the values in their order.
    sample
        Share of the requests that each model scores while it is a shadow, see `Model`.

    Examples
    --------
    >>> from streams import Model
    >>> model = Model("lr", lambda learning_rate: None, {"learning_rate": 0.01})
    >>> [each.name for each in Grid(model, {"learning_rate": (0.003, 0.01, 1e-5)}).models()]
    ['lr-0-003', 'lr-1e-05']
    """

    model: Model
    values: Mapping[str, Sequence[Any]]
    sample: float = 1.0

    def problems(self) -> Iterator[str]:
        """Say what is wrong with it, one sentence each."""
        values: Any = self.values
        if not isinstance(values, Mapping) or not values:
            yield "values= must be a dict of parameters with their values"
            return
        for name, each in values.items():
            if isinstance(each, str) or not isinstance(each, Sequence) or not each:
                yield f"{name}={each!r} must be a tuple of values"
        if not callable(getattr(self.model, "build", None)):
            yield f"model={self.model!r} must be a Model(...)"

    def models(self) -> tuple[Model, ...]:
        """Make the models, named after the model and the values; the last parameter changes first."""
        found = (dict(zip(self.values, row, strict=True)) for row in itertools.product(*self.values.values()))
        made = (dict(self.model.parameters) | each for each in found)
        return tuple(
            configured(self.model, {name: parameters[name] for name in self.values}, self.sample)
            for parameters in made
            if parameters != self.model.parameters
        )


def configured(model: Model, values: Mapping[str, Any], sample: float = 1.0) -> Model:
    """Return a model with other values of some parameters, which its name contains."""
    text = "-".join(str(value) for value in values.values()).lower()
    name = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", f"{model.name}-{text}")).strip("-")[:60].strip("-")
    return replace(model, name=name, parameters=dict(model.parameters) | dict(values), sample=sample)


def with_challengers(models: Sequence[Model], challengers: object, where: str) -> tuple[Model, ...]:
    """Return models and those of a grid that are not among them.

    Parameters
    ----------
    where
        Begins the messages.

    Raises
    ------
    TaskError
        It is no grid, or one that cannot be.
    """
    if not isinstance(challengers, Grid):
        raise TaskError(f"{where}: challengers= must be Grid(...), not {type(challengers).__name__}")
    for problem in challengers.problems():
        raise TaskError(f"{where}: challengers=Grid: {problem}")
    return (*models, *(each for each in challengers.models() if each not in models))
