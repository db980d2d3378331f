"""A wrong task file fails at start, and says in which file, in which line, and why."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.taskfile import examples, load_task
from schemas.errors import TaskError, UsageError

GOOD = """\
from datetime import timedelta

from river import linear_model, naive_bayes

from schemas import Category, Dictionary, Number
from streams import DataFile, DefaultAtHorizon, Model, OnArrival, Task

FEATURES = Dictionary(Number(name="x"), Category(name="c"))


def build(learning_rate=0.1):
    return linear_model.LogisticRegression(intercept_lr=learning_rate)


def outcome(row):
    return None


first = Task(
    name="first-task",
    question="?",
    features=FEATURES,
    horizon=timedelta(days=1),
    models=(Model("lr", build, {"learning_rate": 0.2}),),
    data=DataFile(path="data/events.csv", request_id="id", ts="when", timezone="UTC", outcome=outcome),
)
"""
LINES = GOOD.count("\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("riverloop_task_", "tasks_of_mine", "neighbour")):
            del sys.modules[name]
    importlib.invalidate_caches()


def write(folder: Path, content: str | bytes, name: str = "task.py") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rejected(reference: str | Path) -> str:
    before = set(sys.modules)
    with pytest.raises(TaskError) as caught:
        load_task(str(reference))
    assert not any(name.startswith("riverloop_task_") for name in set(sys.modules) - before)
    return str(caught.value)


# ---------------------------------------------------------------------- what is found


def test_a_file_gives_its_first_task(folder: Path) -> None:
    second = GOOD[GOOD.index("first =") :].replace("first", "second")
    path = write(folder, GOOD + second)
    loaded = load_task(str(path))
    assert loaded.task.name == "first-task"
    assert loaded.reference == f"{path}:first"
    assert loaded.folder == folder
    assert loaded.classes == ()
    assert load_task(f"{path}:second").task.name == "second-task"
    assert load_task(f"{path}:second-task").reference == f"{path}:second"
    assert load_task(loaded.reference).task is loaded.task


def test_a_relative_path_is_found_again_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, GOOD)
    loaded = load_task("task.py")
    monkeypatch.chdir("/")
    assert load_task(loaded.reference).task is loaded.task


def test_a_module_gives_its_tasks(folder: Path) -> None:
    write(folder, GOOD, "tasks_of_mine.py")
    loaded = load_task("tasks_of_mine:first")
    assert loaded.reference == "tasks_of_mine:first"
    assert loaded.folder == folder
    assert load_task("tasks_of_mine").task is loaded.task


def test_a_data_path_is_the_given_one_or_the_tasks_own(folder: Path) -> None:
    loaded = load_task(str(write(folder, GOOD)))
    assert loaded.data_path() == folder / "data" / "events.csv"
    assert loaded.data_path("other.csv") == Path("other.csv")
    nameless = load_task(str(write(folder, GOOD.replace('path="data/events.csv", ', ""), "other.py")))
    with pytest.raises(UsageError, match="task 'first-task' has no data file: set --data FILE"):
        nameless.data_path()


@pytest.mark.parametrize(
    "reference",
    [
        *("hotel_bookings/task.py", "hotel_bookings/task.py:cancellation_within_30_days"),
        *("online_retail/task.py", "online_shoppers/task.py"),
    ],
)
def test_the_examples_load_and_their_data_lies_beside_them(reference: str) -> None:
    loaded = load_task(str(examples() / reference))
    assert loaded.data_path().is_file()
    assert loaded.task.data is not None


# ---------------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("first = (\n", "'(' was never closed"),
        ("def\n", "invalid syntax"),
        ("   x = 1\n", "unexpected indent"),
        ("print(horizon)\n", "NameError: name 'horizon' is not defined"),
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("from streams import NoSuch\n", "ImportError: cannot import name 'NoSuch' from 'streams'"),
        ("build(learning=1)\n", "TypeError: build() got an unexpected keyword argument 'learning'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("open('no-such-file')\n", "FileNotFoundError: [Errno 2] No such file or directory: 'no-such-file'"),
        ("Dictionary()\n", "a dictionary needs at least one feature"),
        ("Dictionary(Number(name='a'), Number(name='a'))\n", "the dictionary names a twice"),
        ("Dictionary(Number(name='a b'))\n", "feature 'a b': a name must consist of letters, digits and _"),
        ("Task(name='x')\n", "missing 4 required keyword-only arguments: 'question'"),
    ],
)
def test_an_error_in_the_file_is_reported_with_file_line_and_reason(
    folder: Path, added: str, reason: str
) -> None:
    path = write(folder, GOOD + added)
    message = rejected(path)
    assert message.startswith(f"{path}, line {LINES + 1}: ")
    assert reason in message


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="first-task"', 'name="First"', "task 'First': a name must consist of lower-case letters"),
        ('name="first-task"', 'name="a--b"', "task 'a--b': a name must"),
        ("timedelta(days=1)", "30", "horizon= must be a timedelta, for example timedelta(days=30)"),
        ("timedelta(days=1)", "timedelta(0)", "horizon=0:00:00 must be positive"),
        ("timedelta(days=1)", "timedelta(-1)", "horizon=-1 day, 0:00:00 must be positive"),
        ("features=FEATURES", "features=[1]", "features= must be a Dictionary(...)"),
        ('(Model("lr", build, {"learning_rate": 0.2}),)', "()", "models= needs at least one Model(...)"),
        (
            '(Model("lr", build, {"learning_rate": 0.2}),)',
            '(Model("m", build), Model("m", build))',
            "two models have the same name (m, m)",
        ),
        ('Model("lr"', 'Model("L R"', "model 'L R': a name must consist of lower-case letters"),
        ('Model("lr"', 'Model("metrics"', "model 'metrics': the name is taken"),
        ('"learning_rate": 0.2', '"rate": 0.2', "build(**parameters) failed: TypeError"),
        (
            "build, {",
            "FEATURES, {",
            "build(**parameters) failed: TypeError: 'Dictionary' object is not callable",
        ),
        (
            "linear_model.LogisticRegression(intercept_lr=learning_rate)",
            "'a text'",
            "build must return a River model, not str",
        ),
        (
            "linear_model.LogisticRegression(intercept_lr=learning_rate)",
            "linear_model.LinearRegression()",
            "kind='binary' requires a classifier, not LinearRegression",
        ),
        ('question="?",', 'question="?", kind="ranking",', "kind='ranking' is not one of binary, multiclass"),
        (
            'question="?",',
            'question="?", kind="ranking",',
            "; set kind='regression' with the rating as outcome",
        ),
        ('question="?",', 'question="?", kind="regression",', "requires a regressor, not LogisticRegression"),
        ('question="?",', 'question="?", grace=5,', "grace= must be a timedelta"),
        ('question="?",', 'question="?", tolerance=timedelta(-1),', "tolerance=-1 day, 0:00:00 must be"),
        ('question="?",', 'question="?", horizn=1,', "unexpected keyword argument 'horizn'"),
    ],
)
def test_a_wrong_task_is_reported_with_file_line_and_reason(
    folder: Path, old: str, new: str, reason: str
) -> None:
    assert GOOD.count(old) == 1
    path = write(folder, GOOD.replace(old, new))
    message = rejected(path)
    line = GOOD[: GOOD.index("first =")].count("\n") + 1
    assert message.startswith(f"{path}, line {line}: ")
    assert reason in message


def test_an_error_in_a_neighbour_is_reported_with_the_line_that_imports_it(folder: Path) -> None:
    write(folder, "def broken(:\n", "neighbour.py")
    path = write(folder, "import sys\nimport neighbour\n")
    message = rejected(path)
    assert message.startswith(f"{path}, line 2: SyntaxError: invalid syntax")
    assert "neighbour.py, line 1" in message


@pytest.mark.parametrize("content", [b"x = '\xff'\n", b"x = 1\0\n"])
def test_a_file_that_is_no_text(folder: Path, content: bytes) -> None:
    path = write(folder, content)
    message = rejected(path)
    assert message.startswith(str(path))
    assert "None" not in message


def test_a_file_without_a_task(folder: Path) -> None:
    path = write(folder, "x = 1\n")
    with pytest.raises(TaskError, match="has no Task"):
        load_task(str(path))


def test_a_file_or_a_module_that_is_not_there(folder: Path) -> None:
    assert rejected("nowhere.py") == "task file nowhere.py does not exist"
    assert rejected(folder) == (
        f"module '{folder}' does not exist; a task is file.py, file.py:name or a dotted module"
    )
    assert rejected("no.such.module").startswith("module 'no.such.module' does not exist")
    assert rejected("os.path") == "os.path: the file has no Task(...) at its top level"
    assert rejected("").startswith("module : ValueError")
    assert rejected(".relative").startswith("module .relative: TypeError")


def test_a_name_that_the_file_does_not_have(folder: Path) -> None:
    path = write(folder, GOOD)
    with pytest.raises(TaskError, match="the file has no task 'other'; it has first"):
        load_task(f"{path}:other")


def test_an_error_in_a_module_is_reported_with_file_line_and_reason(folder: Path) -> None:
    path = write(folder, GOOD.replace("timedelta(days=1)", "30"), "tasks_of_mine.py")
    line = GOOD[: GOOD.index("first =")].count("\n") + 1
    message = rejected("tasks_of_mine")
    assert message.startswith(f"{path}, line {line}: task 'first-task': horizon= must be a timedelta")
    write(folder, "import no_such_package\n", "tasks_of_mine_too.py")
    assert "tasks_of_mine_too.py, line 1: ModuleNotFoundError: No module named" in rejected(
        "tasks_of_mine_too"
    )
    path = write(folder, "x = (\n", "tasks_of_mine_three.py")
    assert rejected("tasks_of_mine_three") == f"{path}, line 1: SyntaxError: '(' was never closed"


def test_a_corrected_file_loads_in_the_same_process(folder: Path) -> None:
    path = write(folder, GOOD + "1 / 0\n")
    rejected(path)
    write(folder, GOOD + "# corrected\n")
    assert load_task(str(path)).task.name == "first-task"
