"""Feature code from modules beside a task file: allowed by name, and part of the specification."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import infra.loadcheck
from infra.imports import imported
from infra.taskfile import load_task
from schemas.errors import TaskError
from streams.snapshot import dump, load

TASK = """
from datetime import timedelta
from river import compose, linear_model
from schemas import Dictionary, Number
from streams import Model, Task
from {helper} import Longest, ratio

def build():
    return (compose.FuncTransformer(ratio) + Longest()) | linear_model.LogisticRegression()

task = Task(name="t", question="", features=Dictionary(Number(name="a", low=0), Number(name="b", low=0)),
            horizon=timedelta(1), models=(Model("m", build),))
"""
HELPER = """
from river import base
from {helper}_inner.parts import half

def ratio(x):
    return {{"ratio": x["a"] / (1 + half(x["b"]))}}

class Seen:
    def __init__(self):
        self.value = 0.0

class Longest(base.Transformer):
    def __init__(self):
        self.seen = None
    def learn_one(self, x):
        self.seen = self.seen or Seen()
        self.seen.value = max(self.seen.value, x["a"])
    def transform_one(self, x):
        return {{"longest": self.seen.value if self.seen else 0.0}}
"""


def write(folder: Path, helper: str, divisor: int = 2) -> Path:
    (folder / f"{helper}_inner").mkdir(parents=True, exist_ok=True)
    (folder / f"{helper}_inner" / "__init__.py").write_text("")
    (folder / f"{helper}_inner" / "parts.py").write_text(
        f"from . import more\ndef half(x): return x / {divisor}\n"
    )
    (folder / f"{helper}_inner" / "more.py").write_text("import json\n")
    (folder / f"{helper}.py").write_text(HELPER.format(helper=helper))
    (folder / "task.py").write_text(TASK.format(helper=helper))
    return folder / "task.py"


def spec_elsewhere(file: Path) -> str:
    code = (
        "import sys; from infra.taskfile import load_task; t = load_task(sys.argv[1]).task; "
        "print(t.spec(t.models[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_model_of_imported_code_is_stored_and_its_sources_are_in_the_specification(tmp_path: Path) -> None:
    file = write(tmp_path, "helper_of_one")
    loaded = load_task(str(file))
    task = loaded.task
    spec = task.spec(task.models[0])
    model: Any = task.models[0].make()
    for number in range(5):
        model.learn_one({"a": float(number), "b": 1.0}, number % 2 == 0)
    restored = load(dump(model), task.models[0].make(), loaded.classes)
    assert restored.predict_proba_one({"a": 2.0, "b": 1.0}) == model.predict_proba_one({"a": 2.0, "b": 1.0})
    assert spec_elsewhere(file) == spec
    write(tmp_path, "helper_of_one", divisor=3)  # what the helper imports
    changed = spec_elsewhere(file)
    assert changed != spec
    (tmp_path / "unused.py").write_text("x = 1\n")
    assert spec_elsewhere(file) == changed


def test_the_load_check_passes_it_in_both_processes(tmp_path: Path) -> None:
    assert infra.loadcheck.check_task(str(write(tmp_path, "helper_of_two")), examples=20)["m"]


def test_two_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    load_task(str(write(tmp_path / "one", "helper_of_three")))
    other = write(tmp_path / "other", "helper_of_three")
    with pytest.raises(TaskError, match=r"has loaded another module 'helper_of_three' .*another name"):
        load_task(str(other))


def test_what_is_installed_counts_by_its_version(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("import attrs\nimport json\nimport not_there\nfrom river import tree\n")
    assert list(imported(tmp_path / "task.py", tmp_path)) == ["attrs"]
