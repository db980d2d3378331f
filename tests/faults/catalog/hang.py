"""A worker is suspended past its session, or has a twin."""

from __future__ import annotations

import time
from typing import Final

from tests.faults.context import FaultContext
from tests.faults.fault import Fault

HANG_S: Final = 8.0
"""Longer than a consumer's session, 6 s."""


def hang(context: FaultContext) -> None:
    """Suspend a worker for longer than its session, and resume it as a zombie."""
    worker = context.pick()
    context.pause(worker)
    time.sleep(HANG_S)
    context.resume(worker)
    context.wait_ready(worker)


def twin(context: FaultContext) -> None:
    """Run a second process with a worker's slot, and so with its transactional ids, beside it."""
    other = context.make(context.pick().number)
    context.workers.append(other)
    context.restart(other)
    context.wait_for_entries(200)
    context.remove(other)


FAULTS: Final = (
    Fault("hang", "A worker is suspended for 8 s, past its session, then fenced.", hang),
    Fault("twin", "A second process has a worker's transactional ids; they fence each other.", twin),
)
