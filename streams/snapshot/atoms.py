"""The bytes of values without parts: numbers, texts, names, arrays, generators."""

from __future__ import annotations

import functools
import hashlib
import re
import struct
import sys
import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np

_double: Final = struct.Struct("<d").pack


KNOWN_PACKAGES: Final = sys.stdlib_module_names | {
    *("river", "numpy", "scipy", "sklearn", "schemas", "streams", "infra", "agents")
}
"""Neither of them is a user's."""
IMPORTED: Final[dict[str, str]] = {}
"""Modules and packages of users that a task file imports, with a digest of what they consist of."""


def shown_module(module: str) -> str:
    """Give a module's name in a state: the task file's is named after where it lies, which is no part of it."""
    package = module.partition(".")[0]
    return (
        module if package in KNOWN_PACKAGES or not IMPORTED.keys().isdisjoint((module, package)) else "task"
    )


def is_users(module: str) -> bool:
    """Whether a module is the user's: neither the standard library's, nor River's or numpy's, nor ours."""
    return module.partition(".")[0] not in KNOWN_PACKAGES


@functools.lru_cache(maxsize=50_000)  # names of attributes and features come up over and over
def text(value: str) -> bytes:
    """Give the bytes of a text, its length before it."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(raw), raw)


def _raw(value: bytes | bytearray) -> bytes:
    if len(value) > 64:
        return b"h" + hashlib.blake2b(value, digest_size=32).digest()
    return b"b%d:%b" % (len(value), bytes(value))


def _named(value: Any) -> bytes:
    return name_of(value.__module__ or "", value.__qualname__)


@functools.lru_cache(maxsize=10_000)
def name_of(module: str, name: str) -> bytes:
    """Give the bytes of a function's or class's name."""
    return b"q" + text(f"{shown_module(module)}:{name}")


def _array(value: np.ndarray[Any, Any]) -> bytes:
    layout = f"{value.dtype.descr if value.dtype.names else value.dtype.str} {value.shape}"
    return b"a" + text(layout) + hashlib.blake2b(value.tobytes(), digest_size=32).digest()


ATOMS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: b"i%d;" % value,
    float: lambda value: b"f" + _double(value),
    complex: lambda value: b"c" + struct.pack("<dd", value.real, value.imag),
    str: text,
    bytes: _raw,
    bytearray: lambda value: b"y" + _raw(value),
    type(Ellipsis): lambda _: b"E",
    types.FunctionType: _named,
    re.Pattern: lambda value: b"P" + text(f"{value.flags} {value.pattern!r}"),
    np.ufunc: lambda value: b"u" + text(value.__name__),
}


def atom(value: Any) -> bytes | None:
    """Give the self-delimiting bytes of a value without parts; None when it has parts."""
    made = ATOMS.get(type(value))
    if made is not None:
        return made(value)
    if isinstance(value, type):
        return _named(value)
    if isinstance(value, np.generic):
        return b"g" + text(value.dtype.str) + _raw(value.tobytes())
    if isinstance(value, np.dtype):
        return b"D" + text(str(value.descr))
    if isinstance(value, types.BuiltinFunctionType) and isinstance(
        value.__self__, types.ModuleType | types.NoneType
    ):
        return _named(value)
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return _array(value)
    return None
