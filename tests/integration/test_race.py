"""A race on a real broker: the owner promotes the leader itself; workers die, and `verify` makes it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli.tune import tune
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from streams.race.history import from_log
from streams.rollout import GATE
from tests.integration.loops import Loop, hotel_task, invoked
from tests.integration.test_gate import GATED, audits, decided, die, watched

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
RACING = dict(GATED) | {
    "from streams import DataFile,": "from streams import DataFile, Grid, Race,",
    # The champion alone, and a grid that has the better intercept for half of the requests.
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False))[:1],\n"
    "    challengers=Grid(models(DefaultAtHorizon(False))[0], {'intercept': (-1.0, 3.0)}, sample=0.5),\n"
    "    gate=Race(least=100, recent=100),",
}


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task with a bad champion and a grid of challengers, on two partitions."""
    file = hotel_task(tmp_path / "task", task_name, RACING, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, 2, snapshot_every=100) as loop:
        yield loop


def test_the_leader_of_a_race_answers_once_though_owners_die_and_verify_makes_it_again(
    loop: Loop, tmp_path: Path
) -> None:
    one, two = loop.worker(), loop.worker()
    with loop.replaying(loop.events(2500), 0.05):
        die(loop)  # in a decision of the race
        two.restart()
        watched(loop, "promoted", "lr-1-0")
    changes = [(each.name, each.model, each.author) for each in decided(loop) if each.name == "promote"]
    assert changes == [("promote", "lr-1-0", GATE)]
    once = Counter(each.id for each in decided(loop))
    assert set(once.values()) == {1}
    assert Counter(each.command.id for each in audits(loop) if not each.rejected) == once
    sizes = {len(entry.prediction.scores) for _, entry in loop.entries() if entry.prediction is not None}
    assert sizes == {1, 2, 3}  # none of the sampled ones, one that answers and none, all
    loop.assert_digests()
    report = loop.verify()
    assert report.failures == []
    assert report.counts["decisions"] == len(
        [each for each in decided(loop) if each.author == GATE and each.name != "pause"]
    )
    assert "Traceback" not in one.log + two.log
    assert_tunes_alike(loop, tmp_path)
    assert_on_the_card(loop)


def assert_on_the_card(loop: Loop) -> None:
    """The leader's card has the race as its decisions in the log have it."""
    command = ("models", "card", loop.loaded.reference, "lr-1-0", "--bootstrap", loop.connection.bootstrap)
    store = ("--snapshots", loop.store.uri)
    contest = json.loads(invoked(*command, *store, "--json"))["contest"]
    assert {each["model"]: each["status"] for each in contest["leaderboard"]}["lr-1-0"] == "leads"
    assert len(contest["leaderboard"]) == len(loop.task.models)
    (promoted,) = [each for each in decided(loop) if each.name == "promote"]
    said = [each for each in contest["decisions"] if each["action"] == "promote"]
    evidence = json.loads(promoted.evidence)
    assert [each["labelled"] for each in said] == [evidence["n"]]
    assert {each["against"] for each in contest["challengers"]} == {"lr-1-0.1"}
    text = invoked(*command, *store)
    for heading in (
        "## Race",
        "### Challengers",
        "### What the race has said",
        "### Rollout",
        "## Decisions",
    ):
        assert f"{heading}\n" in text


def assert_tunes_alike(loop: Loop, folder: Path) -> None:
    """A tuning run over the same log gives the scores that were served, and the same leader."""
    where = ("--bootstrap", loop.connection.bootstrap, "--out", str(folder / "tuned"), "--json")
    command = ("--from-log", "--burn-in", "100", "--jobs", "1", *where)
    found, again = (
        json.loads(CliRunner().invoke(tune, [loop.loaded.reference, *command]).stdout) for _ in range(2)
    )
    assert found["leaderboard"][0]["model"] == "lr-1-0"
    assert (again["digest"], again["reused"] > found["reused"]) == (found["digest"], True)
    (file,) = (folder / "tuned" / loop.task.spec(loop.task.model("lr"))).glob("*.json")
    scores = json.loads(file.read_text())["scores"]
    history = from_log(loop.entries())
    made = dict(zip((each.request_id for each in history.requests), scores, strict=True))
    for _, entry in loop.entries():
        if entry.prediction is not None:
            served = {each.model: each.score for each in entry.prediction.scores}
            assert made[entry.prediction.request_id] == served["lr"]
