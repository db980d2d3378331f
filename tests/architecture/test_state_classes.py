from __future__ import annotations

import json

from docs.make import state_classes
from streams.snapshot.classes import ANY


def test_the_list_of_classes_is_that_of_the_installed_river() -> None:
    assert state_classes.TARGET.read_text(encoding="utf-8") == state_classes.text(), (
        "run: python -m docs.make.state_classes"
    )


def test_the_list_has_exact_names_and_nothing_that_opens_or_runs() -> None:
    found = json.loads(state_classes.TARGET.read_text(encoding="utf-8"))
    packages = {".".join(name.split(":")[0].split(".")[:2]) for name in found}
    assert not packages & {"river.datasets", "river.stream", "river.evaluate", "river.api", "river.compat"}
    assert all(name.startswith("river.") for name in found)
    assert all(part.isidentifier() for name in found for part in name.replace(":", ".").split("."))
    fields = {part for own in found.values() for field in own for part in field.split("=")}
    assert all(field.isidentifier() or field == ANY for field in fields)
    assert not any(field.startswith("__") and field.endswith("__") for field in fields)
