"""Requests made of another task's predictions: what may be declared, and what comes of a prediction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from river import dummy, stats

from agents.cli.main import riverloop
from infra.taskfile import load_task
from schemas.dictionary import Boolean, Category, Dictionary, Number
from schemas.errors import BadRecord, TaskError
from schemas.records import Prediction, Score
from streams.chain import After, answers_before
from streams.driver import MemoryDriver
from streams.task import Task
from streams.task_model import Model
from tests.chained import PAGE, chained_task
from tests.pages import blocks, write_files

SCORE = Score("lr", 1, 4211, 0.25, False)
ANSWER = Prediction(
    "p-1", 5_000, {"amount": 3.0, "hour": 4.0}, (SCORE,), entity_key="c-1", parents=("of a service",)
)


def task(name: str = "fraud", *features: Any, **more: Any) -> Task:
    dictionary = Dictionary(
        *(features or (Number(name="amount"), Number(name="hour"))), **more.pop("about", {})
    )
    models: Any = (Model("none", dummy.NoChangeClassifier),)
    if more.get("kind") == "regression":
        models = (Model("none", lambda: dummy.StatisticRegressor(stats.Mean())),)
    about: dict[str, Any] = {"name": name, "question": "?", "horizon": timedelta(days=1), "models": models}
    return Task(features=dictionary, **(about | more))


def second(after: After, *features: Any, **more: Any) -> Task:
    return task("appeal", *features, about={"parents": "none"} | more, after=after)


def test_a_request_has_the_answer_the_version_and_the_features_of_that_name() -> None:
    after = After(task(), score="risk", label="risky")
    appeal = second(after, Number(name="amount"), Number(name="risk"), Boolean(name="risky"))
    request = after.request(ANSWER, appeal.features)
    assert (request.request_id, request.ts) == ("p-1", 5_000)
    assert request.features == {"amount": 3.0, "risk": 0.25, "risky": False}
    # The entity key passes in plain only; the lineage that a service has sent does not.
    assert (request.entity_key, request.parents) == (None, ("fraud/lr.1@4211",))
    plain = After(task(about={"entity_key": "none"}), score="risk")
    assert plain.request(ANSWER, second(plain, Number(name="risk")).features).entity_key == "c-1"


def test_a_chain_of_three_records_both_versions() -> None:
    appeal = second(After(task(), score="risk"), Number(name="risk"))
    after = After(appeal, score="odds")
    third = task("refund", Number(name="odds"), about={"parents": "none"}, after=after)
    answer = replace(
        ANSWER, features={"risk": 0.25}, scores=(Score("ht", 2, 9, 0.5, True),), parents=("fraud/lr.1@4211",)
    )
    request = after.request(answer, third.features)
    assert request.parents == ("fraud/lr.1@4211", "appeal/ht.2@9")
    assert answers_before((*request.parents, "noise", "other/lr.1@1"), third.after) == [
        {"task": "fraud", "version": "lr.1@4211"},
        {"task": "appeal", "version": "ht.2@9"},
    ]


def test_without_an_answer_the_dictionary_decides() -> None:
    silent = replace(ANSWER, scores=(replace(SCORE, score=None, label=None),))
    after = After(task(), score="risk")
    with pytest.raises(BadRecord, match="risk"):
        after.request(silent, second(after, Number(name="risk")).features)
    optional = second(after, Number(name="amount"), Number(name="risk", missing=0.5)).features
    assert after.request(silent, optional).features == {"amount": 3.0, "risk": 0.5}


@pytest.mark.parametrize(
    ("after", "features", "words"),
    [
        (After(task()), [Number(name="risk")], "needs score= or label="),
        (After(task(), score="risk"), [Category(name="risk")], "'risk' must be a Number"),
        (After(task(), score="risk"), [Number(name="amount")], "'risk' must be a Number"),
        (After(task(), label="risky"), [Category(name="risky")], "'risky' must be a Boolean"),
        (
            After(task(), score="risk"),
            [Number(name="risk"), Number(name="age")],
            "age must be a number of task fraud",
        ),
        (After(task(kind="multiclass"), score="risk"), [Number(name="risk")], "each of its classes"),
        (After(task(kind="regression"), label="risky"), [Boolean(name="risky")], "predicts a number"),
        (
            After(task("fraud", Category(name="card", personal_data="tokenised")), score="risk"),
            [Number(name="risk"), Category(name="card")],
            "feature card is personal data",
        ),
        ("fraud", [Number(name="risk")], r"must be After\(task"),
    ],
)
def test_a_chain_that_cannot_be_is_rejected(after: Any, features: list[Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        second(after, *features)


def test_the_version_needs_a_place() -> None:
    with pytest.raises(TaskError, match="parents='none'"):
        task("appeal", Number(name="risk"), after=After(task(), score="risk"))


def test_a_file_gives_the_requests_that_the_first_task_would_have_given(tmp_path: Path) -> None:
    file = chained_task(tmp_path, "t", 60)
    fraud, appeal = (load_task(f"{file}:{name}") for name in ("fraud", "appeal"))
    events = appeal.events()
    served = [*MemoryDriver(fraud.task, keep_log=False).run(fraud.events())]
    assert [each.request.features["fraud_score"] for each in events] == [
        each.scores[0].score for each in served
    ]
    assert [each.request.request_id for each in events] == [f"p-{number}" for number in range(60)]
    rows = [line.split(",") for line in (tmp_path / "orders.csv").read_text().splitlines()[1:]]
    assert [each.outcomes[0].value for each in events] == [row[5] == "yes" for row in rows]
    assert len({each.request.features["fraud_score"] for each in events}) > 30
    assert appeal.events(limit=7) == events[:7]


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    [block] = blocks(PAGE, "sh")
    printed = ""
    for line in block.text.strip().splitlines():
        done = CliRunner().invoke(riverloop, line.split()[1:], env={"XDG_CACHE_HOME": str(tmp_path)})
        assert done.exit_code == 0, done.output
        printed += done.stdout
    assert "after: fraud.predictions -> appeal.requests, appeal.dead-letters" in printed
    assert len(printed) > 100
