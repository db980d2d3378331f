"""Modules of the user's besides the task file, whose code models are made of: named, and part of a specification.

`infra.imports` finds them when a task file is loaded and gives the digest of what each consists of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from streams.snapshot.atoms import IMPORTED, name_of
from streams.snapshot.code import Template
from streams.snapshot.scikit import PACKAGE, is_scikit


def register(digests: Mapping[str, str]) -> None:
    """Note modules, by name, with the digest of their sources and of those that they import."""
    if not digests.keys() <= IMPORTED.keys():
        name_of.cache_clear()
    IMPORTED.update(digests)


def own_modules(model: Any) -> Iterator[tuple[str, str]]:
    """Give the registered modules that a model has code of, and their digests, in the order of their names.

    scikit-learn comes first, with its version, where a model has an estimator of it.

    Parameters
    ----------
    model
        Freshly built.
    """
    modules = Template(model).modules()
    if any(map(is_scikit, modules)):
        yield PACKAGE, sys.modules[PACKAGE].__version__
    found = {each if each in IMPORTED else each.partition(".")[0] for each in modules}
    for name in sorted(found & IMPORTED.keys()):
        yield name, IMPORTED[name]
