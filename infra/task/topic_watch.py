"""Watching a task's topics: what became of them is noticed within seconds, and then handled or rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, TypeVar

from infra.clock import now_ms
from infra.kafka.watching import seen_topics
from infra.known_topics import write_audit
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from schemas.errors import BrokerError
from streams.positions import KNOWN, KnownTopics, TopicSeen, lasting, rejections
from streams.topology import declared

WATCH_S: Final = 2.0
"""Interval at which the topics are read (s)."""
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class CurrentTopics:
    """The topics of one task. `TopicWatch` keeps them up to date.

    Attributes
    ----------
    partitions
        Number of partitions of a topic that the cluster has not described.
    known
        The topics as the task's audits record them.
    seen
        The topics as the cluster described them last.
    stamps
        By topic: its id, which is written with offsets of it.
    names
        The names in positions of topics that are not the first of their names.
    """

    partitions: int
    known: KnownTopics = field(default_factory=KnownTopics)
    seen: dict[str, TopicSeen] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def count_of(self, topic: str) -> int:
        """Return the number of a topic's partitions."""
        return self.seen[topic].partitions if topic in self.seen else self.partitions


class TopicWatch:
    """Watches the topics of one task.

    Parameters
    ----------
    current
        Its topics, which are kept up to date.
    readiness
        Takes the topics that are rejected.
    """

    def __init__(
        self, context: TaskContext, current: CurrentTopics, readiness: Readiness, statistics: Statistics
    ) -> None:
        self._context, self._current = context, current
        self._readiness, self._counts = readiness, statistics.counts
        self._every = {spec.name: spec.cleanup for spec in declared(self._context.task, 1)}
        names = self._context.topics
        self._read = (names.requests, names.predictions, names.outcomes, names.quality)
        """What is consumed in the worker's group."""
        self._looking = asyncio.Lock()
        self.rejected = False
        """Whether a topic was rejected when the watch looked last."""
        self._taken: dict[str, str] = {}
        """By topic: the id with which it was taken up."""
        self.followed = 0
        """Number of partitions of outcomes that are shared out here, with those of predictions; 0: none yet. No
        other part notices that there are more."""

    @property
    def names(self) -> Collection[str]:
        """The task's topics."""
        return self._every.keys()

    async def look(self) -> bool:
        """Look at all topics; gives whether partitions are to be given up and taken up again."""
        async with self._looking:
            try:
                seen = await self._in_thread(lambda: seen_topics(self._context.connection, [*self._every]))
                await self._note(seen)
            except BrokerError as error:
                log.info("%s: the topics cannot be described: %s", self._context.task.name, error)
                return False
            self._current.seen = seen
            found = dict(rejections(self._context.topics, self._current.known, seen, self._every))
            self.rejected = bool(found)
            for name, why in found.items():
                self._readiness.reject(name, why)
            for name in [
                name for name in self._readiness.rejected if name in self._every and name not in found
            ]:
                # Until the partitions are taken up again nothing goes on.
                self._readiness.rejected[name] = f"the partitions of topic {name} are assigned again"
            if found:
                return False
            again = any(name in self._every for name in self._readiness.rejected)
            grown = 0 < self.followed < self._current.count_of(self._context.topics.outcomes)
            return again or grown or self._taken != self._now()

    def take(self) -> None:
        """Go on with the topics as they are now; to be called while nothing of them is consumed.

        Else an offset of the topic from before would be committed as one of the topic as it is now.
        """
        self._taken = self._now()
        for name, each in self._current.seen.items():
            self._current.stamps[name] = self._current.known.current(name) or each.topic_id
            if (named := self._current.known.name(name)) != name:
                self._current.names[name] = named

    def _now(self) -> dict[str, str]:
        return {name: self._current.seen[name].topic_id for name in self._read if name in self._current.seen}

    async def _note(self, seen: dict[str, TopicSeen]) -> None:
        """Write down which topics these are, where that is news."""
        control = self._context.topics.control
        before = {name: self._current.known.current(name) for name in seen}
        if control not in seen:
            return
        kept = {name: each for name, each in seen.items() if not self._is_lost(name, each)}
        audits = [(KNOWN, self._current.known.news(kept, self._context.partitions))]
        if before[control] not in {"", seen[control].topic_id}:
            audits = [*self._current.known.audits(), *audits]  # what lay on it is gone
        for name, arguments in audits:
            if arguments:
                reason = "topics that the task has from now on"
                audit = (
                    self._context.codec,
                    self._context.connection,
                    self._context.topics,
                    name,
                    arguments,
                    reason,
                    now_ms(),
                )
                self._current.known.learn(await self._in_thread(lambda audit=audit: write_audit(*audit)))  # type: ignore[misc]  # the default binds the loop's variable
        for name, each in kept.items():
            if before[name] not in {"", each.topic_id}:
                self._counts["topics_renewed"] += 1
                log.warning(
                    "%s: topic %s was recreated (id %s, not %s). Records that were not read are gone; the new "
                    "topic is read from its beginning",
                    *(self._context.task.name, name, each.topic_id, before[name]),
                )

    def _is_lost(self, name: str, seen: TopicSeen) -> bool:
        return name in lasting(self._context.topics) and self._current.known.current(name) not in {
            "",
            seen.topic_id,
        }

    @staticmethod
    async def _in_thread(function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, function)
