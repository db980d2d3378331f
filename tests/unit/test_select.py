from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys

from river import compose, linear_model, preprocessing

from streams.select import Select

X = {"a": 1.0, "b": 2.0, "c": "x", "d": 3.0}


def test_the_order_is_the_given_one() -> None:
    assert list(Select("d", "a", "b").transform_one(X)) == ["d", "a", "b"]


def test_a_missing_feature_is_skipped() -> None:
    assert Select("b", "nowhere", "a").transform_one(X) == {"b": 2.0, "a": 1.0}


def test_the_given_features_stay_as_they_were() -> None:
    x = dict(X)
    Select("a").transform_one(x)["a"] = 9.0
    assert x == X


def test_clones_copies_and_pickles_keep_the_order() -> None:
    selector = Select("d", "a", "b")
    for twin in (selector.clone(), copy.deepcopy(selector), pickle.loads(pickle.dumps(selector))):
        assert list(twin.transform_one(X)) == ["d", "a", "b"]
        assert repr(twin) == "Select('d', 'a', 'b')"


def test_it_works_in_pipelines_and_unions() -> None:
    numbers = Select("b", "a") | preprocessing.StandardScaler()
    model = (numbers + (Select("c") | preprocessing.OneHotEncoder())) | linear_model.LogisticRegression()
    for y in (True, False):
        model.learn_one(dict(X), y)
    twin = model.clone()
    assert isinstance(twin, compose.Pipeline)
    assert set(model["LogisticRegression"].weights) == {"b", "a", "c_x"}


UNION = """
import json
from river import compose, preprocessing
from streams.select import Select
union = (Select("b", "a") | preprocessing.StandardScaler()) + Select("c")
union += Select("d") | preprocessing.MinMaxScaler()
for part in (union, union.clone()):
    print(json.dumps(list(part.transform_one({"a": 1.0, "b": 2.0, "c": "x", "d": 3.0}))))
"""


def test_a_union_has_one_order_in_every_process() -> None:
    def orders(seed: str) -> list[list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", UNION],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    seen = [order for seed in ("1", "2", "3") for order in orders(seed)]
    assert seen == [["d", "c", "b", "a"]] * 6  # the last part's first: so River merges, everywhere
