"""A gate on a real broker: it proposes, a person approves, workers die; each decision is in the log once."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.hooks import COMMAND_POINTS
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.errors import BadRecord
from schemas.records import Command, Control
from streams.rollout import CHALLENGER, GATE, PROPOSAL
from streams.rollout_status import CODES
from tests.integration.loops import Loop, hotel_task, invoked

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
GATED = {
    "from streams import DataFile,": "from streams import DataFile, Gate,",
    # Two models that learn next to nothing, so that the better one is better however far labels lag.
    "def logistic_regression(learning_rate):": "def logistic_regression(intercept):",
    "LogisticRegression(optim.SGD(learning_rate))": "LogisticRegression(optim.SGD(1e-9), "
    "intercept_init=intercept, intercept_lr=1e-9)",
    '"learning_rate": 0.01': '"intercept": 2.0',
    'Model("ht", hoeffding_tree, {"max_depth": 100}, policy)': 'Model("ht", logistic_regression, '
    '{"intercept": -1.0}, policy)',
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False)),\n"
    '    gate=Gate(decide="propose", least=100, recent=1000, steps=(10, 100), hold=timedelta(0)),',
}


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with a bad champion, a better challenger and a gate, on two partitions."""
    file = hotel_task(tmp_path / "task", task_name, GATED, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, snapshot_every=100) as loop:
        yield loop


def models(loop: Loop, *arguments: str, code: int | None = 0) -> dict[str, Any]:
    """Run `riverloop models` against the loop's cluster in this process; gives what it prints as JSON."""
    where = ("--group", str(loop._settings["group"]), "--bootstrap", loop.connection.bootstrap, "--json")
    found: dict[str, Any] = json.loads(invoked("models", *arguments, *where, code=code))
    return found


def watched(loop: Loop, state: str, model: str = "ht") -> dict[str, Any]:
    """Wait until the challenger's rollout needs a person, or ends; gives its status."""
    code = CODES[state]
    found = models(
        loop, "rollout", "status", loop.loaded.reference, model, "--watch", "--timeout", "200", code=code
    )
    assert found["models"][0]["state"] == state
    return found


def approve(loop: Loop, proposal: str) -> dict[str, Any]:
    """Approve a proposal; while labels are missing, which a burst of requests looks like, ask again."""
    until_s = time.monotonic() + 300
    for number in count():
        asked = ("--reason", "the evidence is clear", "--id", f"yes-{number}-{proposal}", "--timeout", "300")
        found = models(loop, "approve", loop.loaded.reference, proposal, *asked, code=None)
        if found.get("why") != "label outage" or time.monotonic() > until_s:
            return found
        time.sleep(2.0)
    raise AssertionError


def decided(loop: Loop) -> list[Command]:
    """All commands of the log but the first revisions."""
    found = [entry.command for _, entry in loop.entries() if entry.command is not None]
    return [each for each in found if each.name != "revision"]


def audits(loop: Loop) -> list[Control]:
    found = []
    for message in read_all(loop.connection, loop.topics.control):
        try:
            record = loop.codec.decode_control(message.value())
        except BadRecord:
            continue  # a worker's report
        if record.kind == "audit" and record.command.id and record.command.name != "revision":
            found.append(record)
    return found


def die(loop: Loop) -> None:
    """Let one owner after the other die at its own point of a command; each is the only worker."""
    for number, point in enumerate(COMMAND_POINTS[:3]):
        worker = loop.workers[number % 2]
        worker.start(crash_point=point)
        assert worker.wait_ended(240) == -signal.SIGKILL, point


def test_a_gate_proposes_a_person_approves_and_each_decision_is_done_once_though_owners_die(
    loop: Loop,
) -> None:
    one, two = loop.worker(), loop.worker()
    # Outcomes follow their requests closely at this pace: a faster one looks like a label outage.
    with loop.replaying(loop.events(1500), 0.05):
        die(loop)  # in the gate's first decision
        two.restart()
        (proposal,) = watched(loop, "waits for approval")["proposals"]
        assert (proposal["by"], proposal["change"]) == (GATE, "share ht=0.100000 lr=0.900000")
    two.kill()
    (proposal,) = watched(loop, "waits for approval")["proposals"]
    with loop.replaying(loop.events(2500, skip=1500), 0.05), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(approve, loop, proposal["id"])
        die(loop)  # in the approval
        two.restart()
        assert asked.result()["state"] == "done"
        (last,) = watched(loop, "waits for approval")["proposals"]
        assert last["change"] == "promote ht"
        assert approve(loop, last["id"])["state"] == "done"
        watched(loop, "promoted")
    assert_recorded(loop, proposal["id"])
    loop.assert_digests()
    report = loop.verify()
    assert report.failures == []
    own = [each for each in decided(loop) if each.name in {"propose", "verdict"}]
    assert report.counts["decisions"] == len(own)
    assert [each for each in loop.store.manifests(loop.task.name) if each.model == "gate"]
    assert "Traceback" not in one.log + two.log


def assert_recorded(loop: Loop, first: str) -> None:
    """Check that each decision is in the log once, with its audit and its evidence."""
    commands = decided(loop)
    changes = [(each.name, each.author) for each in commands if each.name not in {"verdict", "pause"}]
    person = commands[[each.name for each in commands].index("approve")].author
    assert changes[:6] == [
        *(("propose", GATE), ("approve", person), ("share", GATE)),
        *(("propose", GATE), ("approve", person), ("promote", GATE)),
    ]
    for each in commands:
        assert each.evidence or each.name in {"approve", "pause"}
        if each.name in {"propose", "verdict"}:
            evidence = json.loads(each.evidence)
            assert loop.task.gate is not None
            assert evidence["gate"] == loop.task.gate.digest
            assert {"cohorts", "n", "estimate", "low", "high", "e_better", "harms"} <= set(evidence)
            assert each.arguments[CHALLENGER].partition(".")[0] in {"ht", "lr"}
    share = next(each for each in commands if each.name == "share")
    assert (share.arguments[PROPOSAL], share.arguments["approver"]) == (first, person)
    once = Counter(each.id for each in commands)
    assert set(once.values()) == {1}
    assert Counter(each.command.id for each in audits(loop) if not each.rejected) == once
