"""Writing a state as plain data."""

from __future__ import annotations

import functools
import types
from array import array
from typing import Any, Final

import numpy as np

from schemas.errors import NotReproducible, SnapshotError
from schemas.state_table import StateTable, encode
from streams.garbage import without_collection
from streams.snapshot.atoms import atom, is_users
from streams.snapshot.code import class_name, code_name
from streams.snapshot.parts import CODE, take_apart

KINDS: Final = (
    *("list", "tuple", "dict", "set", "frozenset", "deque", "ordered", "counter", "defaultdict", "vector"),
    *(
        "object",
        "object list",
        "object tuple",
        "object dict",
        "object set",
        "object frozenset",
        "object deque",
    ),
    *("object ordered", "object counter", "object defaultdict"),
    *(
        "objects",
        "array",
        "scalar",
        "random",
        "generator",
        "compiled",
        "enum",
        "time",
        "complex",
        "bytearray",
    ),
    *("code", "method", "partial", "value"),
)
"""Kinds of objects in a file, by number. A new kind comes at the end."""
NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}

CONSTANTS: Final = (None, False, True, Ellipsis)
CONSTANT, INTEGER, FLOAT, TEXT, BLOB, OBJECT, BIG = range(7)
"""Tags of a value's cell: index * 8 + tag."""
_PLAIN: Final = (type(None), bool, int, float, str, bytes, type(Ellipsis))
_SMALL: Final = 1 << 59


def dump(state: object) -> bytes:
    """Write a state.

    Functions, classes and other code go in by name only: whoever restores it brings them.

    Parameters
    ----------
    state
        A River model, or any fold's state.

    Raises
    ------
    SnapshotError
        When something in it is no plain data and has no handler, naming it.

    Examples
    --------
    >>> from river import linear_model
    >>> from streams.snapshot.read import load
    >>> model = linear_model.LogisticRegression()
    >>> model.learn_one({"x": 1.0}, True)
    >>> twin = load(dump(model), linear_model.LogisticRegression())
    >>> twin.predict_proba_one({"x": 1.0}) == model.predict_proba_one({"x": 1.0})
    True
    """
    return dump_with_classes(state)[0]


def dump_with_classes(state: object) -> tuple[bytes, set[type]]:
    """Write a state as `dump` does; gives also the classes of its objects, by which `load` makes them again."""
    try:
        with without_collection():
            writer = _Writer()
            return encode(writer.table(state)), set(map(type, writer.objects))
    except (NotReproducible, UnicodeError) as error:
        raise SnapshotError(f"a {type(state).__qualname__} cannot be stored: {error}") from error


class _Writer:
    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.objects: list[Any] = []
        """By number; kept, for an id is only good while its object lives."""
        self.texts: dict[str, int] = {}
        self.shapes: dict[tuple[int, ...], int] = {(): 0}
        self.floats = array("d")
        self.blobs: list[bytes] = []
        self.cells: list[int] = []

    def table(self, root: Any) -> StateTable:
        self._number(root)
        for value in self.objects:  # it grows as we go
            self._object(value)
        shapes = [number for shape in [*self.shapes][1:] for number in (len(shape) - 1, *shape)]
        return StateTable(len(self.objects), [*self.texts], shapes, self.floats, self.blobs, self.cells)

    def _number(self, value: Any) -> int:
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return number

    def _text(self, value: str) -> int:
        return self.texts.setdefault(value, len(self.texts))

    def _cell(self, value: Any) -> int:
        kind = type(value)
        if kind is float:
            self.floats.append(value)
            return FLOAT
        if kind is str:
            return self._text(value) << 3 | TEXT
        if kind is int:
            if -_SMALL < value < _SMALL:
                return int(value << 3 | INTEGER)
            number: int = value
            self.blobs.append(number.to_bytes((value.bit_length() + 8) // 8, "little", signed=True))
            return len(self.blobs) - 1 << 3 | BIG
        if value is None or kind is bool or value is Ellipsis:
            return CONSTANTS.index(value) << 3 | CONSTANT
        if kind is bytes:
            self.blobs.append(value)
            return len(self.blobs) - 1 << 3 | BLOB
        return self._number(value) << 3 | OBJECT

    def _object(self, value: Any) -> None:
        kind, cls, fields, values = _described(value)
        shape = 0
        if cls is not None:
            key = (self._text(cls), *map(self._text, fields))
            shape = self.shapes.setdefault(key, len(self.shapes))
        cell = self._cell
        made = [cell(part) for part in fields.values()]
        made += [cell(part) for part in values]
        self.cells += (NUMBER[kind], shape, len(made) - len(fields))
        self.cells += made


def kind_of(value: Any) -> str:
    """Give the kind under which an object is stored; empty for what is none of them."""
    return "" if type(value) in _PLAIN else _described(value)[0]


def _described(value: Any) -> tuple[str, str | None, dict[str, Any], list[Any]]:
    """Give an object's kind, class name, fields and further values."""
    if isinstance(value, functools.partial) and _has_state(value):
        return "partial", None, {}, partial_of(value)
    if isinstance(value, CODE):
        return "code", None, {}, [_code_name(value)]
    if type(value) in _PLAIN:
        return "value", None, {}, [value]
    if isinstance(value, types.MethodType):
        return "method", None, {}, [_code_name(value.__func__), value.__self__]
    if isinstance(value, np.generic):
        return "scalar", None, {}, [value.dtype.str, value.tobytes()]
    if type(value) is np.ndarray and not value.dtype.hasobject:
        fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
        data = value.tobytes(order="F" if fortran else "C")
        return "array", None, {}, [value.dtype.str, fortran, data, *value.shape]
    if type(value) is complex:
        return "complex", None, {}, [value.real, value.imag]
    if type(value) is bytearray:
        return "bytearray", None, {}, [bytes(value)]
    parts = take_apart(value)
    if parts.kind not in NUMBER:
        raise SnapshotError(
            f"a {type(value).__module__}.{type(value).__qualname__} cannot be stored: it is not plain data; keep "
            "numbers, text, lists, dicts and NumPy arrays in the model, or estimators of River or scikit-learn"
        )
    cls = class_name(parts.cls) if parts.cls is not None else None
    values = [*parts.plain, *parts.items, *parts.members]
    for pair in parts.entries:
        values += pair
    if parts.kind == "objects":
        values.insert(0, len(parts.plain))
    return parts.kind, cls, parts.fields, values


def partial_of(partial: functools.partial[Any]) -> list[Any]:
    """Give a partial's function, which may be an object with a state, and what it is called with."""
    return [partial.func, *partial.args, *partial.keywords.values()]


def _has_state(value: Any) -> bool:
    if isinstance(value, functools.partial):
        return any(map(_has_state, partial_of(value)))
    if type(value) in {tuple, frozenset}:
        return any(map(_has_state, value))
    return atom(value) is None and not isinstance(value, (*CODE, types.MethodType))


def _code_name(code: Any) -> str:
    name = code_name(code)
    if ("<lambda>" in name or "<locals>" in name) and is_users(getattr(code, "__module__", None) or "sys"):
        raise SnapshotError(
            f"{code.__qualname__} of {code.__module__} cannot be stored by name: define it at the top level of "
            "the file"
        )
    return name
