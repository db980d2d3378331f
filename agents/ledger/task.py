"""The ledger's own task: few features, one small model, short times, so that a run goes through all of them."""

from __future__ import annotations

from datetime import timedelta

from river import base, linear_model, preprocessing

from schemas.dictionary import Boolean, Dictionary, Integer, Number
from streams.task import Model, Task


def scaled_regression() -> base.Estimator:
    """Make the model."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


ledger = Task(
    name="ledger",
    question="Does the loop lose, double or change anything?",
    features=Dictionary(
        Number(name="amount", unit="EUR", low=0, high=500),
        Integer(name="age", unit="days", low=0, high=1000, optional=True),
        Boolean(name="returning"),
    ),
    models=(Model("lr", scaled_regression),),
    # Half a second between requests, see `streams.ledger.workload.PER_GRACE`: three thousand are remembered.
    horizon=timedelta(minutes=10),
    revision_horizon=timedelta(minutes=30),
    early_horizon=timedelta(minutes=10),
    grace=timedelta(minutes=20),
    tolerance=timedelta(seconds=10),
)
