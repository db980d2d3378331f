"""Whether an example has made numbers in a state infinite."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from schemas.codec.checks import MAX_NUMBER
from streams.snapshot.atoms import ATOMS
from streams.snapshot.parts import CODE, take_apart

_NUMBER: Final = (float, int)


def is_huge(features: Mapping[str, Any], value: Any) -> bool:
    """Whether an example has a number whose square may be infinite.

    Examples
    --------
    >>> is_huge({"x": -1e200}, True), is_huge({"x": 3, "c": "a"}, 1e9)
    (True, False)
    """
    if isinstance(value, _NUMBER) and not -MAX_NUMBER < value < MAX_NUMBER:
        return True
    for each in features.values():
        # The frequent types first: this is asked of every example.
        kind = type(each)
        if kind is not str and kind is not bool and not -MAX_NUMBER < each < MAX_NUMBER:
            return True
    return False


def count_not_finite(state: object) -> int:
    """Count the numbers in a state that are infinite or NaN. Some are from the start, such as a first minimum.

    Examples
    --------
    >>> count_not_finite({"mean": float("nan"), "seen": [1.0, float("inf")]})
    2
    """
    count = 0
    seen: set[int] = set()
    kept: list[Any] = []
    ahead: list[Any] = [state]
    while ahead:
        each = ahead.pop()
        if isinstance(each, float):
            count += not math.isfinite(each)
        elif isinstance(each, np.ndarray):
            if each.dtype.kind == "f":
                count += int(np.count_nonzero(~np.isfinite(each)))
        elif type(each) in ATOMS or isinstance(each, CODE) or id(each) in seen:
            continue
        else:
            seen.add(id(each))
            kept.append(each)  # an id is only good while its object lives
            if isinstance(each, functools.partial):
                ahead += [each.func, *each.args, *each.keywords.values()]
            elif isinstance(each, types.MethodType):
                ahead.append(each.__self__)
            else:
                parts = take_apart(each)
                ahead += [*parts.fields.values(), *parts.items, *parts.members, *parts.plain]
                ahead += [one for pair in parts.entries for one in pair]
    return count
