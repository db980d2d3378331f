"""The agents of one task: each takes a batch, writes one transaction, and only then changes its state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agents.decoders import decoders_of
from agents.foreign import foreign_of
from agents.http.task import HttpTask
from agents.look_ups import feature_serving, shared_predictions
from agents.settings import Settings
from infra.audit.chain import ChainReader
from infra.audit.checkpoints import Checkpoints
from infra.kafka.buffers import Partition
from infra.kafka.channel import Channel
from infra.kafka.consumer import BatchConsumer
from infra.kafka.intake import Intake
from infra.kafka.transaction import TransactionRunner
from infra.snapshots.store import SnapshotStore
from infra.store.restore import JoinStores
from infra.subjects import Subjects
from infra.task.aggregates import AggregatesAgent
from infra.task.aside import Job
from infra.task.assignments import Assignments
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.log_fold import LogFold
from infra.task.log_publisher import LogPublisher
from infra.task.publisher import Output
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.serve import Serve
from infra.task.silence import Silence
from infra.task.snapshots import SnapshotWriter
from infra.task.statistics import Statistics
from infra.task.status import TaskStatus
from infra.task.tallies import SNAPSHOT_EVERY, TallyPublisher
from infra.task.topic_watch import CurrentTopics, TopicWatch
from infra.task.turn import Turn
from infra.turns import Turns
from streams.join.join_rules import JoinRules
from streams.join.merge import MergeByTime
from streams.lookup import Lookups
from streams.native.serving import NativeServer, request_scan_of
from streams.serve import Server
from streams.topology import processor, topics_of

if TYPE_CHECKING:
    from infra.features.reader import LookupReader
    from infra.registry.registry import Registry
    from infra.task.awaited_answers import AwaitedAnswers
    from infra.task.foreign_topics import ForeignTopics

log = logging.getLogger(__name__)
JOIN_PACE_S = 0.02
"""Predictions and outcomes wait up to this long for more of them, unless there are requests: with a transaction
for each, 250 requests a second take most of a core of the broker. Not in lockstep, where each is waited for."""
TALLY_PACE_S = 0.1
"""Tallies wait up to this long for more of them."""
ROLES = {
    "turn": "between-produce-and-commit",
    "owner": "between-publish-and-commit",
    "quality": "between-publish-and-commit",
}
"""Who writes transactions, with the crash point before the commit."""


class TaskAgents:
    """The agents of one task."""

    def __init__(
        self,
        context: TaskContext,
        settings: Settings,
        readiness: Readiness,
        current: CurrentTopics,
        server: Server,
        subjects: Subjects,
        turns: Turns,
        store: SnapshotStore,
        registry: Registry | None = None,
    ) -> None:
        self._registry = registry
        self.context, self.readiness, self.current = context, readiness, current
        self.subjects, self.turns = subjects, turns
        statistics = self.statistics = Statistics()
        resume = Resume(context, current)
        self._settings = settings
        self.features = feature_serving(context, settings, statistics, lambda: self.publisher.is_owner)
        if self.features is not None:
            server.additions.append(Lookups.check)
        self.shared = shared_predictions(context, settings, statistics)
        request_scan = None if settings.json_records else request_scan_of(context.codec)
        aggregates = (
            AggregatesAgent(context, current, resume, statistics) if context.task.aggregates else None
        )
        self.awaited = self._awaited() if context.task.aggregates else None
        """Answers that calls over HTTP wait for; None where any worker answers."""
        self.serve = Serve(
            *(context, server, statistics),
            json_records=settings.json_records,
            native=None if request_scan is None else NativeServer(server, request_scan),
            aggregates=aggregates,
        )
        stores = JoinStores(
            context.connection,
            context.topics.join_state,
            context.codec,
            JoinRules.of(context.task, lockstep=settings.lockstep),
            settings.join_folder(context.slot, context.task.name),
            settings.join_cache_mb,
        )
        self.join = JoinAgent(context, current, resume, statistics, stores)
        self.log = LogFold(
            *(context, server.models, readiness, resume, statistics, turns, store), settings.skip
        )
        server.gate = self.log.gate
        name, topics = context.task.name, context.topics
        self._runners = {
            role: TransactionRunner(
                context.connection,
                self.transactional_id(role, context.slot),
                last_point=point,
                cluster=readiness.cluster,
                stamps=current.stamps,
            )
            for role, point in ROLES.items()
        }
        self.watch = TopicWatch(context, current, readiness, statistics)
        self.assignments = Assignments(
            context, readiness, resume, self.watch, self.join, self.log, aggregates
        )

        self.turn = Turn(
            context,
            readiness,
            turns,
            self._runners["turn"],
            self.serve,
            self.join,
            self.log,
            subjects,
            self.assignments,
            silence=None if settings.lockstep else Silence(self.join, settings.idle_ms),
            look_ups=None if self.features is None else self.features.reader,
            registry=registry,
            shared=self.shared,
        )

        def output(role: str, topic: str, every: int) -> Output:
            snapshots = SnapshotWriter(context, statistics, store, topic, every, settings.snapshots_kept)
            return Output(self._runners[role], snapshots, settings.metrics_every_ms)

        log_output = output("owner", topics.log, settings.snapshot_every)
        uri, key = settings.audit_checkpoints, settings.snapshot_key.encode()
        checkpoints = Checkpoints(uri, key) if uri else None
        self.publisher = LogPublisher(context, readiness, resume, turns, log_output, self.log, checkpoints)
        tally_output = output("quality", topics.quality, SNAPSHOT_EVERY)
        tally_output.snapshots.audit_head = ChainReader(context.connection, context.codec).head
        self.tallies = TallyPublisher(context, readiness, resume, turns, tally_output, statistics)
        self.status = TaskStatus(context, self.join, self.log, self.publisher, self.tallies)
        reader = None if self.features is None else self.features.reader
        self.http = HttpTask(
            *(context, settings, readiness, current, server, subjects, turns, statistics, self.status),
            *(reader, self.shared, self.awaited),
        )
        self.inputs = self._inputs(reader, request_scan)
        self.ownership = Channel(
            name=f"{name}.owner", topics=topics_of(name, processor("publish").reads), fetched=False
        )
        about = (settings, readiness, turns, statistics, self.join.rules.times)
        self.foreign: list[ForeignTopics] = [*foreign_of(context, *about)]
        """Readers of topics outside the task."""
        self.tally_batches = Channel(
            name=f"{name}.quality",
            topics=topics_of(name, processor("quality").reads),
            joins=lambda: readiness.admitted,
            may=readiness.may_work,
            max_batch=settings.max_batch,
            pace_s=TALLY_PACE_S,
        )

    def _inputs(self, reader: LookupReader | None, request_scan: Any) -> Channel:
        """Return the channel of requests, predictions and outcomes."""
        context, settings, readiness = self.context, self._settings, self.readiness
        topics = context.topics
        decoders = decoders_of(
            context, settings, self.join.rules.times, self.current.names, reader, request_scan, self._registry
        )
        # At equal times the outcome goes first; in lockstep the prediction, which was sent before it.
        first, second = topics.outcomes, topics.predictions
        if settings.lockstep:
            first, second = second, first
        pace_s = 0.0 if settings.lockstep else JOIN_PACE_S
        merge = MergeByTime(first, second, context.partitions)
        intake = Intake(topics.requests, topics.outcomes, merge, readiness.ready.is_set, pace_s)
        return Channel(
            name=f"{context.task.name}.turn",
            topics=tuple(decoders),
            decode=lambda messages: decoders[messages[0].topic() or ""].many(messages),
            picker=lambda: intake,
            follows=self._outcomes_of,
            followers=(topics.outcomes,),
            joins=lambda: readiness.admitted,
            may=readiness.may_work,
            max_batch=settings.max_batch,
            pace_s=pace_s,
            prompt=(topics.requests,),
        )

    def _awaited(self) -> AwaitedAnswers:
        # Not imported by a worker without aggregates.
        from infra.task.awaited_answers import AwaitedAnswers  # noqa: PLC0415

        return AwaitedAnswers(self.context)

    def aside_job(self, **what: str) -> Job:
        """Return the job of a process that prepares a rollback."""
        settings, context = self._settings, self.context
        return Job(
            reference=context.loaded.reference,
            log_topic_id=context.log_topic_id,
            bootstrap=context.connection.bootstrap,
            properties=context.connection.properties,
            token_key=settings.token_key,
            snapshot_key=settings.snapshot_key,
            snapshot_uri=settings.snapshot_uri,
            skip=settings.skip,
            core=settings.core,
            **what,
        )

    @property
    def _writers(self) -> list[TransactionRunner]:
        return [*self._runners.values(), *(each.runner for each in self.foreign)]

    def transactional_id(self, role: str, slot: str) -> str:
        """Return the transactional id of a role in the worker of a slot."""
        return f"{self.context.group}.{self.context.task.name}.{role}.{slot}"

    def _outcomes_of(self, partition: Partition) -> Iterator[Partition]:
        """Return the partitions of outcomes that are read with one of predictions: its own, and further ones."""
        topics = self.context.topics
        if partition.topic == topics.predictions and partition.number < self.context.partitions:
            count = self.current.count_of(topics.outcomes)
            self.watch.followed = max(count, self.context.partitions)
            for number in range(partition.number, self.watch.followed, self.context.partitions):
                yield Partition(topics.outcomes, number)

    async def start(self) -> None:
        """Initialise the transactional ids: what a dead holder of this slot left open ends now."""
        if self.features is not None:
            await self.features.start()
        await self.assignments.begin()
        await asyncio.gather(*(runner.start() for runner in self._writers))

    async def stop(self, consumer: BatchConsumer) -> None:
        """Write last snapshots, as the log's owner, and note how far the join's state is; then do nothing more.

        Parameters
        ----------
        consumer
            The member of the owners' group, which it leaves.
        """
        await self.publisher.close(consumer)
        await consumer.stop()
        if self.features is not None:
            self.features.close()
        async with self.turn.lock, self.tallies.lock:
            self.turn.stopped = True
            await self.join.checkpoint(now=True)

    async def close(self) -> None:
        """Close the producers."""
        await asyncio.gather(*(runner.close() for runner in self._writers))
        if self.awaited is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.awaited.close)

    async def close_shared(self) -> None:
        """Give the last predictions to the other workers: Kafka has acknowledged all that it will."""
        if self.shared is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.shared.close)

    async def publish_rest(self, consumer: BatchConsumer) -> None:
        """Publish the last metrics of a burst, as the tallies' owner."""
        if not self.turn.stopped and not self.readiness.rejected:
            await self.tallies.on_silence(consumer)
