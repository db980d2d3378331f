"""Pipelines that River's users write: each one's answer of the load check, as their task file gets it.

Two of scikit-learn's are left out, which is not among what riverloop installs, and one whose refusal needs more
examples (`test_models_of_users.py` has another of its kind).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.taskfile import load_task
from schemas.errors import RiverloopError
from streams.exercise import exercise
from streams.loadcheck import compare

PIPELINES: list[dict[str, str]] = json.loads(Path(__file__).with_name("pipelines.json").read_text("utf-8"))
EXAMPLES = 40
HEAD = """
from datetime import timedelta
from river import (active, anomaly, bandit, base, cluster, compat, compose, conf, drift, dummy, ensemble, facto,
    feature_extraction, feature_selection, forest, imblearn, linear_model, metrics, model_selection, multiclass,
    naive_bayes, neighbors, optim, preprocessing, proba, reco, rules, stats, time_series, tree, utils)
from schemas import Category, Dictionary, Number
from streams import Model, Select, Task
def num(): return Select("a", "b")
def cat(): return Select("c") | preprocessing.OneHotEncoder()
def allf(): return (num() | preprocessing.StandardScaler()) + cat()
LR, LIN = linear_model.LogisticRegression, linear_model.LinearRegression
"""
TAIL = """
task = Task(name="m", kind={kind!r}, question="", horizon=timedelta(hours=1), models=(Model("m", build),),
    features=Dictionary(Number(name="a"), Number(name="b"), Category(name="c"), Category(name="text"),
        Category(name="user"), Category(name="item")))
"""


def checked(file: Path) -> None:
    """Check the model of a task file in this process, once more where it draws without a seed."""
    loaded = load_task(str(file))
    task = loaded.task

    def once() -> Any:
        make = task.models[0].make
        return exercise(make, task.features, task.kind, EXAMPLES, model="m", classes=loaded.classes)

    found = once()
    compare(found, once() if found.unseeded else found)
    assert task.spec(task.models[0]) == task.spec(task.models[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda each: each["name"])
def test_a_pipeline_is_accepted_or_refused_with_a_cure(pipeline: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "task.py"
    build = f"{pipeline['before']}\ndef build(): return {pipeline['code']}\n"
    file.write_text(HEAD + build + TAIL.format(kind=pipeline["kind"]))
    if not pipeline["answer"]:
        checked(file)
        return
    with pytest.raises(RiverloopError) as caught:
        checked(file)
    assert "model 'm'" in str(caught.value)
    assert pipeline["answer"] in str(caught.value)
