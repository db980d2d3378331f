"""What a task file imports of its user's: modules beside it and installed packages, found without running them."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Final

from infra.files import digest
from schemas.errors import TaskError
from streams.snapshot.atoms import KNOWN_PACKAGES

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


class _Beside:
    """Finds the modules that lie beside a task file, at any time: a function may import, too."""

    def __init__(self) -> None:
        self.places: dict[str, Path] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self.places.get(name)
        if place is None or path is not None:
            return None
        inside = [str(place.parent)] if place.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, place, submodule_search_locations=inside)


_beside: Final = _Beside()


def imported(file: Path, folder: Path | None) -> dict[str, str]:
    """Give the modules and packages that a task file imports, by name, with a digest of what each consists of.

    Those that lie beside the file can be imported from now on. Of an installed package the digest is its version's,
    of all others that of the sources, and of what they import.

    Parameters
    ----------
    file
        The task file.
    folder
        Where modules may lie beside it; None: all are found as Python finds them.

    Raises
    ------
    TaskError
        When a module beside the file has the name of another that this process has loaded.
    """
    texts: dict[str, str] = {}
    reaches: dict[str, set[str]] = {}
    ahead = sorted(_names(file, ""))
    for name in ahead:  # it grows as we go
        if name in texts or name.partition(".")[0] in KNOWN_PACKAGES:
            continue
        source, texts[name] = _found(name, folder)
        if source is not None:
            package = name if source.name == "__init__.py" else name.rpartition(".")[0]
            reaches[name] = _names(source, package)
            ahead += sorted(reaches[name])
    return {name: _digest(_closure(name, reaches), texts) for name, text in texts.items() if text}


def _found(name: str, folder: Path | None) -> tuple[Path | None, str]:
    """Give the source of a module of the user's, and what stands for it; empty for what is none."""
    top, *rest = name.split(".")
    place = _place_beside(top, folder) if folder is not None else None
    roots = [place.parent / top if place.name != "__init__.py" else place.parent] if place else []
    if place is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return None, ""  # it is not there, which Python says when it comes to it
        if spec.origin is not None and INSTALLED & set(Path(spec.origin).parts):
            names = sorted(_distributions().get(top, ()))
            return None, "" if rest else ", ".join(f"{each} {version(each)}" for each in names)
        roots = [Path(each) for each in spec.submodule_search_locations or ()]
        place = Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None
    for root in roots if rest else ():
        inner = root.joinpath(*rest)
        place = next(
            (each for each in (inner.with_suffix(".py"), inner / "__init__.py") if each.is_file()), None
        )
        if place is not None:
            break
    if place is None or (rest and not roots):
        return None, ""
    return place, digest(place)


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return packages_distributions()


def _place_beside(name: str, folder: Path) -> Path | None:
    place = next(
        (each for each in (folder / f"{name}.py", folder / name / "__init__.py") if each.is_file()), None
    )
    if place is None:
        return None
    there = sys.modules.get(name)
    loaded = getattr(there, "__file__", None)
    if there is not None and (loaded is None or Path(loaded).resolve() != place.resolve()):
        raise TaskError(
            f"{place}: this process has loaded another module {name!r} ({loaded}); give it another name"
        )
    _beside.places[name] = place
    if _beside not in sys.meta_path:
        sys.meta_path.insert(0, _beside)
    return place


def _names(source: Path, package: str) -> set[str]:
    """Give the modules that a source may import, wherever in it, with the packages around them."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):  # Python says so when it loads it
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{each.name}" for each in node.names)}
    parts = [each.split(".") for each in found if each]
    return {".".join(each[: count + 1]) for each in parts for count in range(len(each))}


def _closure(name: str, reaches: dict[str, set[str]]) -> list[str]:
    found = {name}
    ahead = [name]
    for each in ahead:  # it grows as we go
        more = {other for other in reaches.get(each, ()) if other in reaches} - found
        found |= more
        ahead += sorted(more)
    return sorted(found)


def _digest(names: Iterable[str], texts: dict[str, str]) -> str:
    whole = "\n".join(f"{name} {texts[name]}" for name in names)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
