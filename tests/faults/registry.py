"""All faults, collected from the files of `tests/faults/catalog/`.

Retention that has deleted records still needed is not among them: the task then stops
(`schemas.errors.RecordsGone`), and a run could not continue.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.faults.fault import Fault

CATALOG: Final = Path(__file__).with_name("catalog")


def _collect() -> Iterator[Fault]:
    for file in sorted(CATALOG.glob("*.py")):
        module = importlib.import_module(f"tests.faults.catalog.{file.stem}")
        yield from module.FAULTS


FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in _collect()}
"""By name, in the order in which the page lists them: by file, and within a file as it lists them."""
