"""Pairing what is stored with the freshly built model: what stands at one place must be of one kind."""

from __future__ import annotations

import collections
import functools
import types
from typing import Any, Final

import numpy as np
from river import base, compose

from schemas.errors import SnapshotError
from streams.snapshot import make
from streams.snapshot.code import class_name, code_name
from streams.snapshot.nodes import Node
from streams.snapshot.parts import CODE
from streams.snapshot.write import kind_of, partial_of

PLAIN_KEYS: Final = (type(None), bool, int, float, str, bytes, complex)
"""Types of the values that may be keys of a dict or members of a set."""


def check_place(node: Node, twin: Any) -> None:
    """Where the model has code, the state has the same code or nothing of its own."""
    if isinstance(twin, functools.partial) and node.kind == "partial":
        if len(node.values) != len(partial_of(twin)):
            raise SnapshotError("the snapshot has another partial than the model")
    elif isinstance(twin, CODE) and (node.kind != "code" or node.values != [code_name(twin)]):
        raise SnapshotError(f"the snapshot has a {node.kind} where the model has {code_name(twin):.80}")
    if isinstance(twin, types.MethodType) and (
        node.kind != "method" or node.values[0] != code_name(twin.__func__)
    ):
        raise SnapshotError(f"the snapshot has a {node.kind} where the model has {twin.__qualname__:.80}")
    if isinstance(twin, base.Estimator) and node.cls != class_name(type(twin)):
        found = node.cls or node.kind
        raise SnapshotError(f"the snapshot has a {found:.80} where the model has a {type(twin).__qualname__}")
    if isinstance(twin, compose.Pipeline | compose.TransformerUnion):
        _check_steps(node, twin)


def _check_steps(node: Node, twin: Any) -> None:
    """Check that a pipeline or union has the parts that the task file gives it, in their order."""
    field = "steps" if isinstance(twin, compose.Pipeline) else "transformers"
    stored = node.fields.get(field)
    names = stored.values[::2] if type(stored) is Node else None
    if names != list(getattr(twin, field)):
        raise SnapshotError(f"the snapshot has other {field} than the model: {names!r:.120}")


def twins_of(node: Node, twin: Any) -> list[Any]:
    """Give what the template's object has in the places of a node's values."""
    kind, values = node.kind.removeprefix("object ").removeprefix("object"), node.values
    twins: list[Any] = [None] * len(values)
    if kind in {"list", "tuple"} and isinstance(twin, list | tuple):
        twins[: len(twin)] = twin[: len(values)]
    elif kind == "deque" and isinstance(twin, collections.deque):
        twins[1 : 1 + len(twin)] = list(twin)[: len(values) - 1]
    elif kind in {"dict", "ordered", "counter", "defaultdict"} and isinstance(twin, dict):
        first = kind == "defaultdict"
        if first and isinstance(twin, collections.defaultdict):
            twins[0] = twin.default_factory
        for at in range(first, len(values) - 1, 2):
            if type(values[at]) in PLAIN_KEYS:
                twins[at + 1] = dict.get(twin, values[at])
    elif kind == "vector" and type(twin) is make.VectorDict:
        twins[0] = twin.__reduce__()[1][1]
    elif kind == "partial" and isinstance(twin, functools.partial):
        twins = partial_of(twin)
    elif kind == "method" and isinstance(twin, types.MethodType):
        twins[1] = twin.__self__
    return twins


def same_type(value: Any, part: Any) -> bool:
    """Whether a field may have a stored value where the model has this one.

    A field may be empty in one of them, and a parameter may be a text in one and the number it means in the other.
    """
    if type(value) is not Node or value.kind == "scalar":
        return isinstance(part, bool | int | float | str | bytes | np.generic)
    return value.kind == kind_of(part) or (value.kind == "code" and isinstance(part, functools.partial))
