"""What feeds the live page of a task: its topics, read on their own, and what this worker knows itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from confluent_kafka import Message

from agents.http import status
from agents.http.access import is_loopback
from agents.http.commands import model_sections
from agents.http.listeners import Listener
from agents.http.live_topics import LiveTopics, newest_of
from agents.http.task import LocalStatus
from agents.settings import Settings
from infra.clock import now_ms
from infra.kafka.connection import Connection
from infra.kafka.tail import Tail
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.web.rates import Rate
from infra.web.redact import finite
from infra.web.verdict import (
    Reason,
    Verdict,
    episode_reasons,
    lag_reasons,
    model_reasons,
    readiness_reasons,
    rejection_reasons,
    stale_reasons,
)
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
RUNBOOKS: Final = "docs/operations/runbooks/"
"""Where the runbooks lie, unless the setting `runbook_base` says it; from an address the page makes links."""
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
        self.context, self.readiness, self.server = context, readiness, server
        self.settings, self.statistics, self._local = settings, statistics, local
        self._tail, self._fetch_lag, self._fetch_live = tail, lag, live
        self.listeners: set[Listener] = set()
        self.caught_up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.topics = self._empty()
        self._texts = {fold.spec: fold.model.describe() for fold in server.models}
        self._learned = Rate()
        self._failing = {fold.model.name: Rate() for fold in server.models}
        self._verdict = Verdict()
        self._skew_ms: int | None = None
        self._problem = "the topics are still being read"
        self._lag: dict[str, int] = {}
        self._live: Collection[str] | None = None
        self._wanted = 0.0
        self._sent: dict[str, str] = {}
        self._spoken = 0.0

    def _empty(self) -> LiveTopics:
        # What requests say is for those who may ask for predictions, and this page asks for no token.
        settings = self.settings
        open_ = not settings.serve_token and is_loopback(settings.http_host)
        return LiveTopics(self.context, self.server, open_=open_)

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

    def now(self) -> int:
        """Return the brokers' clock as far as it is known, ms: metrics have their times from it."""
        return now_ms() - (self._skew_ms or 0)

    def state(self) -> dict[str, Any]:
        """Return all that is shown now, but for the history."""
        state: dict[str, Any] = finite({"now": self.now(), "facts": self._facts(), **self._sections()})
        return state

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        """Follow the topics for ever. After an error the old board stands until a new one has caught up."""
        newest = newest_of(self.context)
        while True:
            made = self._empty()
            try:
                async with self._tail(self.context.connection, newest) as tail:
                    async for batch in tail:
                        await self._take(batch.messages, made)
                        if batch.caught_up and self.topics is not made:
                            self.topics = made
                            self._problem = ""
                            self._sent.clear()
                            self.caught_up.set()
                            for listener in self.listeners:
                                listener.start_over()
            except Exception as error:
                # A page that stands still must say so, and costs the worker nothing else.
                log.warning("%s: the live page is not updated, retrying: %s", self.context.task.name, error)
                self._problem = f"the topics cannot be read: {self.context.connection.hide(str(error))}"
            await asyncio.sleep(AGAIN_S)

    async def _take(self, messages: list[Message], topics: LiveTopics) -> None:
        for number, message in enumerate(messages):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            at = message.timestamp()[1]
            with contextlib.suppress(BadRecord):  # others may write there, too; it is not for a page to judge
                topics.take(message, at)
            if topics is self.topics:  # else it is history
                age = now_ms() - at
                self._skew_ms = age if self._skew_ms is None else min(self._skew_ms, age)

    async def _ask(self) -> None:
        """Fetch the lag of all workers, and which are alive, while a page is open."""
        clock = asyncio.get_running_loop().time
        while True:
            if self.listeners or clock() - self._wanted < WANTED_S:
                try:
                    self._lag, self._live = await asyncio.get_running_loop().run_in_executor(
                        None, self._group
                    )
                except RiverloopError as error:
                    self._lag, self._live = {}, None  # an old number would look like a good one
                    log.info("%s: the lag of the workers is unknown: %s", self.context.task.name, error)
            await asyncio.sleep(BEHIND_S)

    def _group(self) -> tuple[dict[str, int], Collection[str] | None]:
        return self._fetch_lag(), self._fetch_live() if self._fetch_live else None

    # ------------------------------------------------------------------ telling

    async def _speak(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(EVERY_S)
            now = self.now()
            self.topics.board.settle(now)
            self._learned.observe(now_ms(), self.server.champion.learned)
            for model, rate in self._failing.items():
                rate.observe(now_ms(), self.server.failures[model])
            rows = [(number, name, *row) for number, name, row in self.topics.board.fresh]
            self.topics.board.fresh.clear()
            if not self.listeners:
                self._sent.clear()
                continue
            sections = _dumped(self._sections())
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
            self._sent = _dumped(self._sections())
        whole = {"now": self.now(), "facts": self._facts(), "histories": self.topics.board.histories()}
        parts = ",".join(f'"{name}":{text}' for name, text in self._sent.items())
        return event(
            "whole", f'{_json(whole | {"row": self.topics.board.closed})[:-1]},"sections":{{{parts}}}}}'
        )

    def _facts(self) -> dict[str, Any]:
        base = self.settings.runbook_base
        runbooks = base.rstrip("/") + "/" if base else RUNBOOKS
        return self.topics.board.facts() | {
            "runbooks": runbooks,
            "token": bool(self.settings.http_token.split()),
        }

    def _sections(self) -> dict[str, Any]:
        found = {
            "loop": self.topics.board.loop(self.now()),
            "worker": self._worker(),
            **self.topics.board.sections(),
        }
        found |= model_sections(self.server) | {"decisions": self._decisions()}
        return found | {"dead_letters": self.topics.dead_letters.as_data(), "verdict": self._judge(found)}

    def _decisions(self) -> dict[str, Any]:
        here = {each.entry_id: each.offset for each in self.server.roles.decisions}
        texts = self.topics.board.snapshots.specifications() | self._texts
        return self.topics.decisions.as_data(self._live, here, texts)

    def _judge(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the verdict on the task, as far as this worker can tell."""
        worker, loop, now = found["worker"], found["loop"], self.now()
        reasons = [*readiness_reasons(worker)]
        if self._problem:
            reasons.append(Reason("down", "The topics cannot be read", self._problem, "worker-not-ready"))
        reasons += lag_reasons(self._lag, loop["rates"])
        reasons += stale_reasons(loop["metrics_at"], now, self._lag)
        reasons += rejection_reasons(loop["rates"])
        failing = {name: rate.per_second(now_ms()) for name, rate in self._failing.items()}
        reasons += model_reasons(worker["models"], failing)
        reasons += episode_reasons(found["episodes"])
        return self._verdict.of(reasons, now)

    def _worker(self) -> dict[str, Any]:
        """Return what this worker knows itself, and the lag of all of them."""
        end = self._local.lag.end
        return {
            **status.readiness(self.readiness),
            "slot": self.context.slot,
            "partitions": self.context.partitions,
            "models": status.models(self.server),
            "learned_rate": self._learned.per_second(now_ms()),
            "freshness_ms": status.quantiles(self.statistics.freshness_ms),
            "lag": self._lag,
            "log_end": end,
            "next_offset": status.next_offset(self.server),
            "problem": self._problem,
        }


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
