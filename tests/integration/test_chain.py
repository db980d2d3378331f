"""Two tasks in a chain: each prediction of the first is one request of the second, whoever dies."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.inbound import CHAINED, header
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.replay import Replay
from infra.taskfile import load_task
from schemas.records import Prediction, Request
from streams.chain import answers_before
from streams.driver import MemoryDriver
from tests.chained import Link, chained_task, play
from tests.integration.loops import Loop, Worker, invoked, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@dataclass
class Chain:
    """Both loops; the workers are the first's, and work for both."""

    fraud: Loop
    appeal: Loop

    sent: int = 0
    """Requests that were sent."""

    def play(
        self,
        tick: Callable[[], None] = lambda: None,
        complete: Callable[[Loop, int], None] | None = None,
    ) -> None:
        """Play the file, in lockstep with `complete`; see `Link`."""
        with ExitStack() as stack:
            links = []
            for loop in (self.fraud, self.appeal):
                about = (loop.connection, loop.codec, loop.topics)
                answers = stack.enter_context(closing(Answers(*about, loop.partitions)))
                waits = None if complete is None else partial(complete, loop)
                links.append(Link(loop.task, loop.loaded.events(), Replay(*about, answers), waits))

            def ticked() -> None:
                self.sent = links[0].replay.requests
                tick()

            play(*links, events=self.fraud.loaded.events(), tick=ticked)

    def worker(self, *, lockstep: bool = False) -> Worker:
        return self.fraud.worker(self.appeal.loaded.reference, lockstep=lockstep)


@contextmanager
def chain_of(broker: Broker, folder: Path, name: str, count: int, partitions: int) -> Iterator[Chain]:
    file = chained_task(folder / "task", name, count)
    connection = Connection(broker.bootstrap)
    about = (connection, folder, partitions)
    settings: dict[str, Any] = {"group": name, "max_batch": 25}
    with (
        Loop(f"{file}:fraud", *about, **settings) as fraud,
        Loop(f"{file}:appeal", *about, **settings) as appeal,
    ):
        yield Chain(fraud, appeal)


def predictions(loop: Loop) -> dict[str, tuple[str, Prediction]]:
    """Give the predictions of each request, of which there is one, with their places."""
    found: dict[str, tuple[str, Prediction]] = {}
    for number in range(loop.partitions):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            prediction = loop.codec.decode_prediction(message.value())
            assert prediction.request_id not in found
            found[prediction.request_id] = (
                f"{loop.topics.predictions}[{number}]@{message.offset()}",
                prediction,
            )
    return found


def requests(loop: Loop) -> list[tuple[str, Request]]:
    """Give the requests that were made of predictions, with the places of these."""
    return [
        ((header(message, CHAINED) or b"").decode(), loop.codec.decode_request(message.value()))
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.requests, number)
    ]


COUNT = 900
DEATHS = (
    *("between-map-and-commit:2", "between-map-and-commit:3", "between-produce-and-commit:6"),
    *("after-predict:5", "between-map-and-commit:2"),
)


def test_each_prediction_is_one_request_whoever_is_killed(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    with chain_of(broker, tmp_path, task_name, COUNT, 3) as chain:
        play_with_deaths(chain)
        assert_made_once(chain)
        assert_traced(chain, tmp_path)


def play_with_deaths(chain: Chain) -> None:
    """Play all events, while workers die at points of their transactions and start again."""
    workers, points, starts = [chain.worker(), chain.worker()], iter(DEATHS), Counter[str]()

    def keep_alive() -> None:
        time.sleep(0.004)
        for worker in workers:
            if not worker.running:
                point = next(points, "")
                starts[point] += 1
                worker.start(**({"crash_point": point} if point else {}))

    chain.play(keep_alive)
    keep_alive()
    assert starts[""] >= len(workers), "each has died at its last point"


def assert_made_once(chain: Chain) -> None:
    """Compare the requests of the second task with the answers of the first, one by one."""
    fraud, appeal = chain.fraud, chain.appeal
    answered = predictions(fraud)
    made = requests(appeal)
    assert Counter(place for place, _ in made) == Counter(place for place, _ in answered.values())
    for place, request in made:
        _, answer = answered[request.request_id]
        assert answered[request.request_id][0] == place
        served = answer.scores[0]
        assert request.features == {"amount": answer.features["amount"], "fraud_score": served.score}
        assert (request.ts, request.parents) == (answer.ts, (f"{fraud.task.name}/{served.version}",))
    for _, prediction in predictions(appeal).values():
        [before] = answers_before(prediction.parents, appeal.task.after)
        assert before == {
            "task": fraud.task.name,
            "version": answered[prediction.request_id][1].scores[0].version,
        }
    assert fraud.dead_letters() + appeal.dead_letters() == []
    for loop in (fraud, appeal):
        until(partial(_joined, loop), 60, "everything is joined")
        assert set(loop.resolutions().values()) == {1}
        loop.assert_verified()


def _joined(loop: Loop) -> bool:
    return loop.resolutions().total() >= COUNT


def assert_traced(chain: Chain, folder: Path) -> None:
    """What is recorded of a request of the second task leads back to the first."""
    place, answer = predictions(chain.fraud)["p-7"]
    about = (chain.appeal.loaded.reference, "p-7", "--bootstrap", chain.appeal.connection.bootstrap)
    data: dict[str, Any] = {"RIVERLOOP_DATA_FOLDER": str(folder / "audit")}
    found = json.loads(invoked("audit", "request", *about, "--json", **data))
    assert [each["made_of"] for each in found["requests"]] == [place]
    served = {"task": chain.fraud.task.name, "version": answer.scores[0].version}
    assert found["predictions"][0]["after"] == [served]
    printed = invoked("audit", "request", *about, COLUMNS="300", **data)
    assert f"{served['task']} answered with {served['version']}" in printed


def test_in_lockstep_both_tasks_equal_their_backtests_through_kills(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    with chain_of(broker, tmp_path, task_name, 120, 1) as chain:
        fraud, appeal = chain.fraud, chain.appeal
        events, theirs = fraud.loaded.events(), appeal.loaded.events()
        worker = chain.worker(lockstep=True)
        worker.restart()
        deaths = [20, 60]

        def complete(loop: Loop, offset: int) -> None:
            if deaths and chain.sent >= deaths[0]:
                deaths.pop(0)
                worker.kill()
                worker.restart()
            worker.get(f"/tasks/{loop.task.name}/versions?complete={offset}&wait_s=60", 90.0)

        chain.play(complete=complete)
        assert deaths == []
        for loop, asked in ((fraud, events), (appeal, theirs)):
            driver = MemoryDriver(loop.task, keep_log=False)
            expected = {each.request_id: each.scores[0].score for each in driver.run(asked)}
            assert {key: each.scores[0].score for key, (_, each) in predictions(loop).items()} == expected
            [model] = worker.get(f"/tasks/{loop.task.name}/digests")["models"]
            assert model["state"] == driver.models[0].digest
        lag = f'riverloop_lag_records{{task="{appeal.task.name}",topic="{fraud.topics.predictions}"}}'
        until(lambda: lag in worker.metrics, 30, "the lag on the predictions is exported")
        state = f"/tasks/{appeal.task.name}/live/state"
        until(
            lambda: worker.get(state)["worker"]["lag"].get(fraud.topics.predictions) == 0,
            30,
            "the page has it",
        )


def test_a_chain_is_checked_before_it_runs(broker: Broker, tmp_path: Path, task_name: str) -> None:
    file = chained_task(tmp_path, task_name, 30)
    loop = Loop(f"{file}:appeal", Connection(broker.bootstrap), tmp_path)
    with loop:
        worker = loop.worker()
        worker.start()
        assert worker.wait_ended() == 2
        assert f"{task_name}-appeal comes after task {task_name}-fraud, which has no topics" in worker.log
    shown = invoked("topics", "show", f"{file}:appeal")
    assert shown.startswith(f"after: {task_name}-fraud.predictions -> {task_name}-appeal.requests, ")
    for command in ("produce", "demo"):
        invoked(command, f"{file}:appeal", "--bootstrap", broker.bootstrap, code=1)
    assert load_task(f"{file}:appeal").task.after is not None
