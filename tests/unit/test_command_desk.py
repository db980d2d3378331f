"""Commands are decided once, whatever becomes of owners and transactions; entry and audit go together."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.kafka.buffers import Partition
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.task.command_desk import CommandDesk
from schemas.records import Command, Control, Entry
from streams.command_queue import CommandQueue
from streams.shares import UNIT
from streams.snapshot.digest import state_digest
from tests.history import ordinary
from tests.unit.published import Cluster, Worker

SHARES = {"share.lr": "0.75", "share.window": "0.25"}
WANTED = [
    Command("freeze", "window", {}, "ada", "odd outcomes", "c-1"),
    Command("share", "", SHARES, "ada", "first step", "c-2"),
    Command("share", "", SHARES, "bob", "first step", "c-3"),  # rejected, if it comes second
    Command("resume", "window", {"mode": "skip"}, "ada", "they were wrong", "c-4"),
    Command("promote", "no-such-model", {}, "ada", "a mistake", "c-5"),  # rejected
    Command("promote", "window", {}, "ada", "", "c-6"),  # rejected: no reason
    Command("promote", "window", {}, "ada", "better", "c-7"),
    Command("retire", "lr", {}, "ada", "replaced", "c-8"),
]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Cluster]:
    def made(seed: int) -> Cluster:
        cluster = Cluster(ordinary("commands"), SnapshotStore(str(tmp_path)), random.Random(seed))
        cluster.patch(monkeypatch)
        monkeypatch.setattr("infra.task.log_publisher.endings", lambda context, names: [])

        def read(desk: CommandDesk) -> None:
            for message in cluster.history.records[cluster.history.topics.control, 0]:
                desk.take(message.at, message.value_bytes)
            desk._caught_up = desk._is_whole = True

        monkeypatch.setattr(CommandDesk, "open", read)
        return cluster

    return made


def ask(cluster: Cluster, command: Command) -> None:
    value = cluster.history.codec.encode(Control("request", command, 5))
    cluster.add(OutRecord(cluster.history.topics.control, b"commands", value, 0))


def controls(cluster: Cluster) -> list[Control]:
    kept = cluster.history.records[cluster.history.topics.control, 0]
    found = [cluster.history.codec.decode_audit(each.value_bytes) for each in kept]
    return [each for each in found if isinstance(each, Control)]


def entries(cluster: Cluster) -> list[tuple[int, Entry]]:
    decoded = ((each.at, cluster.history.codec.decode_entry(each.value_bytes)) for each in cluster.log)
    return [(at, entry) for at, entry in decoded if entry.command and entry.command.id]


async def play(cluster: Cluster) -> list[Worker]:
    rng, asked = cluster.rng, [*WANTED, *cluster.rng.sample(WANTED, 3)]
    workers, owner = [Worker(cluster), Worker(cluster)], 0
    workers[owner].publisher.assigned()
    for step in range(250):
        worker = workers[owner]
        what = rng.choice(("read", "read", "read", "turn", "turn", "turn", "ask", "move", "restart"))
        if what == "read":
            await rng.choice(workers).read(rng.randrange(12))
        elif what == "turn":
            await worker.turn()
        elif what == "ask" and asked and step % 3 == 0:
            ask(cluster, asked.pop(0))
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
    for command in asked:
        ask(cluster, command)
    for _ in range(40):
        worker.publisher.desk.open()
        await worker.read(1000)
        await worker.turn()
    await workers[1 - owner].read(1000)
    return workers


@pytest.mark.parametrize("seed", range(10))
def test_each_command_is_decided_once_whatever_becomes_of_owners_and_transactions(
    seed: int, make: Callable[[int], Cluster]
) -> None:
    cluster = make(seed)
    workers = asyncio.run(play(cluster))
    audits = [each for each in controls(cluster) if each.kind == "audit"]
    assert Counter(each.command.id for each in audits) == Counter(each.id for each in WANTED)
    done = [each for each in audits if not each.rejected]
    # The same commands, in the same order, with the same arguments.
    assert [(each.entry_id, each.command) for each in done] == [
        (entry.entry_id, entry.command) for _, entry in entries(cluster)
    ]
    rejected = {each.command.id: each.rejected for each in audits if each.rejected}
    assert set(rejected) == {"c-3", "c-5", "c-6"}
    assert "the task file has no model 'no-such-model'" in rejected["c-5"]
    assert "needs a reason" in rejected["c-6"]
    assert {each.command.author for each in audits} == {"ada", "bob"}
    folds = [fold for worker in workers for fold in worker.fold.models]
    assert len({state_digest(fold.roles.snapshot()) for fold in folds}) == 1
    roles = folds[0].roles
    assert roles.answering == {"window": UNIT}
    assert roles.role("lr").retired_at == entries(cluster)[-1][0]
    assert [fold.left_out_text != "" for fold in workers[0].fold.models] == [False, True]


def test_a_command_is_written_with_its_audit_and_its_offset_in_one_transaction(
    make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(1)
    transactions: list[tuple[list[str], dict[Partition, int]]] = []
    write = cluster.write

    def noted(records: list[OutRecord], offsets: dict[Partition, int], note: str) -> None:
        transactions.append(([each.topic for each in records], dict(offsets)))
        write(records, offsets, note)

    monkeypatch.setattr(cluster, "write", noted)

    async def run() -> None:
        worker = Worker(cluster)
        worker.runner.fates = ["committed"] * 100
        worker.publisher.assigned()
        await worker.read(1000)
        ask(cluster, WANTED[0])
        await worker.turn()

    asyncio.run(run())
    topics = cluster.history.topics
    (found,) = [each for each in transactions if {topics.log, topics.control} <= set(each[0])]
    assert found[1][Partition(topics.control, 0)] == 1


def test_the_age_of_a_request_is_known_until_it_is_decided(
    make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(0)
    desk = CommandDesk(Worker(cluster).publisher.context, lambda: None)
    assert desk.asked_s() is None, "nothing is read yet: the audit may follow"
    monkeypatch.setattr("infra.task.command_desk.now_ms", lambda: 61_005)
    ask(cluster, WANTED[0])
    desk.open()
    assert desk.asked_s() == 61.0
    desk.queue.decided(WANTED[0].id, "entry")
    assert desk.asked_s() == 0.0


def test_audits_that_were_lost_are_restored_before_anything_is_decided(
    make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has made `T.control` again."""
    cluster = make(3)
    promote = Command("promote", "window", {}, "ada", "better", "c-7")

    def of_the_log(*_: object) -> Iterator[tuple[int, Control]]:
        for each in cluster.log:
            entry = cluster.history.codec.decode_entry(each.value_bytes)
            if entry.command is not None:
                yield each.at, Control("audit", entry.command, entry.ts, entry.entry_id)

    monkeypatch.setattr("infra.task.command_desk.log_commands", of_the_log)

    async def play() -> None:
        worker = Worker(cluster)
        desk = worker.publisher.desk
        worker.publisher.assigned()
        worker.runner.fates = ["committed"] * 100
        ask(cluster, WANTED[0])
        for _ in range(10):
            desk.open()
            await worker.read(1000)
            await worker.turn()
        cluster.history.records[cluster.history.topics.control, 0].clear()
        desk.queue, desk._is_whole = CommandQueue(), False
        ask(cluster, promote)
        for _ in range(10):
            for message in cluster.history.records[cluster.history.topics.control, 0]:
                desk.take(message.at, message.value_bytes)
            await worker.read(1000)
            await worker.turn()
            await asyncio.sleep(0.02)

    asyncio.run(play())
    audits = [each for each in controls(cluster) if each.kind == "audit"]
    assert [(each.entry_id, each.command) for each in audits] == [
        (each.entry_id, each.command) for _, each in of_the_log()
    ]
    assert [each.command.id for each in audits if each.command.id] == ["c-1", "c-7"]
    assert len(audits) > 2
