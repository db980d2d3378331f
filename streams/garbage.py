"""When Python looks for cyclic garbage: seldom in a loop, not at all where everything made is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 50_000
"""New objects between two searches; Python's 700 are there many times over in one batch."""


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the collection of cyclic garbage, process-wide.

    It would search over and over, in vain, what is made and kept until the end: half of the time that a
    forest's digest or restoring takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def collect_seldom() -> None:
    """Search for cyclic garbage seldom, process-wide, and never in what is there now.

    A batch makes many objects that live until its commit, and hardly any cycle: with Python's thresholds the
    searches, all in vain, take a sixth of the loop's time (`python -m tests.benchmarks.compare --stages`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
