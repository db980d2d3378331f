"""One reader folds the models and the monitors; what they give is published once, whatever becomes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.aborted import GenerationLost
from infra.kafka.buffers import Partition
from infra.kafka.transaction import OutRecord
from infra.past import SPEC_TEXT
from infra.snapshots.store import SnapshotStore
from infra.task import log_publisher
from infra.task.revisions import opening_request
from schemas.records import Control, Metric
from streams.fold import Measurement
from streams.gate.lines import measurements
from streams.metrics.served import ServedMetrics
from streams.model import ModelFold
from streams.task_model import Model
from tests.history import ordinary
from tests.unit.published import Cluster, Counted, Worker


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Cluster]:
    def made(seed: int) -> Cluster:
        cluster = Cluster(ordinary("one-reader"), SnapshotStore(str(tmp_path)), random.Random(seed))
        cluster.patch(monkeypatch)
        return cluster

    return made


async def play(cluster: Cluster) -> Worker:
    """Let two workers read, publish, die and change hands at random; gives the owner that has published all."""
    rng, end = cluster.rng, len(cluster.log)
    workers, owner = [Worker(cluster), Worker(cluster)], 0
    workers[owner].publisher.assigned()
    for _ in range(120):
        worker = workers[owner]
        what = rng.choice(("read", "read", "read", "turn", "turn", "move", "restart"))
        if what == "read":
            await rng.choice(workers).read(rng.randrange(8))
        elif what == "turn":
            await worker.turn()
        elif what == "move" and rng.random() < 0.4:
            await worker.publisher.revoked()
            owner = 1 - owner
            workers[owner].publisher.assigned()
        elif what == "restart" and rng.random() < 0.3:
            workers[owner] = Worker(cluster)
            workers[owner].publisher.assigned()
    worker = workers[owner]
    worker.runner.fates = ["committed"] * 10
    await worker.read(end)
    while worker.publisher.published < end:
        await worker.turn()
    return worker


@pytest.mark.parametrize("seed", range(12))
def test_each_metric_and_alert_is_published_once_whatever_becomes_of_owners_and_transactions(
    seed: int, make: Callable[[int], Cluster]
) -> None:
    cluster = make(seed)
    worker = asyncio.run(play(cluster))
    assert_as_alone(cluster, worker)


def assert_as_alone(cluster: Cluster, worker: Worker) -> None:
    """Fold the log once, undisturbed: its alerts, its measurements where some were published, its snapshots."""
    alone, raised = worker.publisher.make(), []
    models = [ModelFold(each.task, each.model, each.runtime) for each in worker.fold.models]
    metrics: dict[tuple[str, int], list[Metric]] = {}
    for name, metric in cluster.metrics:
        metrics.setdefault((name, metric.log_offset), []).append(metric)
    manifests = {(each.model, each.next_offset): each for each in cluster.manifests}
    assert len(manifests) >= 3
    for message, entry in zip(cluster.log, cluster.history.entries(), strict=True):
        for fold in models:
            fold.apply(message.at, entry)
        for monitor in alone:
            monitor.apply(message.at, entry)
            raised += [*monitor.alerts()]
            published = metrics.pop((monitor.name, message.at), None)
            if published is not None:
                assert [*map(plain, published)] == [*map(plain, monitor.measurements())]
        if rollouts := metrics.pop(("gate", message.at), None):
            assert [*map(plain, rollouts)] == [*map(plain, measurements(None, models[0].roles))]
        for monitor in alone:
            if isinstance(monitor, ServedMetrics) and (
                reported := manifests.pop((monitor.name, message.at + 1), None)
            ):
                assert reported.metrics == monitor.get()
                assert reported.state_digest == next(
                    fold.digest for fold in models if fold.model.name == monitor.name
                )
    assert not metrics
    assert {model for model, _ in manifests} <= {"metrics"}
    assert cluster.alerts == raised
    assert any(isinstance(each, Counted) for each in alone)


def plain(reported: Metric | Measurement) -> tuple[Any, ...]:
    place = (reported.model, reported.version, reported.role, reported.window, reported.segment)
    return reported.name, repr(float(reported.value)), reported.unit, reported.count, *place


def test_a_snapshot_s_metrics_are_those_at_its_offset_though_the_reader_goes_on(
    make: Callable[[int], Cluster],
) -> None:
    """A snapshot takes a while; the models and the monitors stand still together meanwhile."""
    cluster = make(1)

    async def scenario() -> None:
        worker = Worker(cluster)
        worker.runner.fates = ["committed"] * 1000
        worker.publisher.assigned()

        async def publish() -> None:
            while worker.publisher.published < len(cluster.log):
                await worker.turn()
                await asyncio.sleep(0)

        async def read() -> None:
            while worker.fold.next_offset < len(cluster.log):
                await worker.read(7)
                await asyncio.sleep(0)

        await asyncio.gather(publish(), read())
        assert_as_alone(cluster, worker)
        models = [each for each in cluster.manifests if each.kind == "model"]
        assert {each.next_offset for each in models} == {
            each.next_offset for each in cluster.manifests if each.kind == "metrics"
        }

    asyncio.run(scenario())


def test_a_rebalance_waits_for_the_transaction_at_work_and_the_next_owner_goes_on_behind_it(
    make: Callable[[int], Cluster],
) -> None:
    cluster = make(2)

    async def scenario() -> None:
        worker, gate, commit = Worker(cluster), asyncio.Event(), Worker(cluster).runner.commit

        async def slow(records: Sequence[OutRecord], offsets: dict[Partition, int], metadata: bytes) -> None:
            await gate.wait()
            await commit(records, offsets, metadata)

        worker.runner.commit = slow  # type: ignore[method-assign, assignment]  # slowed down
        commit.__self__.fates = ["committed"]  # type: ignore[attr-defined]  # it is bound
        await worker.read(30)
        worker.publisher.assigned()
        turn = asyncio.create_task(worker.turn())
        while worker.publisher._idle.is_set():
            await asyncio.sleep(0.001)
        given_up = asyncio.create_task(worker.publisher.revoked())
        await asyncio.sleep(0.05)
        assert not given_up.done()
        assert not worker.publisher.is_owner, "nothing further is begun"
        gate.set()
        await asyncio.gather(turn, given_up)
        assert cluster.committed[0] == 30
        # Entries after that are no business of a worker that has given the log up.
        await worker.read(30)
        await worker.turn()
        assert cluster.committed[0] == 30

    asyncio.run(scenario())


def test_what_the_group_has_rejected_is_not_tried_again_in_that_generation(
    make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(3)

    async def scenario() -> None:
        worker = Worker(cluster)
        seen: list[bytes] = []

        async def rejected(records: Any, offsets: Any, metadata: bytes) -> None:
            seen.append(metadata)
            raise GenerationLost("the group has gone on", certain=True)

        worker.runner.commit = rejected  # type: ignore[method-assign]  # of another generation
        await worker.read(30)
        worker.publisher.assigned()
        for _ in range(3):
            await worker.turn()
        assert seen == [b"member"]
        worker.consumer.metadata = b"member of the next generation"
        await worker.turn()
        assert seen == [b"member", b"member of the next generation"]
        monkeypatch.setattr(log_publisher, "LOST_S", 0.0)
        worker.publisher._rejected_until = 0.0
        await worker.turn()
        assert len(seen) == 3, "a rejection that nothing follows is no reason to wait for ever"

    asyncio.run(scenario())


def test_a_worker_without_the_log_folds_no_monitor_and_publishes_nothing(
    make: Callable[[int], Cluster],
) -> None:
    cluster = make(4)

    async def scenario() -> None:
        worker = Worker(cluster)
        await worker.read(40)
        await worker.turn()
        assert worker.fold.next_offset == 40
        assert worker.publisher.next_offset == 0
        assert worker.publisher.measurements() == []
        assert not cluster.written

    asyncio.run(scenario())


def test_a_revision_is_opened_with_its_specification_for_people_whatever_that_says(
    make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = make(0).history
    (fold, *_) = [ModelFold(history.loaded.task, model, "runtime") for model in history.loaded.task.models]

    def text() -> str:
        request = Control("request", opening_request(history.context, fold), 1)
        command = history.codec.decode_control(history.codec.encode(request)).command
        return command.arguments[SPEC_TEXT]

    assert text() == fold.model.describe()
    monkeypatch.setattr(Model, "describe", lambda model: "\udfff" + "x" * 2_000_000)
    assert text().startswith("\\udfffxxx")
    assert len(text()) < 21_000
