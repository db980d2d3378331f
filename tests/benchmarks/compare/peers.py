"""Which interpreter runs a contender: this one, or that of an environment with the peers.

Quix Streams wants an older confluent-kafka than riverloop, so that both cannot live in one environment:
docs/contributing/speed.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from schemas.errors import UsageError
from tests.benchmarks.compare.run_config import Contender

ASK: Final = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
missing = []
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        missing.append(name)
print(json.dumps(missing))
"""


@dataclass(frozen=True, slots=True)
class Field:
    """Who can run, and who cannot."""

    pythons: dict[str, str]
    """By contender: its interpreter."""
    left_out: dict[str, str]
    """By contender: why it cannot run here."""


def find(contenders: Iterable[Contender], peers_python: str | None = None) -> Field:
    """Find an interpreter for each contender.

    Parameters
    ----------
    contenders
        Whom to run.
    peers_python
        The interpreter of an environment with `infra/peers.txt`; None when there is none.

    Raises
    ------
    UsageError
        When `peers_python` does not run.
    """
    chosen = tuple(contenders)
    names = sorted({name for each in chosen for name in each.packages})
    here = {name for name in names if not _is_installed(name)}
    there = set(_missing(peers_python, names)) if peers_python else set(names)
    pythons, left_out = {}, {}
    for each in chosen:
        wanted = set(each.packages)
        if not wanted & here:
            pythons[each.name] = sys.executable
        elif peers_python and not wanted & there:
            pythons[each.name] = str(Path(peers_python).absolute())
        else:
            missing = ", ".join(sorted(wanted & (there if peers_python else here)))
            left_out[each.name] = f"{missing} is not installed; see docs/contributing/speed.md"
    return Field(pythons, left_out)


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _missing(python: str, names: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            [python, "-c", ASK, *names], capture_output=True, text=True, check=True, timeout=60
        )
        found: list[str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError(f"--peers-python {python} does not run: {error}") from None
    return found
