"""Choosing features without losing their order."""

from __future__ import annotations

from typing import Any

from river import base


class Select(base.Transformer):
    """Select features by name, in the order in which the names are given.

    River's own `compose.Select` keeps its names in a set and iterates over it: the order of the features, and
    with it the last bits of every sum over them, changes with PYTHONHASHSEED and after pickling. A model
    behind it cannot be reproduced, and the load check rejects it; this selector takes its place.

    Parameters
    ----------
    names
        Names of the features to keep. The output has them in this order.

    Notes
    -----
    A name that `x` does not have is skipped, where River's raises KeyError: a missing optional feature
    has no key in `x`, and what follows (an imputer, a tree) decides what that means.

    Examples
    --------
    >>> from river import linear_model, preprocessing
    >>> Select("lead_time", "adults").transform_one({"adults": 2, "country": "PRT", "lead_time": 14.0})
    {'lead_time': 14.0, 'adults': 2}

    It takes part in pipelines and unions as any River transformer does:

    >>> numbers = Select("lead_time", "adults") | preprocessing.StandardScaler()
    >>> levels = Select("country") | preprocessing.OneHotEncoder()
    >>> model = (numbers + levels) | linear_model.LogisticRegression()
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the selected features of `x` in the selector's order, in a new dict."""
        return {name: x[name] for name in self.names if name in x}

    def __str__(self) -> str:
        return f"Select({', '.join(self.names)})"

    def __repr__(self) -> str:
        return f"Select({', '.join(map(repr, self.names))})"
