"""The command `riverloop` with injected faults: `python -m tests.faults.child worker TASK …`.

The faults come from the environment, see `tests.faults.injection`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from agents.cli.main import main
from tests.faults.injection import inject

PRODUCT: Final = "agents.cli.main"


def through_child(command: Sequence[str]) -> list[str]:
    """Return the same command with injected faults; it must run `python -m agents.cli.main`."""
    assert PRODUCT in command
    return ["tests.faults.child" if word == PRODUCT else word for word in command]


def run() -> None:
    """Install the faults, then run the command line."""
    inject(os.environ)
    main()


if __name__ == "__main__":
    run()
