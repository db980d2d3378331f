"""Reading state while the cluster does not answer: tried again until it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from agents.loop import TaskLoop
from schemas.errors import BrokerError, RecordsGone

AGAIN_S: Final = 1.0
T = TypeVar("T")
log = logging.getLogger(__name__)


class TaskStopped(Exception):
    """A topic of the task is refused: its state is read when that is over."""


async def retry_until_available(loop: TaskLoop, read: Callable[..., T], *arguments: int) -> T:
    """Read state in a thread, again and again while the cluster does not answer.

    There is nothing better to do without a cluster, and a worker that gave up would be missing when it is
    back. What no waiting brings back is an error at once, and so is everything while the worker stops.
    """
    while True:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, read, *arguments)
        except RecordsGone:
            raise
        except BrokerError as error:
            if loop.stopping:
                raise
            if loop.refused:
                raise TaskStopped from error
            log.warning("%s: retrying in %g s: %s", loop.task.name, AGAIN_S, error)
            await asyncio.sleep(AGAIN_S)
