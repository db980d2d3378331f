"""Runs of the log in the monitors of its owner: what the native core folds, and what is read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from infra.task.fact_runs import Batch
from streams.native.turn import facts_of
from streams.native.watch import NativeWatch, is_watched

if TYPE_CHECKING:
    from infra.task.log_publisher import LogPublisher


class MonitorRuns:
    """Folds runs of entries into a publisher's monitors.

    Parameters
    ----------
    publisher
        Of the log.
    """

    def __init__(self, publisher: LogPublisher) -> None:
        context = publisher.context
        self._publisher, self._task = publisher, context.task
        # Of its own: the models may be folded meanwhile, in another thread.
        self._scan: Any = facts_of(context.codec) if is_watched(context.task) else None
        self._watch: NativeWatch | None = None

    def take(self, facts: Any, start: int, end: int, offsets: Sequence[int]) -> int:
        """Fold entries of a run that was scanned, from one of them on, as far as the core does; gives how many."""
        publisher = self._publisher
        if offsets[start] < publisher.next_offset:
            return 0
        if self._watch is None or self._watch.monitors is not publisher.monitors:
            self._watch = NativeWatch(self._task, publisher.monitors)
        taken = self._watch.fold(facts, start, end, offsets)
        if taken:
            publisher.took(offsets[start + taken - 1], facts.newest_ts(start, start + taken))
        return taken

    def apply(self, messages: Sequence[Message]) -> None:
        """Fold records that follow on each other."""
        publisher, batch, at = self._publisher, Batch(messages, self._scan), 0
        while at < len(messages):
            end = batch.end_of_run(at)
            taken = self.take(batch.facts, at, end, batch.offsets) if at < end else 0
            if not taken:
                publisher.apply(messages[at].offset() or 0, publisher.read(messages[at]))
            at += taken or 1
