"""The log's owner publishes once what the models do not learn: after aborts, as the next owner, by revision."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.settings import Settings
from infra.snapshots.store import SnapshotStore
from schemas.alert import Alert
from streams.learning_alerts import alerts_of
from streams.learning_steps import FAMILY
from streams.model import ModelFold
from streams.revisions import Revision
from streams.skipped import SkippedEntry
from tests.history import History
from tests.unit.published import Cluster, Worker


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Cluster]:
    def made(seed: int) -> Cluster:
        cluster = Cluster(History("skipping"), SnapshotStore(str(tmp_path)), random.Random(seed))
        cluster.settings = Settings(metrics_every_ms=1, snapshot_every=10**9)  # states are made by hand here
        cluster.patch(monkeypatch)
        monkeypatch.setattr("infra.task.revisions.read_all", lambda *_: iter(()))
        return cluster

    return made


def skip(fold: ModelFold, offset: int) -> None:
    fold.learner.skip(SkippedEntry(offset, f"r{offset}", "OverflowError"), offset * 1000)


def go_on(worker: Worker, offset: int) -> None:
    """Let the folds have come to an offset, without entries."""
    worker.fold.next_offset = offset
    if worker.publisher.is_owner:
        worker.publisher.next_offset = offset


async def owner_of(cluster: Cluster) -> Worker:
    """Make a worker that owns the log, and has read it to the end."""
    worker = Worker(cluster)
    await worker.read(1000)
    worker.publisher.assigned()
    await worker.publisher._take_over()
    return worker


def learning(cluster: Cluster) -> list[Alert]:
    return [each for each in cluster.alerts if each.family == FAMILY]


@pytest.mark.parametrize("seed", range(6))
def test_each_step_is_published_once_whatever_becomes_of_owners_and_transactions(
    seed: int, make: Callable[[int], Cluster]
) -> None:
    cluster = make(seed)
    rng = cluster.rng

    async def scenario() -> None:
        worker = await owner_of(cluster)
        at = worker.fold.next_offset
        passed: list[tuple[int, int]] = []
        for _ in range(60):
            for offset in range(at, at + rng.randrange(6)):
                if rng.random() < 0.4:
                    passed.append((rng.randrange(2), offset))
                    skip(worker.fold.models[passed[-1][0]], offset)
                at = offset + 1
            go_on(worker, at)
            if rng.random() < 0.8:
                await worker.turn()
            if rng.random() < 0.2:  # it dies, and another one comes to the same state
                worker = await owner_of(cluster)
                for model, offset in passed:
                    skip(worker.fold.models[model], offset)
                go_on(worker, at)
        worker.runner.fates = ["committed"] * 10
        while worker.publisher.published < at:
            await worker.turn()
        for number, fold in enumerate(worker.fold.models):
            mine = [each for each in learning(cluster) if each.model == fold.model.name]
            newest = [*alerts_of(fold, 1)]
            assert mine[-len(newest) :] == newest
            offsets = [each.log_offset for each in mine if each.signal == "skipped"]
            assert offsets == [offset for model, offset in passed if model == number]

    asyncio.run(scenario())


def test_nothing_is_published_that_the_reader_has_not_come_to(make: Callable[[int], Cluster]) -> None:
    cluster = make(1)

    async def scenario() -> None:
        worker = await owner_of(cluster)
        worker.runner.fates = ["committed"] * 10
        skip(worker.fold.models[1], 9)  # restored from a newer snapshot than the other one
        go_on(worker, 5)
        await worker.turn()
        assert learning(cluster) == []
        go_on(worker, 10)
        await worker.turn()
        assert [each.log_offset for each in learning(cluster)] == [9]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("note", "offsets"),
    [('{"lr.1":6}', [8]), ("", []), ("from somebody", []), ("6", []), ("{}", [5, 8]), ('{"lr.1":"x"}', [])],
)
def test_a_note_that_is_lost_leaves_steps_out_and_repeats_none(
    note: str, offsets: list[int], make: Callable[[int], Cluster]
) -> None:
    cluster = make(1)
    cluster.committed = (9, note)

    async def scenario() -> None:
        worker = await owner_of(cluster)
        worker.runner.fates = ["committed"] * 10
        skip(worker.fold.models[0], 5)
        skip(worker.fold.models[0], 8)
        go_on(worker, 20)
        await worker.turn()
        assert [each.log_offset for each in learning(cluster)] == offsets

    asyncio.run(scenario())


def published(cluster: Cluster) -> list[tuple[str, int]]:
    return [(each.version.partition("@")[0], each.log_offset) for each in learning(cluster)]


def test_a_revision_brings_all_that_it_has_skipped_and_they_are_not_published_again(
    make: Callable[[int], Cluster],
) -> None:
    cluster = make(1)

    async def scenario() -> None:
        cluster.committed = (9, '{"lr.1":9,"window.1":9}')
        worker = await owner_of(cluster)
        worker.runner.fates = ["committed"] * 10
        first, second = worker.fold.models
        for fold in (first, second):
            skip(fold, 5)
            skip(fold, 20)
        first.revision = None  # its specification is new, and the log has been folded anew for it
        go_on(worker, 30)
        await worker.turn()
        assert published(cluster) == [("window.1", 20)]
        assert cluster.committed == (30, '{"lr.1":9,"window.1":30}')
        first.revision = Revision(2, 30, first.spec, first.runtime)
        go_on(worker, 31)
        await worker.turn()
        assert published(cluster)[1:] == [("lr.2", 5), ("lr.2", 20)]
        assert cluster.committed == (31, '{"lr.1":9,"lr.2":31,"window.1":31}')
        skip(first, 31)
        go_on(worker, 32)
        await worker.turn()
        assert published(cluster)[3:] == [("lr.2", 31)]

    asyncio.run(scenario())
