"""The chain stays one chain whatever becomes of owners and transactions; an idle task writes nothing into it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.audit.checkpoints import Checkpoints, read_checkpoints
from infra.snapshots.store import SnapshotStore
from infra.task.audit_links import AuditLinks
from infra.task.command_desk import CommandDesk
from schemas.audit_link import AuditLink
from schemas.errors import UsageError
from schemas.records import Command, Control
from streams.audit import AuditChain, Checkpoint, Line
from streams.audit_check import AuditReport, check, compare
from tests.history import ordinary
from tests.unit.published import Cluster, Worker
from tests.unit.test_command_desk import ask, play

KEY = b"a key that signs checkpoints"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Cluster]:
    def made(seed: int) -> Cluster:
        cluster = Cluster(ordinary("commands"), SnapshotStore(str(tmp_path)), random.Random(seed))
        cluster.patch(monkeypatch)
        monkeypatch.setattr("infra.task.log_publisher.endings", lambda context, names: [])
        monkeypatch.setattr(CommandDesk, "open", read)
        return cluster

    def read(desk: CommandDesk) -> None:
        for message in control(desk_cluster(desk)):
            desk.take(message.at, message.value_bytes)
        desk._caught_up = desk._is_whole = True

    clusters = dict[str, Cluster]()

    def desk_cluster(desk: CommandDesk) -> Cluster:
        return clusters[desk.context.task.name]

    def kept(seed: int) -> Cluster:
        clusters["commands"] = made(seed)
        return clusters["commands"]

    return kept


def control(cluster: Cluster) -> list[Any]:
    return cluster.history.records[cluster.history.topics.control, 0]


def chain_of(cluster: Cluster) -> tuple[AuditChain, list[Line]]:
    chain, codec = AuditChain(), cluster.history.codec
    lines = [chain.take(codec.decode_audit(each.value_bytes), each.value_bytes) for each in control(cluster)]
    return chain, lines


@pytest.mark.parametrize("seed", range(10))
def test_owners_that_come_and_go_state_one_chain(seed: int, make: Callable[[int], Cluster]) -> None:
    cluster = make(seed)
    asyncio.run(play(cluster))
    chain, lines = chain_of(cluster)
    report = AuditReport()
    check(lines, report)
    assert report.findings == []
    assert report.not_linked == chain.to_link == chain.false_links == 0
    assert chain.links > 3
    # What a snapshot says of the chain is true.
    said = [(each.audit_size, each.audit_head) for each in cluster.manifests]
    assert max(size for size, _ in said) > 0
    compare(lines, [Checkpoint("commands", *each, 0) for each in said], report)
    assert report.findings == []


def test_an_idle_task_writes_nothing(make: Callable[[int], Cluster]) -> None:
    cluster = make(1)

    async def run() -> tuple[int, int]:
        worker = Worker(cluster)
        worker.runner.fates = ["committed"] * 100
        worker.publisher.assigned()
        await worker.read(1000)
        ask(cluster, Command("freeze", "window", {}, "ada", "odd outcomes", "c-1"))
        for _ in range(5):
            await worker.turn()
            await worker.read(1000)
            worker.publisher.desk.open()
        before, count = len(control(cluster)), len(worker.runner.metadata)
        for _ in range(5):
            worker.publisher.desk.open()
            await worker.turn()
        assert len(control(cluster)) == before
        return len(worker.runner.metadata) - count, before

    transactions, records = asyncio.run(run())
    assert transactions == 0
    assert records >= 4  # the revisions' audits, the request, its audit, and links


def next_link(links: AuditLinks, cluster: Cluster) -> AuditLink | None:
    """The link that is to be written now."""
    for each in links.next():
        link = cluster.history.codec.decode_audit(each.value)
        assert isinstance(link, AuditLink)
        return link
    return None


def test_a_link_is_written_once_while_it_is_on_its_way(make: Callable[[int], Cluster]) -> None:
    cluster = make(1)
    links = AuditLinks(cluster.history.context)
    request = Control("request", Command("freeze", "window", {}, "ada", "odd", "c-1"), 5)
    links.take(request, b"")
    link, again = next_link(links, cluster), next_link(links, cluster)  # the first transaction was aborted
    assert link is not None
    assert again is not None
    assert (again.size, again.head) == (1, link.head)
    links.written()
    links.take(request, b"")
    assert links.next() == []
    links.take(link, b"")
    further = next_link(links, cluster)
    assert further is not None
    assert (further.size, len(further.digests)) == (3, 2)


def test_checkpoints_are_signed_and_written_once_and_again_after_a_failure(
    tmp_path: Path, make: Callable[[int], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.task.audit_links.RETRY_S", 0.01)
    folder = tmp_path / "kept"
    folder.write_text("in the way")
    cluster = make(1)
    links = AuditLinks(cluster.history.context, Checkpoints(str(folder), KEY))

    async def run() -> None:
        links.take(Control("request", Command("freeze", "window", {}, "ada", "odd", "c-1"), 5), b"")
        link = next_link(links, cluster)
        assert link is not None
        links.take(link, b"")
        links.keep()
        await asyncio.sleep(0.05)
        folder.unlink()
        links.keep()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if folder.is_dir() and list(folder.glob("*.json")):
                break
        links.keep()
        links.close()

    asyncio.run(run())
    (found,) = read_checkpoints(str(folder), "commands")
    assert (found.size, found.head) == (1, links.chain.linked.head if links.chain.linked else "")
    assert found.is_signed_by(KEY)
    assert not found.is_signed_by(b"another key")
    assert not Checkpoint(found.task, 2, found.head, found.ts, found.signature).is_signed_by(KEY)
    (name,) = folder.iterdir()
    before = name.stat().st_mtime_ns
    Checkpoints(str(folder), KEY).write(found)
    assert [each.stat().st_mtime_ns for each in folder.iterdir()] == [before]
    Checkpoints(str(folder), KEY).write(Checkpoint("commands-eu", 7, "a" * 64, 5))
    assert read_checkpoints(str(folder), "commands") == [found]
    with pytest.raises(UsageError, match="is one of task commands, not of shop"):
        read_checkpoints(str(name), "shop")
    with pytest.raises(UsageError, match="needs a key"):
        Checkpoints(str(folder), b"")


def test_a_foreign_link_is_not_believed() -> None:
    chain = AuditChain()
    chain.take(Control("request", Command("freeze", "lr"), 5), None)
    chain.take(AuditLink(1, "f" * 64, ("e" * 64,), 6), None)
    assert (chain.covered, chain.false_links, chain.to_link) == (0, 1, 2)
