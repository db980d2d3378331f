"""The harness's own task: few features, two small models, and short times, so that a run covers all of them.

Its models fail on demand, at amounts beyond the range of the feature. Planned requests have no such amount.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from river import base, linear_model, optim, preprocessing

from schemas.dictionary import Boolean, Dictionary, Integer, Number
from streams.task import Task
from streams.task_model import Model

SERVED_RAISES: Final = 1001.0
"""Amount on which the served model raises."""
SHADOW_RAISES: Final = 1002.0
"""Amount on which the shadow raises, both predicting and learning."""
DIVERGES: Final = 1e200
"""Amount after which a scaler's variance is infinite, and the model's scores are no numbers."""
SLOW: Final = 2000.0
"""From this amount on, up to `SLOW_SPAN` more, a model works for 10 to 30 ms on one prediction."""
SLOW_SPAN: Final = 20


class Brittle(base.Transformer):
    """Passes features through; raises at one amount, and is slow at those from `SLOW` on.

    Parameters
    ----------
    breaks_at
        The amount at which it raises.
    """

    def __init__(self, breaks_at: float = 0.0) -> None:
        self.breaks_at = breaks_at

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """See River."""
        amount = x.get("amount", 0.0)
        if amount == self.breaks_at:
            raise ArithmeticError("an amount on which this model fails")
        if SLOW <= amount < SLOW + SLOW_SPAN:
            until = time.perf_counter() + (10 + amount - SLOW) / 1000
            while time.perf_counter() < until:  # a slow model computes: it does not sleep
                pass
        return x


def scaled_regression(breaks_at: float, learning_rate: float = 0.01) -> base.Estimator:
    """Create a model."""
    regression = linear_model.LogisticRegression(optim.SGD(learning_rate))
    return Brittle(breaks_at) | preprocessing.StandardScaler() | regression


faults = Task(
    name="faults",
    question="Does the loop lose, double or change anything?",
    features=Dictionary(
        Number(name="amount", unit="EUR", low=0, high=500),
        Integer(name="age", unit="days", low=0, high=1000, optional=True),
        Boolean(name="returning"),
    ),
    models=(
        Model("lr", scaled_regression, {"breaks_at": SERVED_RAISES}),
        Model("shadow", scaled_regression, {"breaks_at": SHADOW_RAISES}),
    ),
    # Half a second between requests, see `tests.faults.workload.workload.PER_GRACE`: the join remembers 3,000.
    horizon=timedelta(minutes=10),
    revision_horizon=timedelta(minutes=30),
    early_horizon=timedelta(minutes=10),
    grace=timedelta(minutes=20),
    tolerance=timedelta(seconds=10),
    # Faults make models skip some entries in many rounds; a model that has stopped would test less.
    max_skipped=500,
)

changed = replace(
    faults,
    models=(
        Model("lr", scaled_regression, {"breaks_at": SERVED_RAISES, "learning_rate": 0.02}),
        faults.models[1],
    ),
)
"""The same task with another parameter: what a rolling update brings."""
