"""Generate `streams/snapshot/river_classes.json` from the installed River: `python -m docs.make.state_classes`."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from streams.snapshot.classes import ANY
from streams.snapshot.fields import slots_of

# What models are made of. Not: datasets, stream, evaluate, api, checks, compat, and of other packages what
# serves evaluation: they open files and connections, or wrap other libraries.
PACKAGES = (
    *("active", "anomaly", "bandit", "base", "cluster", "compose", "conf", "covariance", "drift", "dummy"),
    *("ensemble", "facto", "feature_extraction", "feature_selection", "forest", "imblearn", "linear_model"),
    "metrics",
    *("misc", "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors", "optim"),
    *("preprocessing", "proba", "reco", "rules", "sketch", "stats", "time_series", "tree", "utils"),
)
NOT_MODELS = {"datasets", "envs", "evaluate"}
TARGET = Path(__file__).resolve().parents[2] / "streams" / "snapshot" / "river_classes.json"


def modules() -> list[ModuleType]:
    """Return River's model-side modules."""
    found = [importlib.import_module(f"river.{name}") for name in PACKAGES]
    for package in list(found):
        for path in [getattr(package, "__path__", [])]:
            for info in pkgutil.walk_packages(path, package.__name__ + "."):
                if not NOT_MODELS & set(info.name.split(".")):
                    found.append(importlib.import_module(info.name))
    return found


def classes() -> Iterator[type]:
    """Return the classes that River models are made of, nested ones included."""
    for module in modules():
        ahead = [*vars(module).values()]
        for value in ahead:  # it grows as we go
            if (
                isinstance(value, type)
                and value.__module__ == module.__name__
                and not issubclass(value, type | BaseException)
                and not getattr(value, "_is_protocol", False)
            ):
                yield value
                ahead += [each for each in vars(value).values() if _is_inner(each, value)]


def _is_inner(value: object, outer: type) -> bool:
    return isinstance(value, type) and value.__qualname__.startswith(outer.__qualname__ + ".")


@functools.cache
def _assigned(module: str) -> dict[str, dict[str, set[str]]]:
    """Return the fields that each class of a module assigns, and which of its own attributes it assigns to them."""
    found: dict[str, dict[str, set[str]]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                name = f"{prefix}{child.name}"
                found[name] = _fields_of(child)
                visit(child, name + ".")

    visit(ast.parse(inspect.getsource(importlib.import_module(module))), "")
    return found


def _fields_of(source: ast.ClassDef) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for part in ast.walk(source):
        if _is_own(part) and isinstance(part.ctx, ast.Store):
            found.setdefault(part.attr, set())
        if isinstance(part, ast.Assign) and _is_own(part.value):
            for target in filter(_is_own, part.targets):
                found.setdefault(target.attr, set()).add(part.value.attr)
    for part in source.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):  # of a dataclass
            found.setdefault(part.target.id, set())
        is_init = isinstance(part, ast.FunctionDef) and part.name == "__init__"
        if is_init and "self.__dict__.update(" in ast.unparse(part):
            found[ANY] = set()
    return found


def _is_own(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def fields(kind: type) -> list[str]:
    """Return the fields that a class and its bases assign, and their slots.

    A field to which a class assigns one of its own functions is followed by their names: `calc_tau=_calc_tau_1`.
    """
    found: dict[str, set[str]] = {name: set() for name in slots_of(kind)}
    for each in kind.__mro__:
        if each.__module__.startswith("river.") or each.__module__ == "collections":
            for name, functions in _assigned(each.__module__).get(each.__qualname__, {}).items():
                there = found.setdefault(name, set())
                there |= {own for own in functions if isinstance(_static(kind, own), types.FunctionType)}
    plain = (name for name in found if not (name.startswith("__") and name.endswith("__")))
    return sorted("=".join((name, *sorted(found[name]))) for name in plain)


def _static(kind: type, name: str) -> object:
    there = inspect.getattr_static(kind, name, None)
    return there.__func__ if isinstance(there, staticmethod) else there


def text() -> str:
    """Return the generated file's text: a line per class."""
    found = {f"{kind.__module__}:{kind.__qualname__}": fields(kind) for kind in classes()}
    lines = [f" {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET}: {text().count(':') // 2} classes\n")
