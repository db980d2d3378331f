"""The exact list of the classes that a snapshot may make objects of, and the fields they have."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

from schemas.errors import SnapshotError
from streams.snapshot import scikit
from streams.snapshot.code import Template, class_name, code_name
from streams.snapshot.fields import may_be_field
from streams.snapshot.nodes import Node

ANY: Final = "*"
"""Stands for the fields of a class that takes them as they come."""
CODE_KINDS: Final = frozenset({"code", "method", "partial"})


@functools.cache
def river_fields() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Give River's listed classes and their fields; `python -m docs.make.state_classes` generates them.

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
        self._fields: Mapping[type, Mapping[str, set[bool]]] = {}
        self._declared: dict[tuple[type, str], bool] = {}

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
                    f"the snapshot has an object of {name!r:.120}, a class that is not allowed"
                )
            module, _, qualified = name.partition(":")
            value: Any = sys.modules.get(module)  # nothing is imported for a snapshot's sake
            for part in qualified.split("."):
                value = vars(value).get(part) if value is not None else None
            if not isinstance(value, type) or class_name(value) != name:
                raise SnapshotError(
                    f"the snapshot has an object of {name}, whose module the model does not import"
                )
            found = self._found[name] = value
        return found

    def check(self, kind: type, fields: Mapping[str, Any]) -> None:
        """Check that objects of a class have these fields, and code in those fields only where the model has it.

        Raises
        ------
        SnapshotError
            Naming the field that they have not.
        """
        there = self._fields.get(kind, {})
        for name, value in fields.items():
            code = type(value) is Node and value.kind in CODE_KINDS
            if name in there:  # as the task's own code made it
                if code not in there[name] and not (code and self._is_own(kind, name, value)):
                    raise SnapshotError(
                        f"the snapshot has code or has none in {name!r:.60} of a {kind.__qualname__}, "
                        "unlike the model"
                    )
                continue
            if not self._may_have(kind, name):
                raise SnapshotError(
                    f"the snapshot sets {name!r:.60}, which is not a field of {kind.__qualname__}"
                )
            if code and not self._is_own(kind, name, value):
                raise SnapshotError(f"the snapshot puts code into {name!r:.60} of a {kind.__qualname__}")

    def _may_have(self, kind: type, name: str) -> bool:
        found = self._declared.get((kind, name))
        if found is None:
            declared: Iterable[str] | None = river_fields().get(class_name(kind))
            if scikit.is_scikit(kind.__module__):
                declared = scikit.LEARNED.get(class_name(kind), ())
            listed = declared is None or name in declared or ANY in declared
            found = self._declared[kind, name] = listed and may_be_field(kind, name)
        return found

    def _is_own(self, kind: type, name: str, value: Node) -> bool:
        return self.own(kind, name, value.values[0]) is not None

    def own(self, kind: type, field: str, name: Any) -> Any:
        """Give the function of a name, where an object's class keeps one of its own in this field; else None."""
        for own in river_fields().get(class_name(kind), {}).get(field, ()):
            there = inspect.getattr_static(kind, own)
            function = there.__func__ if isinstance(there, staticmethod) else there
            if code_name(function) == name:
                return function
        return None
