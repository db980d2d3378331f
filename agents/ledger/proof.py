"""What must hold after a run: the workers' states, the history, every score, and how long it stood still."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agents.declared import environment_name
from agents.ledger.field import Field
from agents.ledger.report import Round
from infra.ledger.reading import History, Reader
from infra.taskfile import LoadedTask
from schemas.errors import BrokerError
from streams.ledger.check import Check

APPLIED_S = 60.0


def prove(loaded: LoadedTask, ground: Field, reader: Reader, check: Check) -> History:
    """Stop the workers, read everything, and compare it with what was planned.

    Raises
    ------
    BrokerError
        When the history cannot be read.
    """
    reader.settle()
    digests, passed_over = _digests(ground)
    _stop(ground)
    for what in reader.left_open():
        check.findings.wrong.add(f"after all workers have stopped, {what}")
    started = time.monotonic()
    with _verifying(loaded, ground) as verifying:
        history = reader.read(check)
        ground.say(f"history read in {time.monotonic() - started:.1f} s")
        _verified(verifying, loaded, ground, check)
    for name, told in digests.items():
        if told != history.digests:
            check.findings.wrong.add(f"{name} has the states {told}, a refold {history.digests}")
    due = {model.name: ground.passed_over[model.name] for model in loaded.task.models}
    for name, counts in (passed_over | {"a refold": history.passed_over}).items():
        if counts != due:
            check.findings.wrong.add(f"{name} has passed over {counts} entries, where {due} are due")
    check.finish(ground.acknowledged)
    return history


def prove_other(ground: Field, reader: Reader, check: Check, patience_s: float = 60.0) -> History:
    """Compare what another loop has left with what was planned; gives it `patience_s` to read what is left.

    Raises
    ------
    BrokerError
        When the history cannot be read.
    """
    until = time.monotonic() + patience_s
    while reader.unread() and time.monotonic() < until:
        time.sleep(0.5)
    _stop(ground)
    history = reader.read(check)
    check.finish(whole=False)
    return history


def _digests(ground: Field) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, int]]]:
    """Ask every worker for its states once it has applied the log.

    Gives, by worker, the digests by version, and how many entries each model has passed over.
    """
    end = ground.progress()
    told: dict[str, dict[str, str]] = {}
    passed_over: dict[str, dict[str, int]] = {}
    for worker in ground.running():
        path = f"/tasks/{worker.task}/digests"
        until = time.monotonic() + APPLIED_S
        # A commit's marker at the end of the log belongs to no entry.
        while (answer := worker.get(path))["next_offset"] < end - 2 and time.monotonic() < until:
            time.sleep(0.1)
        name = f"worker {worker.number}"
        told[name] = {each["version"]: each["state"] for each in answer["models"]}
        models = worker.status()["models"]
        passed_over[name] = {model: each["passed_over"] for model, each in models.items()}
    return told, passed_over


def _stop(ground: Field) -> None:
    for worker in ground.workers:
        worker.stop()


@contextmanager
def _verifying(loaded: LoadedTask, ground: Field) -> Iterator[subprocess.Popen[bytes]]:
    """Run `riverloop verify` beside, in a process of its own: the history is read here meanwhile."""
    connection = ground.connection
    told = {
        "bootstrap": connection.bootstrap,
        # By the environment, not the command line: other users of the machine can read that.
        "kafka": "\n".join(f"{key}={value}" for key, value in connection.properties.items()),
    }
    environment = os.environ | {environment_name(key): value for key, value in told.items()}
    snapshots = str(ground.folder / "snapshots")
    command = [sys.executable, "-m", "agents.cli.main", "verify", loaded.reference]
    process = subprocess.Popen(  # noqa: S603  our own command
        [*command, "--snapshots", snapshots, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _verified(process: subprocess.Popen[bytes], loaded: LoadedTask, ground: Field, check: Check) -> None:
    """Take down what `riverloop verify` has found."""
    output, errors = process.communicate()
    try:
        found = json.loads(output)
    except ValueError:
        raise BrokerError(f"riverloop verify failed: {errors.decode(errors='replace')[-1000:]}") from None
    wrong = check.findings.wrong
    for each in found["failures"]:
        wrong.add(f"verify: {each['where']}: {each['what']}: {each['expected']} / {each['found']}")
    wrong.count += found["failed"] - len(found["failures"])
    due = found["predictions"]
    for model in loaded.task.models:
        reproduced = found["scores_reproduced"].get(model.name, 0)
        if reproduced != due:
            wrong.add(f"verify reproduced {reproduced} of {due} scores of {model.name}", due - reproduced)
    ground.say(f"verified in {found['seconds']:.1f} s: {due:,} predictions, {found['failed']} differences")


def mark_times(rounds: Sequence[Round], history: History, pauses: Sequence[tuple[int, int]]) -> None:
    """Put on each round the longest gap in the log's progress that ended in it, and how late its facts were.

    Parameters
    ----------
    rounds
        In order.
    history
        When the log did not grow, and how long after the arrival of its outcome each fact was appended.
    pauses
        When nothing was sent, so that there was nothing to do (ms UTC); they do not count as gaps.
    """
    begins = [each.begins for each in rounds]
    for since, until in history.gaps:
        idle = sum(max(0, min(until, end) - max(since, begin)) for begin, end in pauses)
        if number := bisect_right(begins, until):
            struck = rounds[number - 1]
            struck.stall_ms = max(struck.stall_ms, until - since - idle)
    delays: list[list[int]] = [[] for _ in rounds]
    for appended, delay in zip(history.appended, history.delays, strict=True):
        if number := bisect_right(begins, appended):
            delays[number - 1].append(delay)
    for struck, each in zip(rounds, delays, strict=True):
        if each:
            each.sort()
            struck.fresh_p99_ms = each[len(each) * 99 // 100]
