"""A value that is put back to what it was, quickly."""

from __future__ import annotations

import collections
import functools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from schemas.errors import NotReproducible
from streams.snapshot.atoms import ATOMS
from streams.snapshot.fields import slots_of
from streams.snapshot.parts import CODE, take_apart


class Rewind:
    """Remembers a value as it is now, and puts it back in place.

    It undoes what a prediction does to a model that has learned nothing, at a fraction of the cost of a copy.

    Raises
    ------
    NotReproducible
        When it holds an object that cannot be restored.

    Examples
    --------
    >>> value = {"seen": [1, 2], "by": len}
    >>> rewind = Rewind(value)
    >>> value["seen"].append(3)
    >>> value["new"] = True
    >>> rewind.back()
    >>> value
    {'seen': [1, 2], 'by': <built-in function len>}
    """

    def __init__(self, value: object) -> None:
        self._steps: list[Callable[[], Any]] = []
        self._kept: list[Any] = []
        seen: set[int] = set()
        ahead: list[Any] = [value]
        while ahead:
            each = ahead.pop()
            if type(each) in ATOMS or isinstance(each, np.generic | np.dtype) or id(each) in seen:
                continue
            seen.add(id(each))
            self._kept.append(each)  # an id is only good while its object lives
            if isinstance(each, functools.partial):
                ahead += [each.func, *each.args, *each.keywords.values()]
            elif isinstance(each, types.MethodType):
                ahead.append(each.__self__)
            elif not isinstance(each, CODE):
                ahead += self._remember(each)

    def back(self) -> None:
        """Put the value back."""
        for step in self._steps:
            step()

    def _remember(self, value: Any) -> list[Any]:
        """Keep what an object is; gives the objects in it."""
        parts = take_apart(value)
        inside = [*parts.fields.values(), *parts.items, *parts.members]
        inside += [each for pair in parts.entries for each in pair]
        if parts.fields or parts.kind.startswith("object"):
            self._fields(value)
        kind = parts.kind.removeprefix("object ")
        if kind in {"list", "deque"}:
            self._refill(value, list(value), value.extend)
        elif kind == "set":
            self._refill(value, set(value), value.update)
        elif kind == "ordered":  # which keeps its order beside the dict
            self._refill(value, dict(value), functools.partial(collections.OrderedDict.update, value))
        elif kind in {"dict", "counter", "defaultdict"}:
            self._refill(value, dict(value), functools.partial(dict.update, value))
        elif kind == "vector":
            self._refill(value, value.to_dict(), functools.partial(_put, value))
        elif kind == "random":
            self._steps.append(functools.partial(random.Random.setstate, value, value.getstate()))
        elif kind == "compiled":
            self._steps.append(functools.partial(value.__setstate__, value.__getstate__()))
        elif isinstance(value, np.ndarray):
            self._steps.append(functools.partial(np.copyto, value, value.copy()))
        elif kind == "generator":
            self._steps.append(_generator(value))
            inside = []
        elif kind == "reduced":
            raise NotReproducible(f"a {type(value).__qualname__} cannot be restored")
        return inside

    def _fields(self, value: Any) -> None:
        own = vars(value) if type(value).__dictoffset__ != 0 else None
        if own is not None:
            self._steps.append(functools.partial(_put_fields, own, dict(own)))
        for name, slot in slots_of(type(value)).items():
            if hasattr(value, name):
                self._steps.append(functools.partial(slot.__set__, value, slot.__get__(value)))

    def _refill(self, value: Any, was: Any, fill: Callable[[Any], Any]) -> None:
        def step() -> None:
            value.clear()
            fill(was)

        self._steps.append(step)


def _put_fields(own: dict[str, Any], was: dict[str, Any]) -> None:
    if len(own) != len(was):
        own.clear()
    own.update(was)


def _put(vector: Any, was: dict[Any, float]) -> None:
    for key, value in was.items():
        vector[key] = value


def _generator(value: Any) -> Callable[[], Any]:
    if isinstance(value, np.random.RandomState):
        return functools.partial(value.set_state, value.get_state(legacy=False))
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    return functools.partial(setattr, bits, "state", bits.state)
