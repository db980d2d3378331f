"""The wheel holds what a user runs, and nothing of the workshop."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import streams
from infra.build.hook import source_digest

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "streams", "infra", "agents")


def build(folder: Path, **environment: str) -> tuple[Path, str]:
    """Build the wheel of this checkout; gives it, and what the build has printed."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(
        words, cwd=ROOT, check=True, capture_output=True, timeout=240, text=True, env=os.environ | environment
    )
    (wheel,) = folder.glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the names of the files in the wheel of this checkout."""
    return zipfile.ZipFile(build(tmp_path_factory.mktemp("wheel"))[0]).namelist()


def test_the_wheel_holds_the_four_rooms_and_what_they_read(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
    for needed in (
        "schemas/avro/entry.avsc",
        "streams/snapshot/river_classes.json",
        "agents/http/openapi.json",
        "agents/examples/hotel_bookings/task.py",
    ):
        assert needed in names


def test_every_module_of_the_rooms_is_in_it(names: list[str]) -> None:
    there = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert there <= set(names)


def test_benchmarks_and_the_fault_harness_are_not_in_it(names: list[str]) -> None:
    words = ("bench", "faults", "scenarios", "injection")
    found = [name for name in names if any(word in name for word in words)]
    assert found + [name for name in names if Path(name).name.startswith("test_")] == []


COMPILED = "streams/native/_kernel."


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_with_a_compiler_the_wheel_is_of_this_platform_and_its_core_learns(tmp_path: Path) -> None:
    wheel, printed = build(tmp_path, RIVERLOOP_CORE="native")
    assert "warning" not in printed.lower()
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as opened:
        (module,) = [name for name in opened.namelist() if name.startswith(COMPILED) and name.endswith(".so")]
        opened.extractall(tmp_path / "installed")
    program = "from streams import native; print(native.__file__, native.described())"
    found = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [
        str(tmp_path / "installed/streams/native/__init__.py"),
        "core",
        "native",
        source_digest(ROOT),
    ]
    assert module in zipfile.ZipFile(wheel).namelist()


def test_without_a_compiler_the_wheel_is_whole_and_says_that_models_run_in_python(tmp_path: Path) -> None:
    wheel, printed = build(tmp_path, RIVERLOOP_CORE="auto", CC="no-compiler-here", CXX="no-compiler-here")
    assert "without the native core, models run in Python" in printed
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "streams/native/fused.py" in names
    assert not [name for name in names if name.endswith(".so")]


def test_a_core_that_is_asked_for_and_cannot_be_built_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        build(tmp_path, RIVERLOOP_CORE="native", CC="no-compiler-here", CXX="no-compiler-here")
    assert "no-compiler-here" in failed.value.stderr
    wheel, printed = build(tmp_path, RIVERLOOP_CORE="python")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "without the native core" not in printed


def test_a_room_imports_nothing_of_the_tests() -> None:
    lines = [
        f"{path.relative_to(ROOT)}: {line}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.lstrip().startswith(("from tests", "import tests", "from unittest", "import unittest"))
    ]
    assert lines == []


def test_a_task_file_finds_what_it_needs_in_streams() -> None:
    assert sorted(streams.__all__) == [
        "AMRules",
        "After",
        "Aggregate",
        "AnomalyClassifier",
        "BeatsBaseRate",
        "BeatsEarlier",
        "DataFile",
        "DefaultAtHorizon",
        "Direction",
        "DriftRules",
        "Event",
        "Gate",
        "Grid",
        "Guardrail",
        "HeldBack",
        "Invariant",
        "JsonDialect",
        "Lookup",
        "Loss",
        "MemoryDriver",
        "MetricRules",
        "Model",
        "OnArrival",
        "OutcomeMapping",
        "QualityRules",
        "Race",
        "Replay",
        "ScoreRange",
        "Select",
        "Task",
        "Validation",
        "Watch",
        "millis",
        "number",
        "pure",
    ]
    assert all(hasattr(streams, name) for name in streams.__all__)
