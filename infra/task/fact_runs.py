"""Entries of the log in runs: what the native core folds as bytes, and what is read one by one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Message

from infra.clock import now_ms
from infra.task.context import TaskContext
from infra.task.statistics import STAGES, Statistics
from infra.turns import Portion
from streams.model import ModelFold
from streams.native.turn import examples_of, scan_of
from streams.native.watch import is_plain

if TYPE_CHECKING:
    from infra.task.log_fold import LogFold

RUN: Final = 256
"""Entries that are folded in one step, at most."""
AT_ONCE: Final = 16
"""The same where River learns."""
NEWEST: Final = 20_000
"""Durations that are kept."""


class FactRuns:
    """Cuts the log's records into runs of labelled entries that the core can take.

    Parameters
    ----------
    models
        Of the task.
    """

    def __init__(self, context: TaskContext, models: Sequence[ModelFold]) -> None:
        fits = context.task.kind == "binary" and all(is_plain(each.model.policy) for each in models)
        self._scan: Any = scan_of(context.codec) if fits else None
        self._portion = Portion(AT_ONCE)

    def cut(self, messages: Iterable[Message]) -> Iterator[tuple[list[Message], list[Any]]]:
        """Give runs with what was scanned of them; a record that is to be read comes alone, with nothing."""
        run: list[Message] = []
        facts: list[Any] = []
        for message in messages:
            fact = None if self._scan is None else self._scan.fact(message.value() or b"")
            if run and (fact is None or len(run) == RUN):
                yield run, facts
                run, facts = [], []
            if fact is None:
                yield [message], []
            else:
                run.append(message)
                facts.append(fact)
        if run:
            yield run, facts

    def take(self, fold: LogFold, run: list[Message], facts: list[Any], start: int) -> int:
        """Fold entries as bytes, from one of a run on, as the reader of the log does one by one; gives how many."""
        if fold.others.folds or fold.gate is not None:
            return 0  # they take each entry as it is read
        offsets = [message.offset() or 0 for message in run]
        count = self._learn(fold, run, facts, offsets, start)
        if not count:
            return 0
        at, end = start, start + count
        while at < end and fold.listener is not None:
            at += fold.many(facts[:end], at, offsets) if fold.many is not None else 0
            if at < end:
                fold.listener(offsets[at], fold.read(run[at]))
                at += 1
        newest = facts[max(start, end - (fold.recent.maxlen or end)) : end]
        fold.recent.extend(fact.features for fact in newest)
        counts, taken = fold.statistics.counts, run[start:end]
        counts["entries"] += count
        if fold.readiness.ready.is_set():
            times = [message.timestamp()[1] for message in taken]
            pairs = zip((fact.arrived for fact in facts[start:end]), times, strict=True)
            measure_freshness(fold.statistics, Counter(pair for pair in pairs if pair[0] >= 0))
        if fold.answering.caught_up:
            counts["log_bytes"] += sum(len(each.value() or b"") + len(each.key() or b"") for each in taken)
        fold.next_offset = offsets[end - 1] + 1
        return count

    def _learn(
        self, fold: LogFold, run: list[Message], facts: list[Any], offsets: list[int], start: int
    ) -> int:
        """Let all models learn the same entries; gives how many.

        Models without a kernel decide how many: they learn entry by entry, and none goes on where one has to be put
        back or copied. Kernels learn as many, and what one rejects is undone at once.
        """
        fused = [each for each in fold.models if each.learns_rows]
        rest = [each for each in fold.models if not each.learns_rows]
        end, began = min(len(run), start + (self._portion.count if rest else RUN)), time.perf_counter()
        for each in fold.models:
            left = each.facts_left(offsets[start])
            end = end if left is None else min(end, start + left)
        if rest:
            at = start
            while at < end and not any(each.learner.is_behind for each in rest):
                for each in rest:
                    each.learn_fact(offsets[at], facts[at])
                at += 1
            end = at
        for each in fused if start < end else ():
            at = start
            while at < end:
                at += each.learn_rows(offsets[at:end], examples_of(facts[:end], at))
                if at < end:
                    fold.learn_now(each, offsets[at], run[at])
                    at += 1
        if rest:
            self._portion.took(end - start, time.perf_counter() - began)
        return end - start


def measure_freshness(statistics: Statistics, times: Counter[tuple[int, int]]) -> None:
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
