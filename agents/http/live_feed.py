"""What feeds the live page of a task: its topics, read on their own, and what this worker knows itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from confluent_kafka import Message

from agents.http.listeners import Listener
from agents.http.live_topics import LiveTopics, newest_of
from agents.http.live_view import LiveView
from agents.http.task import LocalStatus
from agents.settings import Settings
from infra.clock import now_ms
from infra.kafka.connection import Connection
from infra.kafka.tail import Tail
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.web.redact import finite
from schemas.errors import BadRecord, RiverloopError
from streams.serve import Server

EVERY_S: Final = 0.5
"""Interval of changes sent to listeners (s)."""
BEAT_S: Final = 2.0
"""Interval of heartbeats without changes (s)."""
BEHIND_S: Final = 3.0
WANTED_S: Final = 30.0
"""The lag of the workers is fetched for this long after the last request for it (s)."""
AGAIN_S: Final = 2.0
PIECE: Final = 100
"""Records that are taken without a pause: what is served meanwhile waits for them."""
CAUGHT_UP_S: Final = 8.0
"""The first listener waits at most so long for what lies on the topics already."""
log = logging.getLogger(__name__)


class LiveFeed:
    """Folds a task's topics for those who look on, from the first one on.

    Nothing runs before somebody looks; from then on the board is kept up to date until the worker stops, so that
    the next one finds its history. It reads with a consumer outside any group, and changes nothing.

    Parameters
    ----------
    local
        Knows the end of the log.
    lag
        Returns the lag of all workers by stage (blocks).
    tail
        Reads topics from near their ends on.
    live
        Returns the slots of the live workers (blocks); None: they stay unknown.
    """

    def __init__(
        self,
        context: TaskContext,
        settings: Settings,
        readiness: Readiness,
        server: Server,
        statistics: Statistics,
        local: LocalStatus,
        lag: Callable[[], dict[str, int]],
        tail: Callable[[Connection, Mapping[tuple[str, int], int]], Tail] = Tail,
        live: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self.context, self.readiness = context, readiness
        self.view = LiveView(context, settings, readiness, server, statistics, local)
        """What is shown."""
        self._tail, self._fetch_lag, self._fetch_live = tail, lag, live
        self.listeners: set[Listener] = set()
        self.caught_up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted = 0.0
        self._sent: dict[str, str] = {}
        self._spoken = 0.0

    # ------------------------------------------------------------------ listeners

    def listener(self) -> Listener:
        """Make a listener, which hears nothing yet."""
        return Listener(self._whole)

    async def listen(self, listener: Listener) -> None:
        """Begin to listen; starts the feed if nobody did before, and waits until it has caught up."""
        await self.wake()
        self.listeners.add(listener)

    async def wake(self) -> None:
        """Start the feed, and wait until it has caught up, or for 8 s."""
        self._wanted = asyncio.get_running_loop().time()
        if not self._tasks and not self.readiness.stopping:
            self._tasks = [asyncio.create_task(each) for each in (self._read(), self._ask(), self._speak())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CAUGHT_UP_S):
                await self.caught_up.wait()

    def close(self) -> None:
        """End all streams: the worker stops."""
        for task in self._tasks:
            task.cancel()
        for listener in self.listeners:
            listener.close()
        self.caught_up.set()

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        """Follow the topics for ever. After an error the old board stands until a new one has caught up."""
        newest = newest_of(self.context)
        while True:
            made = self.view.empty()
            try:
                async with self._tail(self.context.connection, newest) as tail:
                    async for batch in tail:
                        await self._take(batch.messages, made)
                        if batch.caught_up and self.view.topics is not made:
                            self.view.topics = made
                            self.view.problem = ""
                            self._sent.clear()
                            self.caught_up.set()
                            for listener in self.listeners:
                                listener.start_over()
            except Exception as error:
                # A page that stands still must say so, and costs the worker nothing else.
                log.warning("%s: the live page is not updated, retrying: %s", self.context.task.name, error)
                self.view.problem = f"the topics cannot be read: {self.context.connection.hide(str(error))}"
            await asyncio.sleep(AGAIN_S)

    async def _take(self, messages: list[Message], topics: LiveTopics) -> None:
        for number, message in enumerate(messages):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            at = message.timestamp()[1]
            with contextlib.suppress(BadRecord):  # others may write there, too; it is not for a page to judge
                topics.take(message, at)
            if topics is self.view.topics:  # else it is history
                age = now_ms() - at
                self.view.skew_ms = age if self.view.skew_ms is None else min(self.view.skew_ms, age)

    async def _ask(self) -> None:
        """Fetch the lag of all workers, and which are alive, while a page is open."""
        clock = asyncio.get_running_loop().time
        while True:
            if self.listeners or clock() - self._wanted < WANTED_S:
                try:
                    self.view.lag, self.view.live = await asyncio.get_running_loop().run_in_executor(
                        None, self._group
                    )
                except RiverloopError as error:
                    self.view.lag, self.view.live = {}, None  # an old number would look like a good one
                    log.info("%s: the lag of the workers is unknown: %s", self.context.task.name, error)
            await asyncio.sleep(BEHIND_S)

    def _group(self) -> tuple[dict[str, int], Collection[str] | None]:
        return self._fetch_lag(), self._fetch_live() if self._fetch_live else None

    # ------------------------------------------------------------------ telling

    async def _speak(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(EVERY_S)
            now = self.view.now()
            self.view.topics.board.settle(now)
            self.view.observe()
            rows = [(number, name, *row) for number, name, row in self.view.topics.board.fresh]
            self.view.topics.board.fresh.clear()
            if not self.listeners:
                self._sent.clear()
                continue
            sections = _dumped(self.view.sections())
            changed = {name: text for name, text in sections.items() if text != self._sent.get(name)}
            self._sent |= changed
            if changed or rows:
                parts = [f'"{name}":{text}' for name, text in changed.items()]
                data = f'{{"now":{now},"rows":{_json(rows)},"sections":{{{",".join(parts)}}}}}'
                self._say(event("change", data))
                self._spoken = clock()
            elif clock() - self._spoken >= BEAT_S:
                self._say(event("beat", f'{{"now":{now}}}'))
                self._spoken = clock()

    def _say(self, message: bytes) -> None:
        for listener in self.listeners:
            listener.put(message)

    def _whole(self) -> bytes:
        """Return the whole state: the sections as all listeners have them, so that changes fit to it.

        Its histories may be newer than the rows that come next, which is why rows are numbered.
        """
        if not self._sent:
            self._sent = _dumped(self.view.sections())
        view, board = self.view, self.view.topics.board
        whole = {"now": view.now(), "facts": view.facts(), "histories": board.histories()}
        parts = ",".join(f'"{name}":{text}' for name, text in self._sent.items())
        return event("whole", f'{_json(whole | {"row": board.closed})[:-1]},"sections":{{{parts}}}}}')


def event(name: str, data: str) -> bytes:
    r"""Write a server-sent event; JSON has no line breaks of its own.

    Examples
    --------
    >>> event("beat", "{}")
    b'event: beat\ndata: {}\n\n'
    """
    return f"event: {name}\ndata: {data}\n\n".encode()


def _dumped(sections: dict[str, Any]) -> dict[str, str]:
    return {name: _json(section) for name, section in sections.items()}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:  # somewhere in it is a NaN, for which JSON has no word
        return json.dumps(finite(value), separators=(",", ":"), allow_nan=False)
