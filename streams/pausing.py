"""Work that makes many objects and keeps them all."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
