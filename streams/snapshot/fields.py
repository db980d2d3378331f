"""An object's fields: where they are kept, and which a snapshot may set."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

from schemas.errors import SnapshotError


@functools.cache
def _slots(kind: Any) -> dict[str, Any]:
    assert isinstance(kind, type)
    found: dict[str, Any] = {}
    for each in kind.__mro__:
        for name, value in vars(each).items():
            if isinstance(value, types.MemberDescriptorType) and value.__objclass__ is each:
                found.setdefault(name, value)
    return found


def slots_of(kind: type) -> dict[str, Any]:
    """Give the slots of a class and its bases, by name: the descriptors that read and set them."""
    found: dict[str, Any] = _slots(kind)
    return found


def fields_of(value: Any) -> dict[str, Any]:
    """Give an object's fields: those of its `__dict__`, then its slots that are set."""
    slots = slots_of(type(value))
    own: dict[str, Any] = getattr(value, "__dict__", {})
    if not slots:
        return own
    found = dict(own)
    for name, slot in slots.items():
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue
    return found


@functools.cache
def may_be_field(kind: type, name: str) -> bool:
    """Whether setting a name on an instance sets data and nothing else.

    A dunder name would be looked up by Python itself, and a name that the class gives to a function, a property or
    another descriptor would put a value where its methods are expected.
    """
    if not name.isidentifier() or (name.startswith("__") and name.endswith("__")):
        return False
    there = inspect.getattr_static(kind, name, None)
    if isinstance(there, types.MemberDescriptorType | functools.cached_property):
        return True
    return not callable(there) and not hasattr(type(there), "__get__")


def set_fields(value: Any, fields: dict[str, Any], keeps: dict[str, Any]) -> None:
    """Give an object these fields and no others, without calling any of its code.

    Parameters
    ----------
    keeps
        Fields that it has already and that are not stored: they are set, too.

    Raises
    ------
    SnapshotError
        When its class has no place for a field.
    """
    kind = type(value)
    slots = slots_of(kind)
    own = vars(value) if kind.__dictoffset__ != 0 else None
    for name, slot in slots.items():
        if name not in fields and name not in keeps:
            try:
                slot.__delete__(value)
            except AttributeError:
                continue
    if own is not None:
        own.clear()
    for name, part in (*fields.items(), *keeps.items()):
        if name in slots:
            slots[name].__set__(value, part)
        elif own is not None:
            own[name] = part
        else:
            raise SnapshotError(
                f"the snapshot sets {name!r:.60}, which is not a field of {kind.__qualname__}"
            )
