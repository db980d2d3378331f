"""Entries of the log in runs: what the native core folds as bytes, and what is read one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Message

from infra.clock import now_ms
from infra.task.context import TaskContext
from infra.task.statistics import STAGES, Statistics
from infra.turns import Portion
from streams.model import ModelFold
from streams.native.turn import facts_of
from streams.native.watch import is_scanned
from streams.policies import silent

if TYPE_CHECKING:
    from infra.task.log_fold import LogFold

RUN: Final = 1000
"""Entries that are folded in one step, at most; where monitors read them in Python, as many as fit into a turn."""
AT_ONCE: Final = 16
"""Those of them that River learns."""
NEWEST: Final = 20_000
"""Durations that are kept."""


class Batch:
    """Records of the log that follow on each other, with what was scanned of them.

    Parameters
    ----------
    scan
        Of the task's log; None: all are read in Python.
    """

    def __init__(self, messages: Sequence[Message], scan: Any) -> None:
        self.messages = messages
        self.facts: Any = None if scan is None else scan.facts([message.value() for message in messages])
        self.offsets: list[int] = [] if scan is None else [message.offset() or 0 for message in messages]

    def end_of_run(self, start: int) -> int:
        """Return the place of the first record, from a place on, that is to be read."""
        return start if self.facts is None else self.facts.end_of_run(start)


class FactRuns:
    """Folds runs of entries that the core can take.

    Parameters
    ----------
    models
        Of the task.
    """

    def __init__(self, context: TaskContext, models: Sequence[ModelFold]) -> None:
        self._scan: Any = facts_of(context.codec) if is_scanned(context.task) else None
        self._silent = {each.model.name: silent(each.model.policy) for each in models}
        self._portion, self._run = Portion(AT_ONCE), Portion(RUN)

    def batch(self, messages: Sequence[Message]) -> Batch:
        """Scan records of the log."""
        return Batch(messages, self._scan)

    def take(self, fold: LogFold, batch: Batch, start: int) -> int:
        """Fold entries as bytes, from a place on, as the reader of the log does one by one; gives how many."""
        if batch.end_of_run(start) == start or fold.others.folds or fold.gate is not None:
            return 0  # others take each entry as it is read
        began = time.perf_counter()
        count = self._learn(fold, batch, start)
        if not count:
            return 0
        facts, offsets, at, end = batch.facts, batch.offsets, start, start + count
        while at < end and fold.listener is not None:
            at += fold.many(facts, at, end, offsets) if fold.many is not None else 0
            if at < end:
                fold.listener(offsets[at], fold.read(batch.messages[at]))
                at += 1
        newest = range(max(start, end - (fold.recent.maxlen or end)), end)
        fold.recent.extend(facts.fact(each).features for each in newest)
        counts, taken = fold.statistics.counts, batch.messages[start:end]
        counts["entries"] += count
        if fold.readiness.ready.is_set():
            times = facts.times(start, end, [message.timestamp()[1] for message in taken])
            measure_freshness(fold.statistics, times)
        if fold.answering.caught_up:
            counts["log_bytes"] += facts.octets(start, end) + sum(len(each.key() or b"") for each in taken)
        fold.next_offset = offsets[end - 1] + 1
        self._run.took(count, time.perf_counter() - began)
        return count

    def _learn(self, fold: LogFold, batch: Batch, start: int) -> int:
        """Let all models learn the same entries; gives how many.

        Models without a kernel decide how many: they learn entry by entry, and none goes on where one has to be put
        back or copied. Kernels learn as many, and what one rejects is undone at once.
        """
        fused = [each for each in fold.models if each.learns_rows]
        rest = [each for each in fold.models if not each.learns_rows]
        offsets, began = batch.offsets, time.perf_counter()
        end, learned = min(batch.end_of_run(start), start + self._run.count), 0
        for each in fold.models:
            left = each.facts_left(offsets[start])
            end = end if left is None else min(end, start + left)
        if rest:
            at, always = start, any(self._silent[each.model.name] is not None for each in rest)
            while (
                at < end
                and learned < self._portion.count
                and not any(each.learner.is_behind for each in rest)
            ):
                fact = batch.facts.fact(at)
                for each in rest:
                    each.learn_fact(offsets[at], fact)
                learned += always or fact.value is not None
                at += 1
            end = at
        for each in fused if start < end else ():
            self._learn_rows(fold, each, batch, start, end)
        if learned:
            self._portion.took(learned, time.perf_counter() - began)
        return end - start

    def _learn_rows(self, fold: LogFold, model: ModelFold, batch: Batch, start: int, end: int) -> None:
        """Let a kernel learn a run; River learns what it rejects."""
        silence, offsets = self._silent[model.model.name], batch.offsets
        places = batch.facts.taught(start, end, silence)
        taught, at = [offsets[place] for place in places], 0
        while at < len(taught):
            at += model.learn_rows(taught[at:], batch.facts.examples(places[at], end, silence))
            if at < len(taught):
                fold.learn_now(model, taught[at], batch.messages[places[at]])
                at += 1
        model.pass_to(offsets[end - 1] + 1)


def measure_freshness(statistics: Statistics, times: Mapping[tuple[int, int], int]) -> None:
    """Measure how fresh entries are.

    Parameters
    ----------
    times
        How many have each pair of times (ms): when the trigger arrived, and when the entry came to lie in the log.
    """
    fresh, now = statistics.freshness_ms, now_ms()
    for (arrived, logged), count in times.items():
        fresh.extend([now - arrived] * count)
        spans_ms = (logged - arrived, now - logged, now - arrived)
        for stage, span_ms in zip(STAGES, spans_ms, strict=True):
            statistics.freshness[stage].add(max(0, span_ms) / 1000, count)
    if len(fresh) > NEWEST:
        del fresh[: NEWEST // 2]
