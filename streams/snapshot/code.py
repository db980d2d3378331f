"""Code in a state: a snapshot names it, and it is looked up in a freshly built model."""

from __future__ import annotations

import collections
import functools
import types
from typing import Any, Final

from schemas.errors import SnapshotError
from streams.snapshot.atoms import shown_module
from streams.snapshot.digest import state_digest
from streams.snapshot.parts import CODE, Parts, take_apart


def class_name(kind: type) -> str:
    """Name a class in a snapshot. A task file's module is named after its place, which is no part of a state."""
    return f"{shown_module(kind.__module__)}:{kind.__qualname__}"


def code_name(code: Any) -> str:
    """Name a piece of code: two have one name when they do the same to the same arguments.

    Raises
    ------
    NotReproducible
        When it holds something that has no state.
    """
    if isinstance(code, type | types.FunctionType):
        return f"{shown_module(code.__module__ or '')}.{code.__qualname__}"
    if isinstance(code, types.ModuleType):
        return f"module {code.__name__}"
    if isinstance(code, types.BuiltinFunctionType) and isinstance(
        code.__self__, types.ModuleType | types.NoneType
    ):
        return f"{code.__module__}.{code.__qualname__}"
    # A partial is its function and its arguments, a pattern its text: the digest holds all of it.
    return f"{type(code).__qualname__} {state_digest(code)[:32]}"


_PLAIN: Final[list[Any]] = [bool, int, float, str, list, tuple, dict, set]
_NESTED: Final[list[Any]] = [functools.partial(collections.defaultdict, kind) for kind in _PLAIN]
FACTORIES: Final[dict[str, Any]] = {code_name(each): each for each in [*_PLAIN, *_NESTED]}
"""Makers of plain data, which a new `defaultdict` may have as its factory wherever it stands."""


class Template:
    """What a freshly built model brings: its code, its classes, and its objects to be filled in."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.classes: dict[str, type] = {}
        self.fields: dict[type, dict[str, set[bool]]] = {}
        """By class: the fields that its objects in the template have, and whether these hold code."""
        self._code: dict[str, list[Any]] = {}
        self._functions: dict[str, Any] = {}
        self._walk(root)

    def code(self, name: str) -> Any:
        """Give the template's code of a name.

        Raises
        ------
        SnapshotError
            When the template has no such code, or several pieces of that name.
        """
        found = self._code.get(name, [])
        if len(found) == 1:
            return found[0]
        if not found and name in FACTORIES:
            return FACTORIES[name]
        there = "several pieces of code" if found else "no code"
        raise SnapshotError(f"the snapshot expects {name:.80}, and the model has {there} of this name")

    def pieces(self) -> list[Any]:
        """Give the template's code, its objects' classes, and the functions of its methods."""
        code = [each for there in self._code.values() for each in there]
        found = [*code, *self._functions.values(), *self.classes.values()]
        found += [each.func for each in code if isinstance(each, functools.partial)]
        return found

    def modules(self) -> set[str]:
        """Give the modules of these."""
        return {str(getattr(each, "__module__", None) or "") for each in self.pieces()}

    def function(self, name: str) -> Any:
        """Give the function of a name that the template has as a method of some object; None when it has none."""
        return self._functions.get(name)

    def _walk(self, root: Any) -> None:
        seen: set[int] = set()
        kept: list[Any] = []  # an id is only good while its object lives
        ahead = [root]
        while ahead:
            value = ahead.pop()
            if type(value) in _LEAVES or id(value) in seen:
                continue
            seen.add(id(value))
            kept.append(value)
            if isinstance(value, CODE):
                self._add(value)
            if isinstance(value, types.MethodType):
                self._functions[code_name(value.__func__)] = value.__func__
            if isinstance(value, type | types.FunctionType | types.ModuleType):
                continue
            parts = _parts(value)
            if parts is None:
                continue
            if parts.cls is not None:
                self.classes[class_name(parts.cls)] = parts.cls
                fields = self.fields.setdefault(parts.cls, {})
                for name, part in parts.fields.items():
                    fields.setdefault(name, set()).add(isinstance(part, (*CODE, types.MethodType)))
            ahead.extend(parts.fields.values())
            ahead.extend(parts.items)
            ahead.extend(parts.members)
            for key, part in parts.entries:
                ahead += (key, part)

    def _add(self, code: Any) -> None:
        there = self._code.setdefault(code_name(code), [])
        # Equal partials and patterns are as good as one; two functions of one name may be two lambdas.
        if not any(each is code for each in there) and not (there and type(code) is not types.FunctionType):
            there.append(code)


_LEAVES = {type(None), bool, int, float, complex, str, bytes, bytearray}


def _parts(value: Any) -> Parts | None:
    """Take apart an object of the template; None for what has no parts."""
    try:
        return take_apart(value)
    except Exception:  # no state: it cannot be stored, and the load check says so
        return None
