"""Making the objects of a state that have no fields: one small handler each, which checks what it is given."""

from __future__ import annotations

import datetime
import functools
import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from river import proba, utils

from schemas.errors import SnapshotError
from streams.snapshot import rust
from streams.snapshot.parts import NOT_STORED, NOTHING

VectorDict: Final[Any] = utils.VectorDict
PLAIN: Final = (np.generic, datetime.date, datetime.time, datetime.timedelta)
"""More types of plain data that a key may have."""

_DTYPE: Final = re.compile(r"[<>|=]?([biufc][0-9]{1,2}|[SU][0-9]{1,6}|[mM]8(\[[0-9a-zA-Z/]{1,12}\])?)\Z")

BUILT_IN: Final[dict[str, Any]] = {
    f"{kind.__module__}:{kind.__qualname__}": kind
    for kind in (
        *(
            np.random.Generator,
            np.random.RandomState,
            *(getattr(np.random, name) for name in ("MT19937", "PCG64")),
        ),
        *(np.random.PCG64DXSM, np.random.Philox, np.random.SFC64),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
        *rust.CLASSES,
    )
}
"""Classes that are made by a handler, by name."""


_RANDOM: Final = random.Random(0)  # noqa: S311  nothing uses it


def unstored(value: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give an object's fields that no snapshot holds, as they are after restoring."""
    kind: type = type(value)
    kept: dict[str, Any] = _unstored(kind)
    if "_rng" in kept:  # a distribution: one with a seed has it among its fields
        return {} if "_rng" in fields else {"_rng": vars(value).get("_rng", _RANDOM)}
    return kept


@functools.cache
def _unstored(kind: Any) -> dict[str, Any]:
    if issubclass(kind, proba.base.Distribution):
        return {"_rng": None}
    every = (each for base in kind.__mro__ for each in NOT_STORED.get(base, {}).items())
    return {name: fresh for name, fresh in every if fresh is not NOTHING}


def dtype(code: Any) -> np.dtype[Any]:
    """Make a plain dtype from its code; types of objects and structured ones never come this way."""
    if not isinstance(code, str) or not _DTYPE.match(code):
        raise SnapshotError(f"the snapshot has an array of an unusual type: {code!r:.60}")
    return np.dtype(code)


def _array(_: Any, values: list[Any], __: Any) -> Any:
    """Make an array from its bytes, in the memory order it had: sums depend on it in the last bits."""
    code, fortran, data, *shape = values
    kind = dtype(code)
    _check_shape(shape, len(data), kind.itemsize)
    flat = np.frombuffer(data, kind) if data else np.empty(0, kind)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")


def _objects(_: Any, values: list[Any], __: Any) -> Any:
    sides = values[0]
    shape, items = values[1 : 1 + sides], values[1 + sides :]
    _check_shape(shape, len(items), 1)
    flat = np.empty(len(items), object)
    for index, item in enumerate(items):
        flat[index] = item
    return flat.reshape(shape)


def _check_shape(shape: list[Any], size: int, itemsize: int) -> None:
    whole = all(type(side) is int and side >= 0 for side in shape) and len(shape) <= 32
    if not whole or math.prod(shape) * itemsize != size:
        raise SnapshotError(f"the snapshot has an array of shape {shape!r:.60} in {size} values")


def _scalar(_: Any, values: list[Any], __: Any) -> Any:
    code, data = values
    return _array(None, [code, False, data, 1], None)[0]


def _random(_: Any, values: list[Any], twin: Any) -> random.Random:
    version, words, gauss = values
    if (version, len(words)) != (3, 625 * 4) or not (gauss is None or type(gauss) is float):
        raise SnapshotError("the snapshot has a random generator of an unknown form")
    made = twin if type(twin) is random.Random else random.Random(0)  # noqa: S311  its state comes next
    made.setstate((3, tuple(np.frombuffer(words, "<u4").tolist()), gauss))
    return made


def _bits(state: Any) -> Any:
    """Make a bit generator; numpy itself checks neither positions nor the sizes of what lies in them."""
    name = state["bit_generator"]
    inner = state["state"]
    checks: dict[str, Callable[[], bool]] = {
        "MT19937": lambda: _words(inner["key"], 624, "u4") and _below(inner["pos"], 625),
        "PCG64": lambda: _below(inner["state"], 1 << 128) and _below(inner["inc"], 1 << 128),
        "PCG64DXSM": lambda: _below(inner["state"], 1 << 128) and _below(inner["inc"], 1 << 128),
        "Philox": lambda: (
            _words(inner["counter"], 4, "u8")
            and _words(inner["key"], 2, "u8")
            and _words(state["buffer"], 4, "u8")
            and _below(state["buffer_pos"], 5)
        ),
        "SFC64": lambda: _words(inner["state"], 4, "u8"),
    }
    buffered = name == "MT19937" or (_below(state["has_uint32"], 2) and _below(state["uinteger"], 1 << 32))
    if name not in checks or not buffered or not checks[name]():
        raise SnapshotError(f"the snapshot has a generator {name!r:.30} of an unknown form")
    made = getattr(np.random, name)(0)
    made.state = {key: value for key, value in state.items() if key not in {"gauss", "has_gauss"}}
    return made


def _words(value: Any, count: int, code: str) -> bool:
    return type(value) is np.ndarray and value.shape == (count,) and value.dtype == np.dtype(code)


def _below(value: Any, limit: int) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) < limit


def _generator(cls: Any, values: list[Any], _: Any) -> Any:
    (state,) = values
    bits = _bits(state)
    if cls is np.random.Generator:
        return np.random.Generator(bits)
    if cls is np.random.RandomState:
        if not _below(state["has_gauss"], 2) or not isinstance(state["gauss"], float):
            raise SnapshotError("the snapshot has a random generator of an unknown form")
        made = np.random.RandomState(bits)
        made.set_state(state)
        return made
    if cls is not type(bits):
        raise SnapshotError(f"the snapshot has a {type(bits).__name__} in the place of another generator")
    return bits


def _time(cls: Any, values: list[Any], _: Any) -> Any:
    if cls is datetime.timedelta:
        days, seconds, microseconds = values
        return datetime.timedelta(days, seconds, microseconds)
    (text,) = values
    return cls.fromisoformat(text)


def _enum(cls: Any, values: list[Any], _: Any) -> Any:
    (name,) = values
    return cls._member_map_[name]


def _vector(_: Any, values: list[Any], __: Any) -> Any:
    factory, mask, *pairs = values
    if not (factory is None or callable(factory)) or type(mask) not in {set, frozenset, type(None)}:
        raise SnapshotError("the snapshot has a vector of an unknown form")
    return VectorDict(dict(zip(pairs[::2], pairs[1::2], strict=True)), factory, mask, True)


def _complex(_: Any, values: list[Any], __: Any) -> complex:
    real, imaginary = values
    return complex(real, imaginary)


def _bytearray(_: Any, values: list[Any], __: Any) -> bytearray:
    (data,) = values
    if type(data) is not bytes:
        raise SnapshotError("the snapshot has bytes of an unknown form")
    return bytearray(data)


def _value(_: Any, values: list[Any], __: Any) -> Any:
    (value,) = values
    if not isinstance(value, int | float | str | bytes | type(None) | type(Ellipsis)):
        raise SnapshotError("the snapshot has an object where a number or text is all that it holds")
    return value


MAKERS: Final[Mapping[str, Callable[[Any, list[Any], Any], Any]]] = {
    "array": _array,
    "objects": _objects,
    "scalar": _scalar,
    "random": _random,
    "generator": _generator,
    "compiled": lambda cls, values, _: rust.make(cls, values),
    "time": _time,
    "enum": _enum,
    "vector": _vector,
    "complex": _complex,
    "value": _value,
    "bytearray": _bytearray,
}
"""By kind: makes an object from its class, its values and the template's object at its place."""
