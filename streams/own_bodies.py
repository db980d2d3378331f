"""Functions and classes of a task file that models are made of: what they do is part of a specification.

`infra.taskfile` notes the text of a task file when it loads it. Of that text counts what a model has: its functions
and classes, and the top-level names that these use in turn. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import types
from collections.abc import Iterator
from typing import Any, Final

from streams.snapshot.atoms import IMPORTED
from streams.snapshot.code import Template

Use = tuple[str, str]
"""A module, and a name in it; an empty name is all of it."""
_DEFINES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class ModuleText:
    """The top-level statements of a module, by the names that they bind.

    Parameters
    ----------
    text
        Its source, which Python can read.
    name, package
        The module's name, and that of the package it lies in, for imports relative to it.
    """

    def __init__(self, text: bytes, name: str = "", package: str = "") -> None:
        self.name, self.package, self._text = name, package, text

    @functools.cached_property
    def _tree(self) -> ast.Module:
        tree = ast.parse(self._text)
        for node in ast.walk(tree):
            if isinstance(node, _DEFINES) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return tree

    @functools.cached_property
    def _bound(self) -> dict[str, list[ast.stmt]]:
        found: dict[str, list[ast.stmt]] = {}
        for statement in self._tree.body:
            for bound in sorted(_bound_by(statement)):
                found.setdefault(bound, []).append(statement)
        return found

    @functools.cached_property
    def _imports(self) -> dict[str, list[Use]]:
        found: dict[str, list[Use]] = {}
        for statement in self._tree.body:
            if not isinstance(statement, _DEFINES):
                for bound, use in self._imported_by(statement):
                    found.setdefault(bound, []).append(use)
        return found

    def define(self, name: str) -> str:
        """Give the text of the statements that bind a name; empty when there is none."""
        return "\n".join(map(ast.unparse, self._bound.get(name, ())))

    def uses(self, name: str) -> Iterator[Use]:
        """Give what those statements use besides: other names of the module, and of modules that it imports."""
        for statement in self._bound.get(name, ()):
            yield from (use for _, use in self._imported_by(statement))
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            for each in sorted(names):
                if each in self._bound:
                    yield self.name, each
                yield from self._imports.get(each, ())
        yield from self._imports.get("*", ())

    def names(self) -> list[str]:
        """Give all names that are bound."""
        return list(self._bound)

    def _imported_by(self, statement: ast.stmt) -> Iterator[tuple[str, Use]]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                for each in node.names:
                    yield each.asname or each.name.partition(".")[0], (each.name, "")
            elif isinstance(node, ast.ImportFrom):
                around = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
                module = ".".join([*(around if node.level else ()), *([node.module] if node.module else ())])
                for each in node.names:
                    name = "" if each.name == "*" else each.name
                    yield each.asname or each.name, (module, name)


def _bound_by(statement: ast.stmt) -> set[str]:
    """Give the names that a top-level statement binds, other than by an import."""
    if isinstance(statement, _DEFINES):
        return {statement.name}
    found: set[str] = set()
    ahead: list[ast.AST] = [statement]
    for node in ahead:  # it grows as we go
        if isinstance(node, _DEFINES):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        ahead += ast.iter_child_nodes(node)
    return found


_TEXTS: Final[dict[str, ModuleText]] = {}


def note(module: ModuleText) -> None:
    """Note the text of a module of a task, in the place of an earlier one of its name."""
    _TEXTS[module.name] = module


def own_bodies(model: Any) -> Iterator[tuple[str, str]]:
    """Give the functions, classes and constants of a task file that a model uses, and digests of their texts.

    Parameters
    ----------
    model
        Freshly built, and what else is of it.
    """
    pieces = [each for each in Template(model).pieces() if isinstance(each, type | types.FunctionType)]
    ahead: list[Use] = [
        (each.__module__, each.__qualname__.partition(".")[0])
        for each in pieces
        if each.__module__ in _TEXTS  # not River's
    ]
    seen: set[Use] = set()
    found: set[tuple[str, str]] = set()
    for use in ahead:  # it grows as we go
        if use in seen:
            continue
        seen.add(use)
        module, name = use
        text = _TEXTS.get(module) or _TEXTS.get(f"{module}.{name}")
        if text is None:
            found |= {(each, IMPORTED[each]) for each in _modules_of(use) if each in IMPORTED}
        elif not name or text.name != module:  # all of it
            ahead += [(text.name, each) for each in text.names()]
        else:
            found.add((name, hashlib.sha256(text.define(name).encode()).hexdigest()[:16]))
            ahead += text.uses(name)
    yield from sorted(found)


def _modules_of(use: Use) -> list[str]:
    module, name = use
    return [f"{module}.{name}" if name else module, module, module.partition(".")[0]]
