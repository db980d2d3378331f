"""The comparison after a run: the workers' states, everything committed, every score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from agents.declared import environment_name
from infra.taskfile import LoadedTask, load_task
from schemas.errors import BrokerError
from tests.faults.check.check import Check
from tests.faults.context import FaultContext
from tests.faults.history import History

APPLIED_S: Final = 60.0
FOREIGN_LAG_S: Final = 60.0
"""How long another loop has to consume what is left."""


def check_run(loaded: LoadedTask, context: FaultContext, check: Check) -> History:
    """Stop the workers, read everything, and compare it with the plans.

    Raises
    ------
    BrokerError
        When the history cannot be read.
    """
    context.progress.wait_consumed()
    digests, skipped = _states(context)
    _stop(context)
    for what in context.progress.find_unfinished():
        check.findings.wrong.add(f"after all workers have stopped, {what}")
    started = time.monotonic()
    with _verifying(loaded.reference, context) as process:
        history = context.history.read(check)
        context.echo(f"history read in {time.monotonic() - started:.1f} s")
        found = [(loaded, _verified(process, context, check))]
    if context.rolled:
        changed = load_task(changed_reference(loaded))
        with _verifying(changed.reference, context) as process:
            found.append((changed, _verified(process, context, check)))
    _compare_reproduced(found, check)
    for name, states in digests.items():
        if states != history.digests:
            check.findings.wrong.add(f"{name} has the states {states}, a refold {history.digests}")
    expected = {model.name: context.skipped[model.name] for model in loaded.task.models}
    for name, counts in (skipped | {"a refold": history.skipped}).items():
        if counts != expected:
            check.findings.wrong.add(f"{name} has skipped {counts} entries, expected {expected}")
    check.finish(context.acknowledged)
    return history


def check_foreign_run(context: FaultContext, check: Check) -> History:
    """Compare what another loop has committed with the plans; its state is not compared.

    Raises
    ------
    BrokerError
        When the history cannot be read.
    """
    until = time.monotonic() + FOREIGN_LAG_S
    while context.progress.lag() and time.monotonic() < until:
        time.sleep(0.5)
    _stop(context)
    history = context.history.read(check)
    check.finish(with_state=False)
    return history


def _states(context: FaultContext) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, int]]]:
    """Request every worker's states once it has applied the log.

    Returns, by worker, the digests by version, and the entries skipped by model.
    """
    end = context.log_end()
    digests: dict[str, dict[str, str]] = {}
    skipped: dict[str, dict[str, int]] = {}
    for worker in context.running():
        path = f"/tasks/{worker.task}/digests"
        until = time.monotonic() + APPLIED_S
        # A commit's marker at the end of the log belongs to no entry.
        while (answer := worker.get(path))["next_offset"] < end - 2 and time.monotonic() < until:
            time.sleep(0.1)
        name = f"worker {worker.number}"
        digests[name] = {each["version"]: each["state"] for each in answer["models"]}
        models = worker.status()["models"]
        skipped[name] = {model: each["skipped"] for model, each in models.items()}
    return digests, skipped


def _stop(context: FaultContext) -> None:
    for worker in context.workers:
        worker.stop()


@contextmanager
def _verifying(reference: str, context: FaultContext) -> Iterator[subprocess.Popen[bytes]]:
    """Run `riverloop verify` in a process of its own, while this one reads the history."""
    connection = context.connection
    settings = {
        "bootstrap": connection.bootstrap,
        # By the environment, not the command line: other users of the machine can read that.
        "kafka_properties": "\n".join(f"{key}={value}" for key, value in connection.properties.items()),
    }
    environment = os.environ | {environment_name(key): value for key, value in settings.items()}
    snapshots = str(context.folder / "snapshots")
    command = [sys.executable, "-m", "agents.cli.main", "verify", reference]
    process = subprocess.Popen(
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


def _verified(process: subprocess.Popen[bytes], context: FaultContext, check: Check) -> dict[str, Any]:
    """Add the differences that `riverloop verify` has found; returns its report."""
    output, errors = process.communicate()
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise BrokerError(f"riverloop verify failed: {errors.decode(errors='replace')[-1000:]}") from None
    wrong = check.findings.wrong
    for each in found["failures"]:
        wrong.add(f"verify: {each['where']}: {each['what']}: {each['expected']} / {each['found']}")
    wrong.count += found["failed"] - len(found["failures"])
    due = found["predictions"]
    context.echo(f"verified in {found['seconds']:.1f} s: {due:,} predictions, {found['failed']} differences")
    return found


def _compare_reproduced(found: Sequence[tuple[LoadedTask, dict[str, Any]]], check: Check) -> None:
    """Check that each score is reproduced by the task file whose revision it is of."""
    due, reproduced = found[0][1]["predictions"], Counter[str]()
    for model in found[0][0].task.models:
        by_spec = {
            loaded.task.spec(loaded.task.model(model.name)): report["scores_reproduced"].get(model.name, 0)
            for loaded, report in found
        }
        reproduced[model.name] = sum(by_spec.values())
        if reproduced[model.name] != due:
            check.findings.wrong.add(
                f"verify reproduced {reproduced[model.name]} of {due} scores of {model.name}",
                due - reproduced[model.name],
            )


def changed_reference(loaded: LoadedTask) -> str:
    """Return the harness's task with the changed parameter."""
    return f"{loaded.reference.rpartition(':')[0]}:changed"
