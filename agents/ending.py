"""Why a worker ends although nobody asked it to: once, with a sentence, in the order of every end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from schemas.errors import Unreadable

BLOCKED_S: Final = 1.0
"""A batch that failed is held back so long: it would come again at once while the worker stops."""
log = logging.getLogger(__name__)


class Ending:
    """Ends the worker when a record of the loop's own topics cannot be read.

    Faust would start an agent again, and log a traceback, each time the record is read again.

    Attributes
    ----------
    error
        Why; None while the worker may run.
    """

    def __init__(self) -> None:
        self.error: Unreadable | None = None

    async def guard(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step of an agent, as long as the worker may run."""
        if self.error is None:
            try:
                await step()
                return
            except Unreadable as error:
                self._end(error)
        await asyncio.sleep(BLOCKED_S)

    def _end(self, error: Unreadable) -> None:
        if self.error is None:
            self.error = error
            log.critical("%s", error)
            os.kill(os.getpid(), signal.SIGTERM)
