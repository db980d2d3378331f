"""The stored form of a state, and reading it without trusting it."""

from __future__ import annotations

import importlib
import io
import pickle  # the reader below is restricted, and what it reads is checked first
import random
import struct
import types
from collections.abc import Callable, Mapping, Set
from typing import Any, Final

import numpy as np
from river import proba
from river.tree.splitter.ebst_splitter import EBSTNode
from river.tree.splitter.exhaustive_splitter import ExhaustiveNode

from schemas.errors import SnapshotError
from streams import restoring
from streams.atoms import of_task_file
from streams.garbage import without_collection
from streams.opcodes import Pair, check, is_listed

MAX_BYTES: Final = 1 << 29
"""Largest snapshot that is read, in bytes, unless told otherwise."""


def dump(state: object, allowed: Set[Pair] = frozenset()) -> bytes:
    """Write a state.

    Functions and classes of the user's task file go in by name only; all else must be on the allow-list.

    Parameters
    ----------
    state
        A River model, or any fold's state.
    allowed
        More (module, name) pairs of classes that it may hold objects of.

    Raises
    ------
    SnapshotError
        When `load` would refuse the result, naming the pair; when something in it cannot be written, such as
        a lambda.

    Examples
    --------
    >>> from river import linear_model
    >>> model = linear_model.LogisticRegression()
    >>> model.learn_one({"x": 1.0}, True)
    >>> load(dump(model)).predict_proba_one({"x": 1.0}) == model.predict_proba_one({"x": 1.0})
    True
    """
    file = io.BytesIO()
    try:
        with without_collection():
            _Writer(file, protocol=5).dump(state)
    except SnapshotError:
        raise
    except RecursionError:
        message = "the state is nested too deeply to be written"
        raise SnapshotError(f"a {type(state).__qualname__} cannot be stored: {message}") from None
    except Exception as error:
        raise SnapshotError(f"a {type(state).__qualname__} cannot be stored: {error}") from error
    data = file.getvalue()
    check(data, allowed)  # what could not be read must fail when it is written
    return data


def load(
    data: bytes,
    allowed: Set[Pair] = frozenset(),
    resolve: Mapping[str, Any] | None = None,
    limit: int = MAX_BYTES,
) -> Any:
    """Read a state, after checking all that it names and does.

    Parameters
    ----------
    data
        What `dump` gave.
    allowed
        More (module, name) pairs of classes that it may hold objects of.
    resolve
        The task file's own top-level functions and classes, by name. Give only what is defined there: a
        snapshot may make objects of these classes, though it cannot call these functions.
    limit
        Refuse more bytes than this. The objects take up to some hundred times as much memory.

    Raises
    ------
    SnapshotError
        Naming the pair that is not on the allow-list, the name that the task file lacks, or the damage.

    Notes
    -----
    Checked before anything runs: see `streams.opcodes`. Not promised: that a state which is made of listed
    classes, but by somebody else, is a sensible model. Its digest and its probes tell, and a signature tells
    who wrote it.
    """
    if len(data) > limit:
        raise SnapshotError(f"the snapshot has {len(data)} bytes, more than the limit of {limit}")
    names = dict(resolve or {})
    for name in sorted(check(data, allowed)):
        found = names.get(name)
        if not isinstance(found, type | types.FunctionType) or found.__qualname__ != name:
            raise SnapshotError(f"the snapshot needs {name!r}, which the task file does not define")
    try:
        with without_collection():
            return _Reader(data, allowed, names).load()
    except SnapshotError:
        raise
    except Exception as error:
        raise SnapshotError(f"the snapshot is damaged: {type(error).__name__}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how River's Rust types report damaged bytes
            raise
        raise SnapshotError(f"the snapshot is damaged: {error}") from error


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: Set[Pair], names: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        # `check` has asked all this; whoever finds a way to deceive it meets the list again.
        pair = (module, name)
        if not is_listed(pair, self._allowed):
            raise SnapshotError(f"the snapshot names {pair}, which is not on the allow-list")
        if module == "streams.restoring":
            return restoring.CALLABLE[name]
        found = vars(importlib.import_module(module)).get(name)
        if pair in self._allowed and not isinstance(found, type):
            raise SnapshotError(f"the snapshot names {pair}, which is no class")
        if found is None:
            raise SnapshotError(f"the snapshot names {pair}, which this River does not have")
        return found

    def persistent_load(self, pid: Any) -> Any:
        return self._names[pid[1]]


class _Writer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        if not isinstance(obj, type | types.FunctionType) or not of_task_file(obj.__module__ or ""):
            return None
        if not obj.__qualname__.isidentifier():
            raise SnapshotError(
                f"{obj.__qualname__} of {obj.__module__} cannot be stored: "
                "define it by name at the top level of the task file"
            )
        return ("task", obj.__qualname__)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind not in _reducers:
            _reducers[kind] = _reducer(kind)
        reduce = _reducers[kind]
        return NotImplemented if reduce is None else reduce(obj)


_Reduce = Callable[[Any], Any]


def _reducer(kind: type) -> _Reduce | None:
    if issubclass(kind, np.generic):
        return _reduce_scalar
    if issubclass(kind, np.dtype):
        return lambda value: (restoring.dtype, (value.str,))
    if issubclass(kind, proba.base.Distribution):
        return _reduce_distribution
    if kind.__module__.startswith("river._river_rust") and "VectorDict" not in kind.__name__:
        return _reduce_compiled
    return None


def _reduce_scalar(value: Any) -> Any:
    return restoring.scalar, (value.dtype.str, value.tobytes())


def _reduce_array(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.hasobject:
        return restoring.object_array, (value.shape, value.ravel().tolist())
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    data = value.tobytes(order="F" if fortran else "C")
    return restoring.array, (value.dtype.str, value.shape, fortran, data)


def _reduce_generator(value: random.Random) -> Any:
    _, words, gauss = value.getstate()
    return restoring.generator, (struct.pack(f"<{len(words)}I", *words), gauss)


def _reduce_numpy_generator(value: Any) -> Any:
    legacy = isinstance(value, np.random.RandomState)
    state = value.get_state(legacy=False) if legacy else value.bit_generator.state
    return restoring.numpy_generator, (legacy, state["bit_generator"], state)


def _reduce_method(value: types.MethodType) -> Any:
    return restoring.method, (value.__self__, value.__func__.__name__)


def _reduce_function(value: types.FunctionType) -> Any:
    owner, dot, name = value.__qualname__.rpartition(".")
    if not dot:
        return NotImplemented
    kind = vars(importlib.import_module(value.__module__)).get(owner)
    if not isinstance(kind, type):
        raise SnapshotError(f"({value.__module__!r}, {value.__qualname__!r}) cannot be stored by name")
    return restoring.function, (kind, name)


def _reduce_compiled(value: Any) -> Any:
    _, (kind, *arguments), state, *_ = value.__reduce_ex__(4)
    return restoring.compiled, (kind, tuple(arguments), state)


def _reduce_distribution(value: Any) -> Any:
    if value.seed is not None:
        return NotImplemented
    state = {name: part for name, part in value.__dict__.items() if name != "_rng"}
    return restoring.unseeded, (type(value),), state


def _reduce_chain(root: Any) -> Any:
    fields = [name for name in type(root).__slots__ if name not in {"_left", "_right"}]
    rows: list[tuple[int, int, dict[str, Any]]] = []
    nodes = [root]
    for node in nodes:  # it grows as we go
        numbers = []
        for child in (node._left, node._right):
            if child is not None:
                nodes.append(child)
            numbers.append(len(nodes) - 1 if child is not None else 0)
        rows.append((numbers[0], numbers[1], {name: getattr(node, name) for name in fields}))
    return restoring.chain, (type(root), rows)


_reducers: dict[type, _Reduce | None] = {
    np.ndarray: _reduce_array,
    random.Random: _reduce_generator,
    np.random.RandomState: _reduce_numpy_generator,
    np.random.Generator: _reduce_numpy_generator,
    types.MethodType: _reduce_method,
    types.FunctionType: _reduce_function,
    EBSTNode: _reduce_chain,
    ExhaustiveNode: _reduce_chain,
}
