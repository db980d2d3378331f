"""Watching a task's topics: what became of them is noticed within seconds, and then handled or refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final, TypeVar

from agents.loop import TaskLoop
from infra.clock import now_ms
from infra.kafka.watching import seen_topics
from infra.known_topics import write_audit
from schemas.errors import BrokerError
from schemas.topics import topics
from streams.positions import KNOWN, TopicSeen, lasting, refusals

WATCH_S: Final = 2.0
"""The topics are looked at so often."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class TopicWatch:
    """Looks at the topics of one task.

    Parameters
    ----------
    loop
        The task's: what is found lies in its `seen`, `stamps`, `names` and `refused`.
    """

    def __init__(self, loop: TaskLoop) -> None:
        self._loop = loop
        self._every = {spec.name: spec.cleanup for spec in topics(loop.context.task.name, 1)}
        names = loop.context.topics
        self._read = (names.requests, names.predictions, names.outcomes, names.quality)
        """What is consumed in the worker's group."""
        self._looking = asyncio.Lock()
        self.refused = False
        """Whether a topic was refused when the watch looked last."""
        self._taken: dict[str, str] = {}
        """By topic: the id with which it was taken up."""
        self.followed = 0
        """So many partitions of outcomes are shared out here, with those of predictions; 0: none yet. Nobody else
        says that there are more."""

    @property
    def names(self) -> Collection[str]:
        """The task's topics."""
        return self._every.keys()

    async def look(self) -> bool:
        """Look at all topics; gives whether partitions are to be given up and taken up again."""
        async with self._looking:
            loop = self._loop
            try:
                seen = await self._in_thread(lambda: seen_topics(loop.context.connection, [*self._every]))
                await self._note(seen)
            except BrokerError as error:
                log.info("%s: the topics cannot be described: %s", loop.context.task.name, error)
                return False
            loop.current.seen = seen
            found = dict(refusals(loop.context.topics, loop.current.known, seen, self._every))
            self.refused = bool(found)
            for name, why in found.items():
                loop.readiness.refuse(name, why)
            for name in [
                name for name in loop.readiness.refused if name in self._every and name not in found
            ]:
                # Until the partitions are taken up again nothing goes on.
                loop.readiness.refused[name] = f"the partitions of topic {name} are assigned again"
            if found:
                return False
            again = any(name in self._every for name in loop.readiness.refused)
            grown = 0 < self.followed < loop.current.count_of(loop.context.topics.outcomes)
            return again or grown or self._taken != self._now()

    def take(self) -> None:
        """Go on with the topics as they are now; to be called while nothing of them is consumed.

        Else an offset of the topic from before would be committed as one of the topic as it is now.
        """
        loop = self._loop
        self._taken = self._now()
        for name, each in loop.current.seen.items():
            loop.current.stamps[name] = loop.current.known.current(name) or each.topic_id
            if (named := loop.current.known.name(name)) != name:
                loop.current.names[name] = named

    def _now(self) -> dict[str, str]:
        return {
            name: self._loop.current.seen[name].topic_id
            for name in self._read
            if name in self._loop.current.seen
        }

    async def _note(self, seen: dict[str, TopicSeen]) -> None:
        """Write down which topics these are, where that is news."""
        loop, control = self._loop, self._loop.context.topics.control
        before = {name: loop.current.known.current(name) for name in seen}
        if control not in seen:
            return
        kept = {name: each for name, each in seen.items() if not self._is_lost(name, each)}
        audits = [(KNOWN, loop.current.known.news(kept, loop.context.partitions))]
        if before[control] not in {"", seen[control].topic_id}:
            audits = [*loop.current.known.audits(), *audits]  # what lay on it is gone
        for name, arguments in audits:
            if arguments:
                reason = "topics that the task has from now on"
                told = (
                    loop.context.codec,
                    loop.context.connection,
                    loop.context.topics,
                    name,
                    arguments,
                    reason,
                    now_ms(),
                )
                loop.current.known.learn(await self._in_thread(lambda told=told: write_audit(*told)))  # type: ignore[misc]  # the default binds the loop's variable
        for name, each in kept.items():
            if before[name] not in {"", each.topic_id}:
                loop.statistics.counts["topics_renewed"] += 1
                log.warning(
                    "%s: topic %s was recreated (id %s, not %s). Records that were not read are gone; the new "
                    "topic is read from its beginning",
                    *(loop.context.task.name, name, each.topic_id, before[name]),
                )

    def _is_lost(self, name: str, seen: TopicSeen) -> bool:
        return name in lasting(self._loop.context.topics) and self._loop.current.known.current(name) not in {
            "",
            seen.topic_id,
        }

    @staticmethod
    async def _in_thread(function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, function)
