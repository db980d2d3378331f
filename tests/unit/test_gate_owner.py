"""The gate's decisions are commands of the log, once each, whatever becomes of owners and transactions."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.task.command_desk import CommandDesk
from infra.task.resume import Resume
from infra.taskfile import LoadedTask
from infra.verify.gate import GateProof
from infra.verify.report import Report
from schemas.errors import RecordsGone
from schemas.records import Command, Control, Entry
from streams.gate.lines import GateMonitor
from streams.rollout import CHALLENGER, GATE
from streams.snapshot.digest import state_digest
from tests import history
from tests.gate_task import Loop, events, make_task, quick
from tests.unit.published import Cluster, Worker

TASK: dict[str, Any] = {
    decide: make_task(quick(decide=decide, least=100, recent=100)) for decide in ("promote", "propose")
}
Make = Callable[[int, str], Cluster]


@cache
def facts(decide: str) -> tuple[Entry, ...]:
    """The entries of a loop whose challenger is better, and turns worse."""

    def scores(number: int, draw: random.Random) -> tuple[float, float]:
        return (0.1, 0.5) if number < 800 else (0.5, 0.1)

    loop = Loop(TASK[decide], obey=False).run(events(1500, scores))
    return tuple(each for each in loop.driver.log if each.command is None)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(seed: int, decide: str) -> Cluster:
        loaded = LoadedTask(TASK[decide], "scripted.py:task", Path(), ())
        monkeypatch.setattr(history, "make_task", lambda name: loaded)
        cluster = Cluster(history.History("scripted"), SnapshotStore(str(tmp_path)), random.Random(seed))
        cluster.patch(monkeypatch)

        def read(desk: CommandDesk) -> None:
            for message in cluster.history.records[cluster.history.topics.control, 0]:
                desk.take(message.at, message.value_bytes)
            desk._caught_up = desk.gate_desk._caught_up = True

        monkeypatch.setattr(CommandDesk, "open", read)
        return cluster

    return made


def feed(cluster: Cluster, left: list[Entry], count: int) -> None:
    """Let the joins write some entries."""
    topic, codec = cluster.history.topics.log, cluster.history.codec
    for entry in left[:count]:
        cluster.add(OutRecord(topic, b"e", codec.encode(entry), 0))
    del left[:count]


def approve(cluster: Cluster, worker: Worker) -> None:
    """Approve what a worker shows as waiting."""
    for each in worker.fold.models[0].roles.rollout.proposals.values():
        arguments = {"proposal": each.id, "digest": each.digest}
        command = Command("approve", "", arguments, "ada", "yes", f"yes-{each.id}", "token")
        value = cluster.history.codec.encode(Control("request", command, 5))
        cluster.add(OutRecord(cluster.history.topics.control, b"commands", value, 0))


async def play(cluster: Cluster, left: list[Entry]) -> list[Worker]:
    rng = cluster.rng
    workers, owner = [Worker(cluster), Worker(cluster)], 0
    workers[owner].publisher.assigned()
    while left:
        worker = workers[owner]
        what = rng.choice(("feed", "read", "read", "turn", "turn", "turn", "approve", "move", "restart"))
        if what == "feed":
            feed(cluster, left, rng.randrange(120))
        elif what == "read":
            await rng.choice(workers).read(rng.randrange(200))
        elif what == "turn":
            await worker.turn()
        elif what == "approve" and rng.random() < 0.5:
            approve(cluster, worker)
            worker.publisher.desk.open()
        elif what == "move" and rng.random() < 0.3:
            await worker.publisher.revoked()
            owner = 1 - owner
            workers[owner].publisher.assigned()
        elif what == "restart" and rng.random() < 0.3:
            workers[owner] = Worker(cluster)
            workers[owner].publisher.assigned()
    worker = workers[owner]
    worker.runner.fates = ["committed"] * 100
    for _ in range(12):
        worker.publisher.desk.open()
        await worker.read(1000)
        await worker.turn()
    await workers[1 - owner].read(10_000)
    await worker.read(10_000)
    return workers


def commands(cluster: Cluster) -> list[Command]:
    """The commands of the log but revisions."""
    found = [cluster.history.codec.decode_entry(each.value_bytes).command for each in cluster.log]
    return [each for each in found if each is not None and each.name != "revision"]


@pytest.mark.parametrize("decide", ["promote", "propose"])
@pytest.mark.parametrize("seed", range(4))
def test_each_decision_of_the_gate_is_in_the_log_once_with_its_audit(
    seed: int, decide: str, make: Make
) -> None:
    cluster = make(seed, decide)
    workers = asyncio.run(play(cluster, [*facts(decide)]))
    done = commands(cluster)
    assert set(Counter(each.id for each in done).values()) == {1}
    kept = cluster.history.records[cluster.history.topics.control, 0]
    controls = [cluster.history.codec.decode_audit(each.value_bytes) for each in kept]
    audits = [each for each in controls if isinstance(each, Control) and each.kind == "audit"]
    assert [each.command for each in audits if not each.rejected and each.command.name != "revision"] == done
    decided = [each for each in done if CHALLENGER in each.arguments]
    changes = {each.name for each in decided}
    assert changes >= ({"verdict", "share", "promote"} if decide == "promote" else {"verdict", "propose"})
    assert all(each.author == GATE and each.evidence for each in decided)

    report = Report("scripted")
    place = workers[0].fold.place
    proof = GateProof(TASK[decide], place, None, cluster.manifests, 0, report)
    alone = GateMonitor(TASK[decide])
    for message in cluster.log:
        entry = cluster.history.codec.decode_entry(message.value_bytes)
        proof.apply(message.at, entry)
        alone.apply(message.at, entry)
    proof.arrive(len(cluster.log))
    assert report.failures == []
    assert report.counts["decisions"] == len(decided)
    assert report.snapshots > 3, "states of the gate that owners have stored are compared"
    folds = [worker.fold.gate for worker in workers]
    assert {state_digest(each.snapshot()) for each in folds if each} == {state_digest(alone.snapshot())}


def test_a_worker_continues_from_the_gate_s_newest_state(make: Make) -> None:
    cluster = make(1, "promote")
    asyncio.run(play(cluster, [*facts("promote")]))
    newest = max(each.next_offset for each in cluster.manifests if each.model == "gate")
    again = Worker(cluster)
    assert again.fold.gate is not None
    assert again.fold.gate.next_offset == newest > 0


def test_where_the_log_is_cut_before_the_gate_s_state_it_begins_with_the_models(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(1, "promote")
    asyncio.run(play(cluster, [*facts("promote")]))
    monkeypatch.setattr("infra.task.log_fold.restore_monitors", lambda *about: 0)

    def start_of(resume: Resume, topic: str, offset: int) -> int:
        if offset == 0:
            raise RecordsGone("deleted")
        return offset

    monkeypatch.setattr(Resume, "start_of", start_of)
    again = Worker(cluster)
    gate, model = again.fold.gate, min(again.fold.models, key=lambda fold: fold.next_offset)
    assert gate is not None
    assert again.fold.next_offset == model.next_offset > 0
    assert gate.promotion.incumbent == model.roles.rollout.incumbent != ""
    assert gate.promotion.tests == {}
