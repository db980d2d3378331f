"""Reads the whole history of a ledger's run, committed records only, and gives it to the check."""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import ConsumerGroupState

from infra.inbound import Message
from infra.kafka.admin import client_of, partition_count
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets, end_offsets
from infra.past import learn
from infra.runtime import runtime_fingerprint
from infra.taskfile import LoadedTask
from infra.trusted import unreadable_entry
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError
from schemas.records import Metric, Position
from schemas.state import RESOLVED, HeldState, JoinPosition, Resolution, type_of
from schemas.topics import TaskTopics, topics
from streams.fold import Fold
from streams.join.changelog import resolved
from streams.ledger.check import Check
from streams.metrics.served import ServedMetrics
from streams.model import ModelFold
from streams.positions import plain

GAP_MS: Final = 100
"""Shorter gaps in the log's progress are no stall."""
TIMEOUT_S: Final = 20.0
SETTLED_S: Final = 20.0
"""Longer than a session, and than an open transaction's time-out."""


@dataclass(slots=True)
class History:
    """What a run has left, beside what the check has found."""

    digests: dict[str, str] = field(default_factory=dict)
    """By version: the digest of each model's state after a refold from offset zero."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """When the log did not grow (ms UTC, log-append time)."""
    appended: array[int] = field(default_factory=lambda: array("q"))
    """Of each fact that an outcome caused: when it was appended to the log (ms UTC)."""
    delays: array[int] = field(default_factory=lambda: array("q"))
    """And how long after the outcome had arrived in Kafka (ms)."""
    entries: int = 0
    metrics: int = 0
    """Published measurements compared with their recomputation."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """By model: the entries that it passed over in that refold."""
    begins: int = 0
    """Append time of the first fact (ms UTC)."""
    ends: int = 0
    """Append time of the last one."""


class Reader:
    """Reads one task's topics.

    Parameters
    ----------
    connection
        The cluster.
    loaded, codec
        The task.
    partitions
        Of the topics keyed by request.
    group
        The workers' consumer group.
    whole
        Whether it is riverloop's own loop; another one has requests, outcomes, predictions and a log only.
    """

    def __init__(
        self,
        connection: Connection,
        loaded: LoadedTask,
        codec: Codec,
        partitions: int,
        group: str,
        *,
        whole: bool = True,
    ) -> None:
        self._whole = whole
        self._connection, self._loaded, self._codec = connection, loaded, codec
        self._partitions, self._group = partitions, group
        self.topics = TaskTopics(loaded.task.name)
        self._kept: dict[tuple[str, int], list[Message]] = defaultdict(list)
        """By place: what lay on topics that were deleted since."""

    @property
    def _log_group(self) -> str:
        return f"{self._group}.{self._loaded.task.name}.log"

    # ------------------------------------------------------------------ the end of a run

    def unread(self) -> dict[tuple[str, int], int]:
        """Count by place the committed records of the inputs and the log that their groups have not committed to.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        names = self.topics
        inputs = (names.requests, names.outcomes, *([names.predictions] if self._whole else []))
        taken = {self._group: [(topic, number) for topic in inputs for number in range(self._count(topic))]}
        if self._whole:
            taken[self._log_group] = [(names.log, 0)]
        left: dict[tuple[str, int], int] = {}
        for group, places in taken.items():
            read = committed_offsets(self._connection, group, places)
            ends = end_offsets(self._connection, places, committed=False)
            for place in places:
                count = ends[place] - (start := read.get(place, 0))
                if 0 < count <= 100:  # commit markers may be all there is
                    count = sum(1 for _ in read_all(self._connection, *place, start, ends[place]))
                if count > 0:
                    left[place] = count
        return left

    def taken(self) -> set[tuple[str, int]]:
        """Give the places of the inputs of which the workers' group has committed something."""
        places = [
            (topic, number)
            for topic in (self.topics.requests, self.topics.outcomes)
            for number in range(self._count(topic))
        ]
        read = committed_offsets(self._connection, self._group, places)
        return {place for place, offset in read.items() if offset > 0}

    def settle(self, timeout_s: float = 300.0) -> None:
        """Wait until everything that was sent is taken by the workers, and the log by its owner.

        Raises
        ------
        BrokerError
            When nothing goes on for so long.
        """
        heard = time.monotonic()
        before: dict[tuple[str, int], int] = {}
        while left := self.unread():
            if left != before:
                heard, before = time.monotonic(), left
            elif time.monotonic() - heard > timeout_s:
                count = sum(left.values())
                raise BrokerError(f"{count} records are not taken by the workers after {timeout_s:.0f} s")
            time.sleep(0.2)

    def left_open(self) -> list[str]:
        """Say what is still open when all workers have stopped: transactions, places in the groups.

        A worker that had to be killed keeps its place until its session ends, so that is waited for.
        """
        until = time.monotonic() + SETTLED_S
        while (found := self._left_open()) and time.monotonic() < until:
            time.sleep(0.5)
        return found

    def _left_open(self) -> list[str]:
        specs = topics(self._loaded.task.name, self._partitions)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        stable = end_offsets(self._connection, places)
        ends = end_offsets(self._connection, places, committed=False)
        found = [
            f"a transaction is open on {topic}[{number}]"
            for (topic, number), end in ends.items()
            if stable[topic, number] != end
        ]
        groups = [self._group, self._log_group]
        with client_of(self._connection) as admin:
            for name, future in admin.describe_consumer_groups(groups, request_timeout=TIMEOUT_S).items():
                told = future.result(TIMEOUT_S)
                if told.state not in {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}:
                    found.append(
                        f"group {name} is {told.state.name.lower()} with {len(told.members)} members"
                    )
        return found

    # ------------------------------------------------------------------ the whole history

    def keep(self, topic: str) -> None:
        """Read what a topic holds before it is deleted; it stays part of the history.

        Raises
        ------
        BrokerError
            When it cannot be read.
        """
        for number in range(self._count(topic)):
            self._kept[topic, number] += list(read_all(self._connection, topic, number))

    def _count(self, topic: str) -> int:
        """Give the number of partitions: faults may have added some."""
        return partition_count(self._connection, topic)

    def read(self, check: Check) -> History:
        """Read everything, and give it to a check.

        Raises
        ------
        BrokerError
            When the history cannot be read.
        """
        history = History()
        for number in range(self._partitions):
            self._predictions(number, check)
            if self._whole:
                self._state(number, check)
        for number in range(self._count(self.topics.dead_letters)):
            self._letters(number, check)
        self._log(check, history)
        return history

    def _messages(self, topic: str, number: int = 0) -> Iterator[Message]:
        end = end_offsets(self._connection, [(topic, number)], committed=False)[topic, number]
        yield from self._kept.get((topic, number), ())
        yield from read_all(self._connection, topic, number, end=end)

    def _predictions(self, number: int, check: Check) -> None:
        topic, decode = self.topics.predictions, self._codec.decode_prediction
        for message in self._messages(topic, number):
            check.prediction(decode(message.value()), Position(topic, number, message.offset() or 0))

    def _letters(self, number: int, check: Check) -> None:
        for message in self._messages(self.topics.dead_letters, number):
            check.letter(self._codec.decode_dead_letter(message.value()))

    def _state(self, number: int, check: Check) -> None:
        held: dict[str, HeldState] = {}
        position: JoinPosition | None = None
        for message in self._messages(self.topics.join_state, number):
            key = bytes(message.key() or b"")
            name = key.removeprefix(RESOLVED).decode()
            if message.value() is None:
                if not key.startswith(RESOLVED):
                    held.pop(name, None)
                continue
            state = self._codec.decode_state(message.value())
            assert type(state) is type_of(key)
            if isinstance(state, JoinPosition):
                position = state
            elif isinstance(state, Resolution):
                held[name] = resolved(held[name], state)
            else:
                held[name] = state
        check.state(number, held, position)

    def _log(self, check: Check, history: History) -> None:
        task = self._loaded.task
        models = [ModelFold(task, model, runtime_fingerprint()[0]) for model in task.models]
        served = [ServedMetrics(task, model) for model in task.models]
        folds: list[Fold] = [*models, *served]
        published = self._published(check) if self._whole else {}
        now = 0
        for message in self._messages(self.topics.log):
            offset, arrived = message.offset() or 0, message.timestamp()[1]
            try:
                entry = self._codec.decode_entry(message.value())
            except BadRecord as bad:
                raise unreadable_entry(message, bad) from bad
            if entry.command is not None:
                learn(self._codec, entry.command)
            check.entry(offset, entry)
            for fold in folds:
                fold.apply(offset, entry)
            for metric in published.pop(offset, ()):
                history.metrics += 1
                _compare(metric, served, check)
            if entry.prediction is not None:
                history.entries += 1
                trigger = entry.trigger
                if (
                    entry.arrived is not None
                    and trigger is not None
                    and plain(trigger.topic) == self.topics.outcomes
                ):
                    history.appended.append(arrived)
                    history.delays.append(arrived - entry.arrived)
                history.begins = history.begins or arrived
                history.ends = arrived
                if now and arrived - now >= GAP_MS:
                    history.gaps.append((now, arrived))
                now = arrived
        for metrics in published.values():
            check.findings.wrong.add(f"a measurement that no entry stands behind: {metrics[0]}", len(metrics))
        history.digests = {str(fold.version): fold.digest for fold in models}
        history.passed_over = {fold.model.name: fold.learner.passed_over for fold in models}

    def _published(self, check: Check) -> dict[int, list[Metric]]:
        found: dict[int, list[Metric]] = defaultdict(list)
        last: dict[tuple[str, str], int] = {}
        for message in self._messages(self.topics.metrics):
            metric = self._codec.decode_metric(message.value())
            if metric.role == "loop" or metric.window != "all" or metric.version or metric.segment:
                continue
            key = (metric.model, metric.name)
            if metric.log_offset <= last.get(key, -1):
                check.findings.doubled.add(f"{metric.name} of {metric.model} at {metric.log_offset} again")
            last[key] = metric.log_offset
            found[metric.log_offset].append(metric)
        return found


def _compare(metric: Metric, served: Sequence[ServedMetrics], check: Check) -> None:
    """Compare a published measurement with the metrics recomputed up to the same entry, to the last bit."""
    for fold in served:
        told = fold.get() if fold.model.name == metric.model else {}
        if metric.name not in told:
            continue
        due = (told[metric.name], fold.n)
        if (metric.value, metric.count) != due:
            check.findings.wrong.add(f"{metric} was published, the log gives {due}")
