"""How one object is taken apart into values: the alphabet of `streams.digest`."""

from __future__ import annotations

import collections
import copy
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from river import compose, covariance, linear_model, optim, proba, utils
from river.tree.hoeffding_tree import HoeffdingTree

from schemas.errors import NotReproducible
from streams.atoms import ATOMS, atom, name_of, text

# What River keeps in an object without its being knowledge; subclasses inherit it.
IGNORED: Final[dict[type, frozenset[str]]] = {
    # Built by the first call of any kind, a prediction included.
    compose.Pipeline: frozenset(
        {"_plan", "_inference_transformers", "_last_step_cached", "_last_step_params"}
    ),
    # Measured with sys.getsizeof, and pickling changes sizes (dicts shrink, equal strings merge). The figures
    # only decide when `max_size` prunes, and the load check refuses a model for which that is set.
    HoeffdingTree: frozenset(
        {"_active_leaf_size_estimate", "_inactive_leaf_size_estimate", "_size_estimate_overhead_fraction"}
    ),
    # Filled when the matrix is read.
    covariance.EmpiricalCovariance: frozenset({"_cached_keys", "_cached_pairs"}),
    covariance.EmpiricalPrecision: frozenset({"_matrix_cache"}),
    linear_model.BayesianLinearRegression: frozenset({"_m_arr", "_m_dirty"}),  # by the next prediction
}

NOTHING: Final = object()
"""No default value."""


class Parts:
    """An object taken apart: a header, ordered parts, unordered entries, unordered elements.

    A part is either the bytes of an atom or an object still to be walked; those are in `walked` as well.
    """

    __slots__ = ("absent", "bag", "header", "pairs", "seq", "walked")

    def __init__(
        self,
        header: bytes,
        seq: Iterable[Any] = (),
        pairs: Iterable[tuple[Any, Any]] = (),
        bag: Iterable[Any] = (),
        absent: Any = NOTHING,
    ) -> None:
        self.header = header
        self.absent = absent
        self.walked: list[Any] = []
        self.seq = self._parts(seq) if seq else []
        self.bag = self._parts(bag) if bag else []
        self.pairs: list[tuple[Any, Any]] = []
        if pairs:
            by_key = [(_part(key), value) for key, value in pairs]
            if all(type(key) is bytes for key, _ in by_key):
                by_key.sort(key=_key)  # in order before they are walked, so that a walk has one order
            else:
                self.walked.extend(key for key, _ in by_key if type(key) is not bytes)
            values = self._parts(value for _, value in by_key)
            self.pairs = [(key, value) for (key, _), value in zip(by_key, values, strict=True)]

    def _parts(self, values: Iterable[Any]) -> list[Any]:
        out = []
        for value in values:
            made = ATOMS.get(type(value))
            part = atom(value) if made is None else made(value)
            if part is None:
                part = value
                self.walked.append(value)
            out.append(part)
        return out


def _part(value: Any) -> Any:
    found = atom(value)
    return value if found is None else found


def _key(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def take_apart(value: Any) -> Parts:
    """Take apart a value that is not an atom.

    Raises
    ------
    NotReproducible
        When it has no state that could be written, such as a generator or an open file.
    """
    kind = type(value)
    way = _ways.get(kind)
    if way is None:
        way = _ways[kind] = _way(kind)
    return way(value)


def _way(kind: type) -> Callable[[Any], Parts]:
    """Choose how objects of a class are taken apart."""
    if issubclass(kind, np.random.Generator):
        return lambda value: Parts(b"G", [value.bit_generator.state])
    if issubclass(kind, np.random.RandomState):
        return lambda value: Parts(b"G", [value.get_state(legacy=False)])
    if issubclass(kind, np.random.BitGenerator):
        return lambda value: Parts(b"G", [value.state])
    without: frozenset[str] = frozenset().union(*(IGNORED.get(each, frozenset()) for each in kind.__mro__))
    header = b"o" + name_of(kind.__module__, kind.__qualname__)
    apart = _plain if _is_plain(kind) else _reduced
    if issubclass(kind, proba.base.Distribution):
        # Every Gaussian of every leaf carries a generator seeded from the system, which nothing but `sample`
        # uses: no two twins would ever be equal. A model that samples without a seed fails by its scores.
        more = without | {"_rng"}
        return lambda value: apart(value, header, more if value.seed is None else without)
    return lambda value: apart(value, header, without)


def _plain(value: Any, header: bytes, without: frozenset[str]) -> Parts:
    state = value.__dict__
    parts = Parts(header)
    parts.seq = seq = []
    for name in sorted(state):
        if name not in without:
            part = state[name]
            made = ATOMS.get(type(part))
            token = atom(part) if made is None else made(part)
            if token is None:
                token = part
                parts.walked.append(part)
            seq.append(text(name))
            seq.append(token)
    return parts


def _reduced(value: Any, header: bytes, without: frozenset[str]) -> Parts:
    kind = type(value)
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:
        raise NotReproducible(f"a {kind.__module__}.{kind.__qualname__} has no state: {error}") from error
    if isinstance(reduced, str):
        return Parts(b"q" + text(f"{kind.__module__}:{reduced}"))
    function, arguments, state, items, entries = [*reduced, None, None, None][:5]
    if without and isinstance(state, dict):
        state = {name: part for name, part in state.items() if name not in without}
    absent = NOTHING
    if isinstance(value, collections.defaultdict):
        absent = _empty(value.default_factory)
    return Parts(
        header,
        [function, *arguments, state, *(() if items is None else items)],
        () if entries is None else entries,
        absent=absent,
    )


def _is_plain(kind: type) -> bool:
    """Whether `__dict__` is all that pickle would write of an instance."""
    return (
        all(
            getattr(kind, name) is getattr(object, name)
            for name in ("__reduce_ex__", "__reduce__", "__getstate__")
        )
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
        and kind.__dictoffset__ != 0
        and all(each is object or _is_bare(each) for each in kind.__mro__)
    )


def _is_bare(kind: type) -> bool:
    slots = kind.__dict__.get("__slots__", ())
    names = {slots} if isinstance(slots, str) else set(slots)
    made_in_python = bool(kind.__flags__ & 1 << 9)  # Py_TPFLAGS_HEAPTYPE: not int, dict, Exception
    return made_in_python and names <= {"__dict__", "__weakref__"}


def _empty(factory: Any) -> Any:
    """Give what a missing entry would be, if asking for it changes nothing.

    A factory that draws from a generator or counts must not be called: its entries are knowledge.
    """
    call = factory.func if isinstance(factory, functools.partial) else factory
    harmless = (
        isinstance(call, type)
        or call is copy.deepcopy
        or isinstance(call, optim.initializers.Constant)
        or (isinstance(call, types.FunctionType) and call.__module__.startswith("river."))
    )
    if not harmless:
        return NOTHING
    try:
        return factory()
    except Exception:  # the dict could not have made an entry either
        return NOTHING


def _vector(value: Any) -> Parts:
    _, (data, factory, mask, *_) = value.__reduce__()
    return Parts(b"V", [factory, mask], data.items(), absent=_empty(factory) if data else NOTHING)


def _default_dict(value: Any) -> Parts:
    absent = _empty(value.default_factory) if value else NOTHING
    return Parts(b"w", [value.default_factory], value.items(), absent=absent)


_ways: dict[type, Callable[[Any], Parts]] = {
    list: lambda value: Parts(b"l", value),
    tuple: lambda value: Parts(b"t", value),
    dict: lambda value: Parts(b"d", pairs=value.items()),
    types.MappingProxyType: lambda value: Parts(b"d", pairs=value.items()),
    set: lambda value: Parts(b"e", bag=value),
    frozenset: lambda value: Parts(b"z", bag=value),
    collections.deque: lambda value: Parts(b"k", [value.maxlen, *value]),
    collections.OrderedDict: lambda value: Parts(b"O", [part for pair in value.items() for part in pair]),
    collections.Counter: lambda value: Parts(b"C", pairs=value.items(), absent=0),
    collections.defaultdict: _default_dict,
    utils.VectorDict: _vector,
    np.ndarray: lambda value: Parts(b"A" + text(f"{value.dtype.str} {value.shape}"), value.ravel().tolist()),
    types.MethodType: lambda value: Parts(b"m" + text(value.__func__.__name__), [value.__self__]),
    types.BuiltinFunctionType: lambda value: Parts(b"M" + text(value.__name__), [value.__self__]),
}
