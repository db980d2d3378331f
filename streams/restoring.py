"""What a snapshot may call while it is read: these few functions, in place of numpy's and pickle's own.

Each takes plain values, checks them and makes one object. None looks up a name that it is given anywhere but
on a class that the allow-list let through, and none allocates more than the bytes it is given.
"""

from __future__ import annotations

import inspect
import math
import random
import re
import struct
import types
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from schemas.errors import SnapshotError

_DTYPE: Final = re.compile(r"[<>|=]?([biufc][0-9]{1,2}|[SU][0-9]{1,6}|[mM]8(\[[0-9a-zA-Z/]{1,12}\])?)\Z")
_BIT_GENERATORS: Final = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_MAX_WINDOW: Final = 1 << 24


def dtype(code: Any) -> np.dtype[Any]:
    """Make a plain dtype from its code; `O` and structured ones never come this way."""
    if not isinstance(code, str) or not _DTYPE.match(code):
        raise SnapshotError(f"the snapshot has an array of an unusual type: {code!r:.60}")
    return np.dtype(code)


def array(code: str, shape: tuple[int, ...], fortran: bool, data: bytes) -> np.ndarray[Any, Any]:
    """Make an array from its bytes, in the memory order it had: sums depend on it in the last bits."""
    kind = dtype(code)
    if math.prod(shape) * kind.itemsize != len(data) or any(side < 0 for side in shape):
        raise SnapshotError(f"the snapshot has an array of shape {shape!r:.60} in {len(data)} bytes")
    flat = np.frombuffer(data, kind) if data else np.empty(0, kind)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")


def object_array(shape: tuple[int, ...], items: list[Any]) -> np.ndarray[Any, Any]:
    """Make an array of objects."""
    if math.prod(shape) != len(items):
        raise SnapshotError(f"the snapshot has an array of shape {shape!r:.60} with {len(items)} items")
    flat = np.empty(len(items), object)
    for index, item in enumerate(items):
        flat[index] = item
    return flat.reshape(shape)


def scalar(code: str, data: bytes) -> Any:
    """Make a numpy scalar."""
    return array(code, (1,), False, data)[0]


def generator(words: bytes, gauss: float | None) -> random.Random:
    """Make a `random.Random` in a state."""
    made = random.Random(0)  # noqa: S311  its state comes next
    made.setstate((3, struct.unpack(f"<{len(words) // 4}I", words), gauss))
    return made


def numpy_generator(legacy: bool, name: str, state: dict[str, Any]) -> Any:
    """Make a numpy generator in a state; the legacy one (`RandomState`) or the newer."""
    if name not in _BIT_GENERATORS:
        raise SnapshotError(f"the snapshot has an unknown bit generator {name!r:.60}")
    bits = getattr(np.random, name)(0)
    if not legacy:
        bits.state = state
        return np.random.Generator(bits)
    made = np.random.RandomState(bits)
    made.set_state(state)
    return made


def method(owner: Any, name: str) -> Any:
    """Bind a method that the owner's class defines in Python."""
    found = inspect.getattr_static(owner if isinstance(owner, type) else type(owner), name, None)
    if isinstance(found, classmethod):
        return found.__get__(None, owner if isinstance(owner, type) else type(owner))
    if not isinstance(found, types.FunctionType) or isinstance(owner, type):
        raise SnapshotError(f"the snapshot names {type(owner).__qualname__}.{name!r:.60}, which is no method")
    return types.MethodType(found, owner)


def function(owner: Any, name: str) -> Any:
    """Give a plain function that a class defines: a static method, or a method without its object."""
    found = inspect.getattr_static(owner, name, None) if isinstance(owner, type) else None
    if isinstance(found, staticmethod):
        found = found.__func__
    if not isinstance(found, types.FunctionType):
        raise SnapshotError(f"the snapshot names {owner!r:.60}.{name!r:.60}, which is no function")
    return found


def compiled(kind: type, arguments: tuple[Any, ...], state: Any) -> Any:
    """Make one of River's Rust objects.

    Their constructors allocate what they are told: a window of 10^18 ends the process without an exception.
    """
    if not kind.__module__.startswith("river._river_rust"):
        raise SnapshotError(f"{kind.__module__}.{kind.__qualname__} is not one of River's compiled types")
    if any(isinstance(each, int) and not 0 <= each <= _MAX_WINDOW for each in arguments):
        raise SnapshotError(f"the snapshot has a {kind.__qualname__} of impossible size: {arguments!r:.60}")
    made = kind(*arguments)
    if state is not None:
        made.__setstate__(state)
    return made


def unseeded(kind: Any) -> Any:
    """Make a probability distribution without a seed, which River gives a generator that nothing uses.

    Writing those generators would make up nine tenths of a tree's snapshot.
    """
    made = kind.__new__(kind)
    made._rng = random.Random(0)  # noqa: S311  nothing uses it
    return made


def chain(kind: Any, rows: Sequence[tuple[int, int, dict[str, Any]]]) -> Any:
    """Make a binary search tree of a split finder from its nodes, children by number, the root first.

    Values that come sorted make it as deep as there are values, too deep for pickle's recursion.
    """
    nodes = [kind.__new__(kind) for _ in rows]
    for node, (left, right, fields) in zip(nodes, rows, strict=True):
        for name, value in fields.items():
            setattr(node, name, value)
        node._left = nodes[left] if left else None
        node._right = nodes[right] if right else None
    return nodes[0]


CALLABLE: Final[dict[str, Callable[..., Any]]] = {
    made.__name__: made
    for made in (
        *(dtype, array, object_array, scalar, generator, numpy_generator, method, function),
        *(compiled, unseeded, chain),
    )
}
"""By the name under which a snapshot calls them."""
