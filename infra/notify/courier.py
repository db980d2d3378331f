"""Takes the events of a task to one destination, in order, each until it is delivered."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from infra.notify.config import Destination
from infra.notify.progress import Progress
from infra.notify.source import Found, Source
from infra.notify.webhook import Outcome
from schemas.errors import BrokerError
from streams.notify.events import Event
from streams.notify.retries import delay

POLL_S: Final = 2.0
"""Between two looks at the ends of the topics."""
Send = Callable[[Event], Outcome]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What a courier shows; another thread reads it."""

    delivered: int = 0
    failed: int = 0
    """Attempts that failed."""
    failing: bool = False
    """Whether the newest attempt failed."""


class Courier:
    """Delivers to one destination.

    Parameters
    ----------
    sources, progress
        Of this courier alone: sources keep their place.
    send
        Makes one attempt.
    skip
        Ids of events that are passed over.
    wait
        Waits for seconds, and returns whether to end; a test brings its own clock.
    """

    def __init__(
        self,
        destination: Destination,
        sources: Sequence[Source],
        progress: Progress,
        send: Send,
        skip: Collection[str] = (),
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.destination, self.counts = destination, Counts()
        self._sources, self._progress, self._send, self._skip = sources, progress, send, skip
        self._ending = threading.Event()
        self._wait = wait or self._ending.wait
        self._done: dict[str, int] = {}
        """By topic: the offset before which all is delivered, as committed."""
        self._waiting: dict[str, deque[Found]] = {each.topic: deque() for each in sources}
        """By topic: what was read and is not delivered."""

    def stop(self) -> None:
        """End after the attempt under way."""
        self._ending.set()

    def run(self, once: bool = False) -> bool:
        """Deliver until stopped (blocks).

        Parameters
        ----------
        once
            End when all that there is has been delivered, or at the first attempt that fails.

        Returns
        -------
        bool
            Whether all was delivered.
        """
        with closing(self._progress):
            while not self._ending.is_set():
                try:
                    if not self._done:
                        self._begin()
                    moved = False
                    for source in self._sources:
                        piece = self._piece(source, once)
                        if piece is None:
                            return False
                        moved = moved or piece
                except BrokerError as error:
                    if once:
                        raise
                    self.counts.failing, moved = True, False
                    log.error("%s: tried again: %s", self.destination.name, error)
                else:
                    self.counts.failing = False
                    if once and not moved:
                        return True
                if not moved and self._wait(POLL_S):
                    return False
        return False

    def _begin(self) -> None:
        """Find where to go on: a new destination begins with what happens from now on."""
        found = self._progress.read(self._sources)
        begin = {}
        for source in self._sources:
            done = found[source.topic]
            if done is None:
                done = source.end
                self._progress.write(source, done)
            begin[source.topic] = done
        for source in self._sources:
            source.go_to(begin[source.topic])
        self._done = begin

    def _piece(self, source: Source, once: bool) -> bool | None:
        """Deliver the next piece of a topic; returns whether there was one, None where it has to end."""
        waiting = self._waiting[source.topic]
        before, left = source.next_offset, bool(waiting)
        if not waiting:
            waiting.extend(source.piece())
        while waiting:
            offset, event = waiting[0]
            if offset >= self._done[source.topic] and event is not None and self.destination.wants(event):
                if not self._deliver(event, once):
                    return None
                # Only after the delivery: a process that dies before this delivers the event again.
                self._commit(source, offset + 1)
            waiting.popleft()
        self._commit(source, source.next_offset)
        return left or source.next_offset > before

    def _commit(self, source: Source, offset: int) -> None:
        if offset > self._done[source.topic]:
            self._progress.write(source, offset)
            self._done[source.topic] = offset

    def _deliver(self, event: Event, once: bool) -> bool:
        """Try until it is delivered; returns False where it has to end before."""
        name, failures = self.destination.name, 0
        if event.id in self._skip:
            log.warning("%s: %s %s is passed over", name, event.type, event.id)
            return True
        while True:
            outcome = self._send(event)
            self.counts.failing = bool(outcome.failure)
            if not outcome.failure:
                self.counts.delivered += 1
                log.info("%s: %s %s is delivered", name, event.type, event.id)
                return True
            failures += 1
            self.counts.failed += 1
            wait = delay(failures, random.random(), outcome.asked_s)  # noqa: S311  no secret
            log.warning(
                "%s: %s %s is not delivered: %s; attempt %d, the next in %.0f s",
                *(name, event.type, event.id, outcome.failure, failures, wait),
            )
            if once or self._wait(wait):
                return False
