"""A model as a task declares it, and what is wrong with one that cannot compete."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from river import base

from schemas.codec.checks import TaskKind
from schemas.errors import TaskError
from streams.policies import VALUES, OnArrival, Policy
from streams.snapshot.components import text_of
from streams.suited import other_library, why_not

MODEL_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
TAKEN: Final[Mapping[str, str]] = {
    "metrics": "the snapshots of the metrics",
    "versus": "the comparisons of shadows",
    "waiting": "the estimates of pending predictions",
    "loop": "the measurements of the loop",
    "drift": "the drift detectors",
    "quality": "the data quality checks",
    "gate": "the gate",
}
"""Names that no model may have: the monitors have them."""


@dataclass(frozen=True, slots=True)
class Model:
    """A River pipeline with its parameters, competing on a task.

    Parameters
    ----------
    name
        Lower-case letters, digits, hyphens: the first part of its versions.
    build
        Makes a fresh pipeline from `parameters`, given as keywords. A seed is a parameter.
    parameters
        The configuration, apart from the code.
    policy
        How the facts of the log become labels for it.
    sample
        Share of the requests that it scores while it is a shadow, drawn by entity or request. It learns from all.
    """

    name: str
    build: Callable[..., base.Estimator]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=OnArrival)
    sample: float = 1.0

    def make(self) -> base.Estimator:
        """Make a fresh pipeline."""
        return self.build(**self.parameters)

    def describe(self) -> str:
        """Give the specification in a form that a person can read."""
        text = re.sub(r" at 0x[0-9a-f]+", "", text_of(self.make()))
        settings = ", ".join(f"{key}={value!r}" for key, value in sorted(self.parameters.items()))
        return f"{self.name}({settings})\npolicy: {self.policy!r}\n{text}"

    def check(self, task: str, kind: TaskKind) -> None:
        """Reject what cannot compete on a task.

        Parameters
        ----------
        task, kind
            The task's name, and what its outcome is.

        Raises
        ------
        TaskError
            Naming the model, and what is wrong with it.
        """
        where = f"task {task!r}, model {self.name!r}"
        if not MODEL_NAME.match(self.name) or len(self.name) > 60:
            raise TaskError(f"{where}: a name must consist of lower-case letters, digits and single hyphens")
        if self.name in TAKEN:
            raise TaskError(f"{where}: the name is taken by {TAKEN[self.name]}")
        policy = self.policy
        if isinstance(policy, type) or not callable(getattr(policy, "label", None)):
            raise TaskError(f"{where}: policy={policy!r} is not a policy instance, such as OnArrival()")
        sample: object = self.sample
        if type(sample) not in (int, float) or not 0.0 < self.sample <= 1.0:
            raise TaskError(f"{where}: sample={sample!r} must be a number above 0, at most 1")
        default = getattr(policy, "value", None)
        if default is not None and not isinstance(default, VALUES[kind]):
            raise TaskError(f"{where}: {policy!r} does not fit kind={kind!r}")
        try:
            made = self.make()
        except Exception as error:
            raise TaskError(
                f"{where}: build(**parameters) failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, base.Estimator):
            raise TaskError(
                f"{where}: build must return a River model, not {type(made).__name__}{other_library(made)}"
            )
        if problem := why_not(made, kind):
            raise TaskError(f"{where}: {problem}")
