"""What functions and classes of a task file do is part of a specification; how the file is written is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TASK = '''
"""A task."""
from datetime import timedelta

from river import base, compose, linear_model, preprocessing
from schemas import Dictionary, Number
from streams import Model, OnArrival, Task
import side
from side import more

SCALE = 2.0
UNUSED = 1


def half(x):
    """Halve."""
    return x / SCALE


def ratio(x):
    # of a to b
    return {"ratio": half(x["a"]) / (1 + side.plus(x["b"]))}


class Longest(base.Transformer):
    def __init__(self):
        self.seen = 0.0

    def learn_one(self, x):
        self.seen = max(self.seen, x["a"])

    def transform_one(self, x):
        return {"longest": self.seen}


class Late(OnArrival):
    def label(self, entry, kind=None):
        return OnArrival.label(self, entry)


def unrelated():
    return 1


def build():
    return (compose.FuncTransformer(ratio) + Longest()) | linear_model.LogisticRegression()


task = Task(name="t", question="", features=Dictionary(Number(name="a", low=0), Number(name="b", low=0)),
            horizon=timedelta(1), models=(Model("m", build, policy=Late()),))
'''
SIDE = "def plus(x): return x + 1\ndef more(x): return x\n"
SAME = {
    "a comment": ("# of a to b", "# of a to b, which is never 0"),
    "a docstring": ('"""Halve."""', '"""Divide by two."""'),
    "its form": ("return x / SCALE", "return (\n        x / SCALE)"),
    "lines above": ('"""A task."""', '"""A task."""\n\n\n'),
    "another function": ("    return 1\n", "    return 2\n"),
    "another constant": ("UNUSED = 1", "UNUSED = 2"),
    "the function that builds the same": ("def build():", "def build():\n    made = 1"),
}
OTHER = {
    "the function itself": ("(1 + side", "(2 + side"),
    "a function that it calls": ("return x / SCALE", "return x * SCALE"),
    "a constant": ("SCALE = 2.0", "SCALE = 3.0"),
    "a class": ("max(self.seen", "min(self.seen"),
    "a policy": ("return OnArrival.label(self, entry)", "return None"),
    "what is built": ("linear_model.LogisticRegression()", "linear_model.LogisticRegression(l2=0.1)"),
}


def spec_of(folder: Path, text: str = TASK, side: str = SIDE) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(text)
    (folder / "side.py").write_text(side)
    return str(folder / "task.py")


def specs(references: list[str]) -> list[str]:
    """Return each task's specification, by a process of its own folder of modules."""
    code = (
        "import sys; from infra.taskfile import load_task\n"
        "for each in sys.argv[1:]:\n"
        "    t = load_task(each).task; print(t.spec(t.models[0])); sys.modules.pop('side', None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *references], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_the_models_code_does_counts_and_its_form_does_not(tmp_path: Path) -> None:
    changes = {**SAME, **OTHER}
    files = [spec_of(tmp_path / "first")]
    for number, (old, new) in enumerate(changes.values()):
        assert TASK.count(old) == 1, old
        files.append(spec_of(tmp_path / str(number), TASK.replace(old, new)))
    files.append(spec_of(tmp_path / "side", side=SIDE.replace("+ 1", "+ 2")))
    first, *found = specs(files)
    same = [name for name, spec in zip(changes, found, strict=False) if spec == first]
    assert same == list(SAME)
    assert found[-1] != first
    assert len(set(found)) == len(OTHER) + 2


@pytest.mark.parametrize("change", [False, True])
def test_modules_of_a_package_count_by_what_is_used_of_them(
    tmp_path: Path, change: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, scale in (("shop_one", "2.0"), ("shop_two", "3.0" if change else "2.0")):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "side.py").write_text(SIDE)
        (package / "sums.py").write_text(f"SCALE = {scale}\nUNUSED = {name!r}\n")
        text = TASK.replace("import side", "from . import side").replace("from side", "from .side")
        (package / "task.py").write_text(text.replace("SCALE = 2.0", "from .sums import SCALE"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one, two = specs(["shop_one.task", "shop_two.task"])
    assert (one == two) is not change
