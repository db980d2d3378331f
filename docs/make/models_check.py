"""What the load check says of each of River's estimators; `python -m docs.make.models_check` records it.

It takes some minutes, so what it finds is kept in `docs/reference/models.json`, of which `docs.make.reference`
makes the page. `tests/unit/test_snapshot_zoo.py` sees each estimator do the same again, in one process.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from river import base, compose, feature_extraction, linear_model, utils

from docs.make.models_cases import ARGUMENTS, MADE_OF, TEXT, WITH
from docs.make.state_classes import PACKAGES
from infra.loadcheck import HASH_SEEDS, read_exercise
from schemas.dictionary import Category, Dictionary, Feature, Number
from schemas.errors import RiverloopError
from streams.exercise import exercise
from streams.loadcheck import compare
from streams.select import Select
from streams.task import Task
from streams.task_model import Model

RECORD: Final = Path(__file__).resolve().parents[1] / "reference" / "models.json"
EXAMPLES: Final = 120
_NUMBERS: Final[tuple[Feature, ...]] = (
    Number(name="size", low=0, high=10),
    Number(name="price", low=0, high=5),
    Number(name="age", low=0),
)
FEATURES: Final[dict[str, Dictionary]] = {
    "any": Dictionary(*_NUMBERS, Category(name="shop")),
    "numbers": Dictionary(*_NUMBERS),
    "text": Dictionary(*_NUMBERS, Category(name="text", levels=("a good one", "late again", "not so bad"))),
}
"""By what an estimator takes."""
PLAIN, SEED = "", "a seed"
CHILD: Final = "--child"


class Trial(NamedTuple):
    """One way to make an estimator, and what it is asked."""

    name: str
    """As River's users know it: `tree.HoeffdingTreeClassifier`."""
    kind: str
    features: str
    """A key of `FEATURES`."""
    way: str
    """What it has beyond the defaults."""

    def make(self) -> Any:
        """Make a model with the estimator."""
        return _model(_made(self.name, self.way), self.features)


@cache
def estimators() -> dict[str, Any]:
    """Return River's public estimators by name, and its two wrappers of statistics."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"river.{package}")
        for name in getattr(module, "__all__", ()):
            kind = getattr(module, name, None)
            if isinstance(kind, type) and issubclass(kind, base.Estimator) and package != "base":
                found[f"{package}.{name}"] = kind
    return found | {f"utils.{name}": getattr(utils, name) for name in ("Rolling", "TimeRolling")}


def _made(name: str, way: str) -> Any:
    if way not in (PLAIN, SEED):
        return WITH[name][1]()
    if name in MADE_OF:
        return MADE_OF[name]()
    kind = estimators()[name]
    arguments = dict(next(iter(kind._unit_test_params()))) | (ARGUMENTS[name]() if name in ARGUMENTS else {})
    if _has_seed(kind):
        arguments["seed"] = 1 if way == SEED else None
    return kind(**arguments)


def _has_seed(kind: Any) -> bool:
    return "seed" in inspect.signature(kind.__init__).parameters


def _model(made: Any, features: str) -> Any:
    """Return a model with a transformer or a statistic in it, and with counts of words where it takes them."""
    if isinstance(made, utils.Rolling | utils.TimeRolling):
        made = feature_extraction.Agg(on="size", by=None, how=made)
    if features == "text" and not getattr(made, "on", None):
        made = feature_extraction.BagOfWords(on="text") | made
    last = getattr(made, "_last_step", made)
    if isinstance(last, base.Transformer | base.SupervisedTransformer):
        numbers = Select("size", "price", "age")
        made = (made + numbers if made is last else made) | linear_model.LogisticRegression()
    if isinstance(made, compose.TransformerUnion):
        return made | linear_model.LogisticRegression()
    return made


def trials(name: str) -> Iterator[Trial]:
    """Yield the ways in which an estimator is tried, those that ask less of its user first."""
    ways = [PLAIN, *([SEED] if _has_seed(estimators()[name]) else ()), *WITH.get(name, ())[:1]]
    kinds = _kinds(name, ways[-1])
    for features in ("text",) if name in TEXT else ("any", "numbers"):
        for way in ways:
            for kind in kinds:
                yield Trial(name, kind, features, way)


def _kinds(name: str, way: str) -> tuple[str, ...]:
    """Return what an estimator may be asked; a transformer is tried before a classifier of two classes."""
    try:
        made = _made(name, way)
    except Exception:  # it needs something that is not here, and the trial says so
        return ("binary",)
    last = getattr(made, "_last_step", made)
    if isinstance(last, base.Regressor):
        return ("regression",)
    pipeline = isinstance(made, compose.Pipeline)
    return ("binary", "multiclass") if isinstance(last, base.Classifier) and not pipeline else ("binary",)


def tried(trial: Trial) -> dict[str, Any]:
    """Return what this process sees of a trial: an exercise, or why there is none."""
    features, asked = FEATURES[trial.features], {"kind": trial.kind}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = Model("m", trial.make)
            Task(name="m", question="", features=features, horizon=timedelta(1), models=(model,), **asked)  # type: ignore[arg-type]
        except RiverloopError as error:
            return {"unsuited": str(error)}
        try:
            return {
                "exercise": dataclasses.asdict(
                    exercise(trial.make, features, trial.kind, EXAMPLES, model="m")
                )
            }
        except RiverloopError as error:
            return {"error": str(error)}


def why_refused(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return why the load check refuses what two processes saw of a trial; empty when it does not."""
    for key in ("unsuited", "error"):
        if key in one:
            return str(one[key])
    try:
        compare(read_exercise(one["exercise"]), read_exercise(other["exercise"]))
    except RiverloopError as error:
        return str(error)
    return ""


def main() -> None:
    """Try every estimator, or those named, in two processes and record what comes of it."""
    names = [name for name in sys.argv[1:] if name != CHILD] or list(estimators())
    if CHILD in sys.argv:
        print(json.dumps([tried(trial) for name in names for trial in trials(name)]))
        return
    command = [sys.executable, "-m", "docs.make.models_check", CHILD, *names]
    seen = []
    for seed in HASH_SEEDS:
        done = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True, check=True
        )
        seen.append(json.loads(done.stdout))
    pairs = zip(*seen, strict=True)
    known = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    for name in names:
        known[name] = _verdict({trial: why_refused(*next(pairs)) for trial in trials(name)})
    RECORD.write_text(json.dumps({name: known[name] for name in estimators()}, indent=1) + "\n", "utf-8")


def _verdict(found: dict[Trial, str]) -> dict[str, Any]:
    """Return what is recorded of an estimator: the way that asks least, or the reason of the last that suits."""
    accepted = [trial for trial, why in found.items() if not why]
    if accepted:
        first = accepted[0]
        kinds = [trial.kind for trial in accepted if trial[2:] == first[2:]]
        plain = [why for trial, why in found.items() if why and trial.kind == first.kind]
        return {
            "with": first.way,
            "features": first.features,
            "kinds": kinds,
            "otherwise": _short(plain[0]) if plain else "",
        }
    kind = next(iter(found)).kind
    trial = [each for each in found if each.kind == kind][-1]
    why = found[trial]
    return {"refused": _short(why), "features": trial.features, "kinds": [trial.kind], "with": trial.way}


def _short(why: str) -> str:
    """Return a refusal without the model's name and the example."""
    why = re.sub(r"^(task 'm', )?model 'm':? ?(is not reproducible: )?", "", why)
    return re.sub(r" \((synthetic )?example \d+.*", "", why, flags=re.DOTALL)


if __name__ == "__main__":
    main()
