from __future__ import annotations

from infra import allowed
from streams.allowed import CALLED, FUNCTIONS, INSTANTIATED


def test_the_allow_list_is_what_this_river_is_made_of() -> None:
    assert allowed.TARGET.read_text(encoding="utf-8") == allowed.text(), "run: python -m infra.allowed"


def test_the_allow_list_has_exact_names_and_nothing_that_opens_or_runs() -> None:
    pairs = INSTANTIATED | CALLED | FUNCTIONS
    assert all(name.isidentifier() for _, name in pairs)
    packages = {".".join(module.split(".")[:2]) for module, _ in pairs}
    assert not packages & {"river.datasets", "river.stream", "river.evaluate", "river.api", "river.compat"}
    assert not {module for module, _ in pairs} & {
        "os",
        "sys",
        "subprocess",
        "importlib",
        "operator",
        "pickle",
    }
    builtins = {name for module, name in pairs if module == "builtins"}
    assert builtins == {"bool", "float", "int", "list", "dict", "set", "str", "tuple"}
