"""Going back on a real broker: a rebuild takes over at one offset everywhere, though its owner dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.hooks import ASIDE_POINTS
from infra.kafka.connection import Connection
from schemas.records import Entry
from streams.leave_out import LeaveOut
from tests.integration.loops import Loop, Worker, hotel_task, until
from tests.integration.test_commands import assert_answers, done_commands, models

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
POINTS = ("in-command", *ASIDE_POINTS, "before-revision", "in-revision", "after-revision")


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with two models on two partitions."""
    file = hotel_task(tmp_path / "task", task_name, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, snapshot_every=200) as loop:
        yield loop


def state(worker: Worker, loop: Loop, model: str) -> dict[str, Any]:
    found = worker.get(f"/tasks/{loop.task.name}/digests")["models"]
    return next(each for each in found if each["model"] == model)


def without(loop: Loop, model: str, leave_out: LeaveOut, entries: list[tuple[int, Entry]]) -> str:
    """The digest of a model that was never given what is left out."""
    kept = [(at, each) for at, each in entries if each.command is not None or not leave_out.covers(at, each)]
    return loop.refold(loop.task.model(model), kept).learned_digest


def assert_rebuilt(loop: Loop, model: str, leave_outs: Sequence[LeaveOut]) -> None:
    """Check that a model has been rebuilt without each of some intervals, one after the other."""
    loop.assert_resolved()
    digests, entries = loop.assert_digests(), loop.entries()
    newest = f"{model}.{len(leave_outs) + 1}@"
    (digest,) = (digest for version, digest in digests.items() if version.startswith(newest))
    assert digest == without(loop, model, leave_outs[-1], entries)
    whole = loop.refold(loop.task.model(model), entries)
    assert digest != whole.digest
    opened = [
        each.command.arguments["left_out"]
        for _, each in entries
        if each.command and each.command.name == "revision" and "rollback" in each.command.arguments
    ]
    assert opened == [each.text for each in leave_outs], "each once"
    report = loop.verify()
    assert report.ok
    assert_answers(loop, report)
    assert report.reproduced[model] == report.counts["predictions"], "of all revisions, bit for bit"


def test_a_rebuild_is_done_once_wherever_its_owner_dies(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    reference = f"{hotel_task(tmp_path / 'task', task_name)}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, snapshot_every=200) as loop:
        owner, other = loop.owner_and_survivor()
        other.restart()
        leave_outs, ask, found = list[LeaveOut](), list[str](), dict[str, Any]()
        loop.play(loop.events(600))
        with loop.replaying(loop.events(8000, 600), 0.05, rest=False), ThreadPoolExecutor(1) as pool:
            for number, point in enumerate(POINTS):
                owner.start(crash_point=point)
                owner.wait_ready()
                until(lambda: owner.status()["owner"], 60, "it owns the log")
                interval, where = f"{100 + 10 * number}..300", "DepositType=No Deposit"
                leave_outs.append(LeaveOut.parse([interval], where))
                ask = ["rollback", "lr", "--mode", "rebuild", "--leave-out", interval, "--where", where]
                ask += ["--id", f"r-{number}", "--timeout", "150", "--wait"]
                asked = pool.submit(models, loop, *ask)
                assert owner.wait_ended() == -signal.SIGKILL, point
                found = asked.result()
                assert found["state"] == "done", point
            owner.restart()
            assert models(loop, *ask)["log_offset"] == found["log_offset"]
            loop.wait_for_more(50)
        assert_rebuilt(loop, "lr", leave_outs)
        assert "Traceback" not in owner.log + other.log


def test_a_rebuild_takes_over_in_all_workers_and_a_frozen_version_answers_bit_for_bit(loop: Loop) -> None:
    workers = loop.started(2)
    loop.play(loop.events(600))
    with loop.replaying(loop.events(8000, 600), 0.02, rest=False):
        early = state(workers[0], loop, "lr")
        loop.wait_for_more(200)
        plan = models(loop, "rollback", early["version"], "--mode", "freeze", "--dry-run")
        assert plan["version"] == early["version"]
        again = models(loop, "rollback", "lr", "--mode", "catch-up", code=1)
        assert "catching up would change nothing" in again["why"]
        models(loop, "rollback", early["version"], "--mode", "freeze", "--wait", "--timeout", "100")
        for worker in workers:
            assert state(worker, loop, "lr") == early
        workers[1].kill()
        workers[1].restart()
        assert state(workers[1], loop, "lr") == early
        loop.wait_for_more(100)
        assert early["version"] in loop.store_at(Path(str(loop.store.where(""))))
        resume = ("resume", "lr", "--catch-up", "--wait", "--timeout", "100")
        assert models(loop, *resume)["state"] == "done"
        rebuild = ("rollback", "ht", "--mode", "rebuild", "--leave-out", "100..300", "--wait")
        done = models(loop, *rebuild, "--timeout", "100")
        assert done["active"] == ["demo-0", "demo-1"]
        loop.wait_for_more(100)
    for worker in workers:
        assert "takes over from ht.1@" in worker.log
        assert "is folded in" not in worker.log, "its fold had followed the log"
        assert "Traceback" not in worker.log
    frozen = [each for _, each in done_commands(loop) if each.command and each.command.name == "freeze"]
    assert [each.command.arguments["version"] for each in frozen if each.command] == [early["version"]]
    assert_rebuilt(loop, "ht", [LeaveOut.parse(["100..300"])])
    never = [(at, each) for at, each in loop.entries() if each not in frozen]
    assert state(workers[0], loop, "lr")["state"] == loop.refold(loop.task.model("lr"), never).digest
