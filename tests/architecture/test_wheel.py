"""The wheel holds what a user runs, and nothing of the workshop."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import streams

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "streams", "infra", "agents")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the names of the files in the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


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
        "DataFile",
        "DefaultAtHorizon",
        "DriftRules",
        "Event",
        "MemoryDriver",
        "MetricRules",
        "Model",
        "OnArrival",
        "QualityRules",
        "Select",
        "Task",
        "Watch",
        "millis",
        "number",
    ]
    assert all(hasattr(streams, name) for name in streams.__all__)
