"""Reads everything that a run has committed, and passes it to the check."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from infra.commands import Commands
from infra.inbound import Message
from infra.kafka.admin import partition_count
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.past import learn
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import LogPlace
from infra.snapshots.past import PastVersions
from infra.taskfile import LoadedTask
from infra.trusted import unreadable_entry
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Entry, Metric, Position
from schemas.state import RESOLVED, JoinPosition, JoinRecord, Resolution, type_of
from schemas.topics import TaskTopics
from streams.fold import Fold
from streams.leave_out import LeaveOut
from streams.metrics.served import ServedMetrics
from streams.model import ModelFold
from streams.positions import plain
from tests.faults.check.check import Check

GAP_MS: Final = 100
"""Shorter gaps in the log's progress are no stall."""


@dataclass(slots=True)
class History:
    """What the topics hold after a run, in addition to what the check finds."""

    digests: dict[str, str] = field(default_factory=dict)
    """By version: the digest of each model's state after a refold from offset zero."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """When the log did not grow (ms UTC, log-append time)."""
    appended: array[int] = field(default_factory=lambda: array("q"))
    """By fact that an outcome caused: when it was appended to the log (ms UTC)."""
    delays: array[int] = field(default_factory=lambda: array("q"))
    """By the same facts: the time since the outcome's arrival in Kafka (ms)."""
    skipped: dict[str, int] = field(default_factory=dict)
    """By model: the entries that it skipped in that refold."""


class HistoryReader:
    """Reads one task's topics.

    Parameters
    ----------
    connection
        The cluster.
    loaded, codec
        The task.
    partitions
        Of the topics keyed by request.
    foreign
        Whether another loop runs, which has requests, outcomes, predictions and a log only.
    """

    def __init__(
        self,
        connection: Connection,
        loaded: LoadedTask,
        codec: Codec,
        partitions: int,
        *,
        foreign: bool = False,
    ) -> None:
        self._foreign = foreign
        self._connection, self._loaded, self._codec = connection, loaded, codec
        self._partitions = partitions
        self.topics = TaskTopics(loaded.task.name)
        self._preserved: dict[tuple[str, int], list[Message]] = defaultdict(list)
        """By partition: the records of topics that were deleted since."""

    def preserve(self, topic: str) -> None:
        """Read the records of a topic before it is deleted; they stay part of the history.

        Raises
        ------
        BrokerError
            When it cannot be read.
        """
        for number in range(self._count(topic)):
            self._preserved[topic, number] += list(read_all(self._connection, topic, number))

    def _count(self, topic: str) -> int:
        """Return the current number of partitions: faults may have added some."""
        return partition_count(self._connection, topic)

    def read(self, check: Check) -> History:
        """Read everything, and pass it to a check.

        Raises
        ------
        BrokerError
            When the history cannot be read.
        """
        history = History()
        for number in range(self._partitions):
            self._predictions(number, check)
            if not self._foreign:
                self._state(number, check)
        for number in range(self._count(self.topics.dead_letters)):
            self._dead_letters(number, check)
        self._log(check, history)
        return history

    def _messages(self, topic: str, number: int = 0) -> Iterator[Message]:
        end = end_offsets(self._connection, [(topic, number)], committed=False)[topic, number]
        yield from self._preserved.get((topic, number), ())
        yield from read_all(self._connection, topic, number, end=end)

    def _predictions(self, number: int, check: Check) -> None:
        topic, decode = self.topics.predictions, self._codec.decode_prediction
        for message in self._messages(topic, number):
            check.prediction(decode(message.value()), Position(topic, number, message.offset() or 0))

    def _dead_letters(self, number: int, check: Check) -> None:
        for message in self._messages(self.topics.dead_letters, number):
            check.dead_letter(self._codec.decode_dead_letter(message.value()))

    def _state(self, number: int, check: Check) -> None:
        pending: dict[str, JoinRecord] = {}
        position: JoinPosition | None = None
        for message in self._messages(self.topics.join_state, number):
            key = bytes(message.key() or b"")
            name = key.removeprefix(RESOLVED).decode()
            if message.value() is None:
                if not key.startswith(RESOLVED):
                    pending.pop(name, None)
                continue
            state = self._codec.decode_state(message.value())
            assert type(state) is type_of(key)
            if isinstance(state, JoinPosition):
                position = state
            elif isinstance(state, Resolution):
                pending[name] = replace(pending[name], resolution=state)
            else:
                pending[name] = state
        check.state(number, pending, position)

    def _log(self, check: Check, history: History) -> None:
        task = self._loaded.task
        models = self._models()
        served = [ServedMetrics(task, model) for model in task.models]
        folds: list[Fold] = [*models, *served]
        published = {} if self._foreign else self._published(check)
        now = 0
        for message in self._messages(self.topics.log):
            arrived = message.timestamp()[1]
            offset, entry = self._entry(message)
            if entry.command is not None:
                learn(self._codec, entry.command)
            check.entry(offset, entry)
            for fold in folds:
                fold.apply(offset, entry)
            for metric in published.pop(offset, ()):
                _compare(metric, served, check)
            if entry.prediction is not None:
                trigger = entry.trigger
                if (
                    entry.arrived is not None
                    and trigger is not None
                    and plain(trigger.topic) == self.topics.outcomes
                ):
                    history.appended.append(arrived)
                    history.delays.append(arrived - entry.arrived)
                if now and arrived - now >= GAP_MS:
                    history.gaps.append((now, arrived))
                now = arrived
        for metrics in published.values():
            check.findings.wrong.add(
                f"a measurement at an offset without an entry: {metrics[0]}", len(metrics)
            )
        history.digests = {str(fold.version): fold.digest for fold in models}
        history.skipped = {fold.model.name: fold.learner.skipped for fold in models}

    def _models(self) -> list[ModelFold]:
        """Return folds that leave out of the log what each model's newest revision leaves out."""
        task, topic = self._loaded.task, self.topics.log
        left_out = dict.fromkeys((model.name for model in task.models), "")
        if not self._foreign:
            roles, _, _ = Commands(self._connection, self._codec, "").history()
            left_out = {
                model.name: roles.revisions.left_out(model.name, task.spec(model)) for model in task.models
            }
        past = PastVersions(self._loaded, None, LogPlace(topic, ""), self._entries)
        found = [
            ModelFold(task, model, runtime_fingerprint()[0], leave_out=LeaveOut.read(left_out[model.name]))
            for model in task.models
        ]
        for fold in found:
            past.serve(fold)
        return found

    def _entries(self, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        return map(self._entry, read_all(self._connection, self.topics.log, 0, start, end))

    def _entry(self, message: Message) -> tuple[int, Entry]:
        try:
            return message.offset() or 0, self._codec.decode_entry(message.value())
        except BadRecord as bad:
            raise unreadable_entry(message, bad) from bad

    def _published(self, check: Check) -> dict[int, list[Metric]]:
        found: dict[int, list[Metric]] = defaultdict(list)
        last: dict[tuple[str, str], int] = {}
        for message in self._messages(self.topics.metrics):
            metric = self._codec.decode_metric(message.value())
            if metric.role == "loop" or metric.window != "all" or metric.version or metric.segment:
                continue
            key = (metric.model, metric.name)
            if metric.log_offset <= last.get(key, -1):
                check.findings.doubled.add(f"{metric.name} of {metric.model} at {metric.log_offset} twice")
            last[key] = metric.log_offset
            found[metric.log_offset].append(metric)
        return found


def _compare(metric: Metric, served: Sequence[ServedMetrics], check: Check) -> None:
    """Compare a published measurement with the metrics recomputed up to the same entry, bit by bit."""
    for fold in served:
        values = fold.get() if fold.model.name == metric.model else {}
        if metric.name not in values:
            continue
        expected = (values[metric.name], fold.n)
        if (metric.value, metric.count) != expected:
            check.findings.wrong.add(f"{metric} was published, the log yields {expected}")
