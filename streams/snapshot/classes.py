"""The exact list of the classes that a snapshot may make objects of, and the fields they have."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from schemas.errors import SnapshotError
from streams.snapshot.code import Template, class_name, code_name
from streams.snapshot.fields import may_be_field


@functools.cache
def river_fields() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Give River's listed classes and their fields; `python -m infra.state_classes` generates them.

    With each field come the names of the class's own functions that it may hold.
    """
    text = (resources.files("streams.snapshot") / "river_classes.json").read_text(encoding="utf-8")
    out = {}
    for name, fields in json.loads(text).items():
        parts = [field.split("=") for field in fields]
        out[name] = {field: tuple(functions) for field, *functions in parts}
    return out


class Classes:
    """Finds classes by name: River's listed ones, the task file's own, and those of the template's objects."""

    def __init__(self, own: Iterable[type] = ()) -> None:
        self._found: dict[str, type] = {class_name(each): each for each in own}
        self._fields: Mapping[type, Mapping[str, bool]] = {}

    def add(self, template: Template) -> None:
        """Take over the template's classes, and the fields that its objects have."""
        self._found |= template.classes
        self._fields = template.fields

    def find(self, name: str) -> type:
        """Give a class.

        Raises
        ------
        SnapshotError
            When it is not on the list, or lies in a module that nothing has imported.
        """
        found = self._found.get(name)
        if found is None:
            if name not in river_fields():
                raise SnapshotError(
                    f"the snapshot has an object of {name!r:.120}, a class that is not listed"
                )
            module, _, qualified = name.partition(":")
            value: Any = sys.modules.get(module)  # nothing is imported for a snapshot's sake
            for part in qualified.split("."):
                value = vars(value).get(part) if value is not None else None
            if not isinstance(value, type) or class_name(value) != name:
                raise SnapshotError(f"the snapshot has an object of {name}, which the model has not imported")
            found = self._found[name] = value
        return found

    def check(self, kind: type, fields: Mapping[str, Any]) -> None:
        """Check that objects of a class have these fields, and code in those fields only where the model has it.

        Raises
        ------
        SnapshotError
            Naming the field that they have not.
        """
        declared = river_fields().get(class_name(kind))
        there = self._fields.get(kind, {})
        for name, value in fields.items():
            if name in there:  # as the task's own code made it
                if there[name] and not is_code(value):
                    raise SnapshotError(
                        f"the snapshot sets {name!r:.60} of a {kind.__qualname__}, which is code"
                    )
            elif not _is_declared(declared, name) or not may_be_field(kind, name):
                raise SnapshotError(
                    f"the snapshot sets {name!r:.60}, which is no field of {kind.__qualname__}"
                )
            elif is_code(value) and self.own(kind, name, value.values[0]) is None:
                raise SnapshotError(f"the snapshot puts code into {name!r:.60} of a {kind.__qualname__}")

    def own(self, kind: type, field: str, name: Any) -> Any:
        """Give the function of a name, where an object's class keeps one of its own in this field; else None."""
        for own in river_fields().get(class_name(kind), {}).get(field, ()):
            there = inspect.getattr_static(kind, own)
            function = there.__func__ if isinstance(there, staticmethod) else there
            if code_name(function) == name:
                return function
        return None


def _is_declared(declared: Mapping[str, Any] | None, name: str) -> bool:
    return declared is None or name in declared or "*" in declared


def is_code(value: Any) -> bool:
    """Whether a stored value stands for code."""
    return getattr(value, "kind", "") in {"code", "method", "partial"}
