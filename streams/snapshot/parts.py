"""Objects taken apart: the one walk over a state, which its digest, its stored form and its restoring share."""

from __future__ import annotations

import collections
import copy
import datetime
import enum
import functools
import operator
import random
import re
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from river import compose, covariance, linear_model, optim, proba, utils
from river.tree.hoeffding_tree import HoeffdingTree

from schemas.errors import NotReproducible
from streams.snapshot import scikit
from streams.snapshot.fields import fields_of

NOTHING: Final = object()
"""No default value."""

NOT_KNOWLEDGE: Final[dict[type, frozenset[str]]] = {
    # Built by the first call of any kind, a prediction included.
    compose.Pipeline: frozenset(
        {"_plan", "_inference_transformers", "_last_step_cached", "_last_step_params"}
    ),
    # Measured with sys.getsizeof, and restoring changes sizes (dicts shrink, equal strings merge). The figures
    # only decide when `max_size` prunes, and the load check rejects a model for which that is set.
    HoeffdingTree: frozenset(
        {"_active_leaf_size_estimate", "_inactive_leaf_size_estimate", "_size_estimate_overhead_fraction"}
    ),
    # Filled when the matrix is read.
    covariance.EmpiricalCovariance: frozenset({"_cached_keys", "_cached_pairs"}),
    covariance.EmpiricalPrecision: frozenset({"_matrix_cache"}),
    linear_model.BayesianLinearRegression: frozenset({"_m_arr", "_m_dirty"}),  # by the next prediction
}
"""Fields that the digest leaves out: River keeps them in an object without their being knowledge."""

NOT_STORED: Final[dict[type, dict[str, Any]]] = {
    compose.Pipeline: {"_plan": None, "_inference_transformers": (), "_last_step_cached": None}
    | {"_last_step_params": NOTHING},
}
"""Fields that are not stored, and what they are after restoring (`NOTHING`: not set). River builds them anew."""

CODE: Final = (
    *(type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, types.ModuleType),
    *(types.WrapperDescriptorType, types.MethodWrapperType, functools.partial, np.ufunc, re.Pattern),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller),
)
"""Types whose values are code: a snapshot names them, and the task file brings them."""

CONTAINERS: Final = (
    *(collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque),
    *(dict, list, set, frozenset, tuple),
)


class Parts:
    """An object taken apart.

    `kind` says how, `cls` is its class where the kind alone does not say it, `plain` are values without parts that
    belong to the kind. Then come its fields by name, its items in order, its entries (pairs of key and value) and
    its members without order. `absent` is what an entry is worth that is not there.
    """

    __slots__ = ("absent", "cls", "entries", "fields", "items", "kind", "members", "plain")

    def __init__(
        self,
        kind: str,
        cls: type | None = None,
        plain: tuple[Any, ...] = (),
        *,
        fields: dict[str, Any] | None = None,
        items: Iterable[Any] = (),
        entries: Iterable[tuple[Any, Any]] = (),
        members: Iterable[Any] = (),
        absent: Any = NOTHING,
    ) -> None:
        self.kind, self.cls, self.plain = kind, cls, plain
        self.fields: dict[str, Any] = {} if fields is None else fields
        self.items, self.entries, self.members, self.absent = items, entries, members, absent


def take_apart(value: Any) -> Parts:
    """Take apart a value that has parts, or a state that only its class can read.

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


_Way = Callable[[Any], Parts]


def _way(kind: type) -> _Way:
    """Choose how objects of a class are taken apart."""
    if issubclass(kind, CODE):
        return _reduced
    if issubclass(kind, np.random.Generator | np.random.RandomState | np.random.BitGenerator):
        return _numpy_generator
    if kind.__module__.startswith("river._river_rust"):
        return _compiled
    if issubclass(kind, enum.Enum):
        return lambda value: Parts("enum", kind, (value.name,))
    if not _is_plain(kind):
        return _reduced
    left_out = {name: fresh for each in kind.__mro__ for name, fresh in NOT_STORED.get(each, {}).items()}
    left_out |= dict.fromkeys(scikit.left_out(kind), NOTHING)
    if issubclass(kind, proba.base.Distribution):
        # Every Gaussian of every leaf carries a generator seeded from the system, which nothing but `sample`
        # uses: no two twins would ever be equal. A model that samples without a seed fails by its scores.
        return lambda value: _object(value, {"_rng": None} if value.seed is None else {})
    base = next((each for each in CONTAINERS if issubclass(kind, each)), None)
    if base is None:
        return lambda value: _object(value, left_out)
    return lambda value: _container(value, base)


def _object(value: Any, left_out: dict[str, Any]) -> Parts:
    fields = fields_of(value)
    if left_out:
        fields = {name: part for name, part in fields.items() if name not in left_out}
    return Parts("object", type(value), fields=fields)


def _container(value: Any, base: type) -> Parts:
    """Take apart an object of a class that is derived from a container."""
    inner = _ways[base](value)
    return Parts(
        f"object {inner.kind}",
        type(value),
        inner.plain,
        fields=fields_of(value),
        items=inner.items,
        entries=inner.entries,
        members=inner.members,
        absent=inner.absent,
    )


def _is_plain(kind: type) -> bool:
    """Whether an instance is its fields, and what a container that it is derived from holds."""
    for each in kind.__mro__:
        if each is object or each in CONTAINERS:
            continue
        if not each.__flags__ & 1 << 9:  # Py_TPFLAGS_HEAPTYPE: not int, Exception, an open file
            return False
        for name in ("__reduce_ex__", "__reduce__"):
            if not isinstance(vars(each).get(name, _is_plain), types.FunctionType):
                return False  # written in C, with a state of its own
    has_fields = kind.__dictoffset__ != 0 or any("__slots__" in vars(each) for each in kind.__mro__)
    return has_fields or issubclass(kind, CONTAINERS) or kind.__basicsize__ == object.__basicsize__


def _reduced(value: Any) -> Parts:
    """Take apart what only has a digest: code, and objects of classes that no snapshot holds."""
    kind = type(value)
    if isinstance(value, types.BuiltinFunctionType):
        return Parts("reduced", kind, (value.__name__,), items=[value.__self__])
    if isinstance(value, functools.partial):
        # Its dict is there as soon as somebody has asked for it: an empty one is none.
        return Parts("reduced", kind, items=[value.func, value.args, value.keywords, vars(value) or None])
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:
        raise NotReproducible(f"a {kind.__module__}.{kind.__qualname__} has no state: {error}") from error
    if isinstance(reduced, str):
        return Parts("reduced", kind, (kind.__module__, reduced))
    function, arguments, state, items, entries = [*reduced, None, None, None][:5]
    return Parts("reduced", kind, items=[function, arguments, state, *(items or ())], entries=entries or ())


def _numpy_generator(value: Any) -> Parts:
    kind = type(value)
    if isinstance(value, np.random.RandomState):
        return Parts("generator", kind, items=[value.get_state(legacy=False)])
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    return Parts("generator", kind, items=[bits.state])


def _compiled(value: Any) -> Parts:
    """Take apart one of River's Rust objects: the arguments of its constructor, and its state in bytes."""
    _, (_, *arguments), state, *_ = value.__reduce_ex__(4)
    return Parts("compiled", type(value), items=[*arguments, state])


def _random(value: random.Random) -> Parts:
    version, words, gauss = value.getstate()
    return Parts("random", None, (version, np.array(words, "<u4").tobytes(), gauss))


def _vector(value: Any) -> Parts:
    _, (data, factory, mask, *_) = value.__reduce__()
    absent = _empty(factory) if data else NOTHING
    return Parts("vector", items=[factory, mask], entries=data.items(), absent=absent)


def _default_dict(value: Any) -> Parts:
    absent = _empty(value.default_factory) if value else NOTHING
    return Parts("defaultdict", items=[value.default_factory], entries=value.items(), absent=absent)


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


def _time(value: Any) -> Parts:
    if isinstance(value, datetime.timedelta):
        return Parts("time", type(value), (value.days, value.seconds, value.microseconds))
    if getattr(value, "tzinfo", None) is not None and not isinstance(value.tzinfo, datetime.timezone):
        raise NotReproducible(
            f"a time zone of {type(value.tzinfo).__qualname__} is not stored; use datetime.UTC"
        )
    return Parts("time", type(value), (value.isoformat(),))


_ways: Final[dict[type, _Way]] = {
    list: lambda value: Parts("list", items=value),
    tuple: lambda value: Parts("tuple", items=value),
    dict: lambda value: Parts("dict", entries=value.items()),
    types.MappingProxyType: lambda value: Parts("proxy", entries=value.items()),
    set: lambda value: Parts("set", members=value),
    frozenset: lambda value: Parts("frozenset", members=value),
    collections.deque: lambda value: Parts("deque", plain=(value.maxlen,), items=value),
    collections.OrderedDict: lambda value: Parts("ordered", entries=value.items()),
    collections.Counter: lambda value: Parts("counter", entries=value.items(), absent=0),
    collections.defaultdict: _default_dict,
    utils.VectorDict: _vector,
    np.ndarray: lambda value: Parts("objects", plain=value.shape, items=value.ravel().tolist()),
    random.Random: _random,
    types.MethodType: lambda value: Parts("method", plain=(value.__func__.__name__,), items=[value.__self__]),
    datetime.timedelta: _time,
    datetime.date: _time,
    datetime.datetime: _time,
    datetime.time: _time,
}
