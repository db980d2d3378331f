"""A shadow whose code raises while it learns, through a real broker: nobody else notices, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.runtime import runtime_fingerprint
from schemas.alert import Alert
from schemas.records import Outcome, Request
from streams import Event, Task
from streams.learning_alerts import alerts_of
from streams.model import ModelFold
from tests.integration.loops import Loop, no_traceback, until
from tests.integration.test_commands import models as command

pytestmark = pytest.mark.kafka

TASK_FILE = """
from datetime import timedelta
from pathlib import Path
from river import linear_model, preprocessing, tree
from schemas import Dictionary, Number
from streams import Model, Select, Task

def regression():
    return Select("y") | preprocessing.StandardScaler() | linear_model.LogisticRegression()

class Hungry(tree.HoeffdingTreeClassifier):
    def learn_one(self, x, y, w=1.0):
        super().learn_one(x, y)
        if x["x"] == 77 and Path("{folder}/hungry").exists():
            raise MemoryError
        if x["x"] == 88:
            raise ValueError

def hoeffding_tree():
    return Hungry(grace_period=20, max_depth=10)

def make(name, **more):
    return Task(
        name=name, question="Will it?", features=Dictionary(Number(name="x"), Number(name="y")),
        horizon=timedelta(days=1), models=(Model("lr", regression), Model("ht", hoeffding_tree)), **more,
    )

hurt = make("{name}-hurt")
other = make("{name}-other")
often = make("{name}-often", max_skipped=300)
"""


def task_file(folder: Path, name: str) -> Path:
    file = folder / "task.py"
    file.write_text(TASK_FILE.replace("{name}", name).replace("{folder}", str(folder)))
    return file


def alerts(loop: Loop) -> list[Alert]:
    """Read what the owner has published of models that do not learn."""
    found = read_all(loop.connection, loop.topics.alerts)
    return [loop.codec.decode_alert(each.value()) for each in found if each.key() == b"learning"]


def refolded(loop: Loop) -> dict[str, ModelFold]:
    folds = {each.name: ModelFold(loop.task, each, runtime_fingerprint()[0]) for each in loop.task.models}
    for offset, entry in loop.entries():
        for fold in folds.values():
            fold.apply(offset, entry)
    return folds


def events(task: Task, first: int, count: int, huge: int = -1, x: float = 1e200) -> list[Event]:
    found = []
    for n in range(first, first + count):
        ts, request_id = 1_700_000_000_000 + n * 1000, f"r{n}"
        value = x if n == huge else n * 7 % 11 / 3
        features = task.features.canonical({"x": value, "y": n % 13 / 5})
        found.append(
            Event(Request(request_id, ts, features), (Outcome(request_id, ts + 5000, n * 7 % 11 > 4),))
        )
    return found


def test_a_shadow_that_raises_costs_only_itself(broker: Broker, tmp_path: Path, task_name: str) -> None:
    file = task_file(tmp_path, task_name)
    connection = Connection(broker.bootstrap)
    with (
        Loop(f"{file}:hurt", connection, tmp_path, snapshot_every=100) as loop,
        Loop(f"{file}:other", connection, tmp_path) as other,
    ):
        worker = loop.worker(other.loaded.reference)
        other.workers.append(worker)

        def models() -> Any:
            return worker.get(f"/tasks/{loop.task.name}/status")["models"]

        worker.restart()
        loop.play(events(loop.task, 0, 300, huge=150))
        until(lambda: models()["ht"]["skipped"], 60, "the entry is skipped")
        (entry,) = models()["ht"]["newest_skipped"]
        assert entry["request_id"] == "r150"
        assert models()["ht"]["stopped"] is None
        assert models()["lr"]["skipped"] == 0
        assert f"ht skips log offset {entry['offset']}, request r150: " in worker.log
        until(lambda: alerts(loop), 30, "it is published")
        with other.replaying(events(other.task, 0, 50)):
            pass  # another task of the same worker answers all of them

        digests = loop.assert_digests()
        worker.stop()
        worker.restart()
        assert loop.assert_digests() == digests
        assert models()["ht"]["newest_skipped"] == [entry]
        loop.play(events(loop.task, 300, 50))
        report = loop.assert_verified()
        assert report.skipped["ht"]["newest"] == [entry]
        assert report.snapshots > 0
        assert "Traceback" not in worker.log
        (published,) = alerts(loop)
        reported = {"offset": published.log_offset, "request_id": published.request_id}
        assert reported | {"exception": published.exception} == entry
        assert (published.state, published.severity, published.model) == ("opened", "info", "ht")

        # The process that rebuilds meets the example, too.
        rebuild = ("rollback", "ht", "--mode", "rebuild", "--leave-out", "10..12", "--wait")
        assert command(loop, *rebuild, "--timeout", "100")["state"] == "done"
        loop.play(events(loop.task, 350, 20))
        assert loop.assert_verified().skipped["ht"]["newest"] == [entry]


def test_what_is_skipped_is_published_once_whoever_owns_the_log_and_a_revision_ends_it(
    broker: Broker, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 6)
    file = task_file(tmp_path, task_name)
    settings = {"max_batch": 20, "metrics_every_ms": 1, "snapshot_every": 100}
    with Loop(f"{file}:often", Connection(broker.bootstrap), tmp_path, **settings) as loop:
        first, second = loop.owner_and_survivor()
        # It dies with alerts written, and not committed.
        first.start(crash_point="between-publish-and-commit:12")
        first.wait_ready()
        troubled = with_trouble(events(loop.task, 0, 400), lambda n: n % 3 == 1)
        with loop.replaying(troubled):
            second.start()
            assert first.wait_ended(60) < 0
        loop.assert_resolved()
        until(loop.published, 60, "everything is published")
        folds = refolded(loop)
        expected = [*alerts_of(folds["ht"], 1)]
        assert len(expected) > 100
        assert folds["lr"].learner.skipped == 0
        until(lambda: len(alerts(loop)) >= len(expected), 30, "all alerts are published")
        assert alerts(loop) == expected
        second.stop()

        # Another specification: what it does not learn of the log either comes with its opening.
        file.write_text(file.read_text().replace("grace_period=20", "grace_period=30"))
        third = loop.worker()
        third.restart()
        until(loop.published, 60, "everything is published")
        mine = alerts(loop)[len(expected) :]
        assert (mine[0].state, mine[0].episode, mine[0].text) == (
            "closed",
            expected[-1].episode,
            "A new revision of ht is opened.",
        )
        opened = [each for each in mine[1:] if each.version.startswith("ht.2@")]
        assert opened == mine[1:]
        assert [each.log_offset for each in opened] == [each.log_offset for each in expected]
        no_traceback(third)


def with_trouble(found: list[Event], troubled: Callable[[int], bool]) -> list[Event]:
    """Give events of which some have a value at which the tree raises, when it has learned it."""
    return [
        replace(each, request=replace(each.request, features={**each.request.features, "x": 88.0}))
        if troubled(n)
        else each
        for n, each in enumerate(found)
    ]


def test_no_snapshot_is_taken_of_a_model_by_a_worker_that_fails_in_an_entry(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    file = task_file(tmp_path, task_name)
    with Loop(f"{file}:other", Connection(broker.bootstrap), tmp_path, snapshot_every=10_000) as loop:
        worker = loop.worker()
        worker.restart()
        loop.play(events(loop.task, 0, 150, huge=120, x=77))
        (tmp_path / "hungry").touch()
        with loop.replaying(events(loop.task, 150, 1, huge=150, x=77)):
            pass
        assert worker.wait_ended(60) == 71  # EX_OSERR: there is no memory left
        assert "MemoryError" in worker.log
        assert [each.version for each in loop.store.manifests(loop.task.name) if each.kind == "model"] == []

        (tmp_path / "hungry").unlink()
        worker.restart()
        digests = loop.assert_digests()
        until(lambda: worker.status()["owner"])
        worker.stop()
        stored = {each.version: each for each in loop.store.manifests(loop.task.name) if each.kind == "model"}
        assert {version: each.state_digest for version, each in stored.items()} == digests
        assert loop.assert_verified().skipped == {}


MODELS_OF_USERS = """
from datetime import timedelta
from river import (base, compose, ensemble, facto, feature_extraction, feature_selection, linear_model, naive_bayes,
                   preprocessing, stats, tree, utils)
from schemas import Category, Dictionary, Number
from streams import Model, Select, Task, pure
from {helper} import Largest, ratio

LR = linear_model.LogisticRegression

def words(): return feature_extraction.BagOfWords(on="text", stop_words={"a", "so"}) | naive_bayes.MultinomialNB()
def tfidf(): return feature_extraction.TFIDF(on="text") | LR()
def topics():
    return feature_extraction.BagOfWords(on="text") | pure(preprocessing.LDA(n_components=2, seed=1)) | LR()
def included():
    return feature_extraction.BagOfWords(on="text") | pure(feature_selection.PoissonInclusion(0.2, seed=1)) | LR()
def factors(): return pure(facto.FMClassifier(n_factors=3, seed=1))
def fields(): return pure(facto.FFMClassifier(n_factors=3, seed=1))
def rolling(): return feature_extraction.Agg(on="x", by="shop", how=utils.Rolling(stats.Mean, 5)) | LR()
def over_time():
    how = utils.TimeRolling(stats.Mean, period=timedelta(seconds=40))
    return (feature_extraction.TargetAgg(by="shop", how=how) + Select("x")) | preprocessing.StandardScaler() | LR()
def imported(): return (compose.FuncTransformer(ratio) + Largest()) | LR()
def forest(): return Select("x") | ensemble.BaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=2, seed=1)

models = (words, tfidf, topics, included, factors, fields, rolling, over_time, imported, forest)
task = Task(
    name="{name}", question="Will it?", horizon=timedelta(days=1),
    features=Dictionary(Number(name="x", low=0), Category(name="shop"), Category(name="text")),
    models=tuple(Model(build.__name__.replace("_", "-"), build) for build in models),
)
"""
HELPER = """
from river import base

def ratio(x):
    return {"ratio": x["x"] / (1 + x["x"])}

class Largest(base.Transformer):
    def __init__(self):
        self.seen = 0.0
    def learn_one(self, x):
        self.seen = max(self.seen, x["x"])
    def transform_one(self, x):
        return {"largest": self.seen}
"""
TEXTS = ("a good one", "late again", "not so bad", "good and late", "bad")


def test_models_that_rivers_users_write_go_through_worker_kill_restart_and_verify(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    helper = f"helper_of_{task_name.replace('-', '_')}"
    (tmp_path / f"{helper}.py").write_text(HELPER)
    file = tmp_path / "task.py"
    file.write_text(MODELS_OF_USERS.replace("{name}", task_name).replace("{helper}", helper))
    with Loop(str(file), Connection(broker.bootstrap), tmp_path, snapshot_every=50) as loop:

        def made(first: int, count: int) -> list[Event]:
            found = []
            for n in range(first, first + count):
                features = {"x": n * 7 % 11 / 3, "shop": "abc"[n * n % 3], "text": TEXTS[n * 3 % 5]}
                ts, request_id = 1_700_000_000_000 + n * 1000, f"r{n}"
                outcome = Outcome(request_id, ts + 5000, n * 7 % 11 > 4)
                request = Request(request_id, ts, loop.task.features.canonical(features))
                found.append(Event(request, (outcome,)))
            return found

        worker = loop.worker()
        worker.restart()
        loop.play(made(0, 120))
        digests = loop.assert_digests()
        assert len(digests) == 10
        worker.kill()
        worker.restart()
        assert loop.assert_digests() == digests
        loop.play(made(120, 20))
        report = loop.assert_verified()
        assert report.snapshots > 0
        assert report.skipped == {}
        assert "Traceback" not in worker.log
