"""The event time of what a model learns, for aggregates over time.

River passes `t` of `learn_one` on to the parts of a pipeline that take it, such as `feature_extraction.Agg` over
`utils.TimeRolling`.
"""

from __future__ import annotations

import datetime as dt
import inspect
from typing import Any, Final

from river import base, feature_extraction, utils

from streams.snapshot.components import members

EPOCH: Final = dt.datetime(1970, 1, 1)


def wants_time(model: Any) -> bool:
    """Whether a part of a model learns from the event time.

    An aggregate takes `t` for `utils.TimeRolling` only: with another statistic River's `Agg` fails on it.
    """
    return any(map(_wants, members(model)))


def _wants(part: Any) -> bool:
    if isinstance(part, feature_extraction.Agg):
        return isinstance(part.how, utils.TimeRolling)
    if not isinstance(part, base.Estimator):
        return False
    method = getattr(type(part), "learn_one", None)
    try:
        return method is not None and "t" in inspect.signature(method).parameters
    except (TypeError, ValueError):  # not written in Python
        return False


def moment(ts: int) -> dt.datetime:
    """Give an event time as River's aggregates take it: in UTC, without a zone.

    Parameters
    ----------
    ts
        In ms since 1970-01-01 UTC.

    Raises
    ------
    OverflowError
        It lies after the year 9999.
    """
    return EPOCH + dt.timedelta(milliseconds=ts)


def learn(model: Any, x: dict[str, Any], y: Any, ts: int | None) -> None:
    """Let a model learn an example.

    Parameters
    ----------
    model
        A River model.
    x, y
        The example. The model may change `x`.
    ts
        Its request's event time in ms, for a model that `wants_time`; None for the others.
    """
    if ts is None:
        model.learn_one(x, y)
    else:
        model.learn_one(x, y, t=moment(ts))
