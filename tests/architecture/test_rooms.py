"""The four packages are ours, and imports go one way."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "streams", "infra", "agents")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_resolves_inside_the_checkout(room: str) -> None:
    spec = importlib.util.find_spec(room)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_foreign_owner(room: str) -> None:
    owners = set(metadata.packages_distributions().get(room, []))
    assert owners <= {"riverloop"}, f"another distribution owns the name {room}"


def test_no_package_is_made_of_the_tests() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


LONG = {
    "schemas/codec/codec.py": 515,  # a method per record that is read, and what the join holds
    "infra/task/log_fold.py": 360,  # the one reader of the log
    "infra/task/log_publisher.py": 345,  # what an owner publishes, and when
    "agents/task_agents.py": 366,  # how the parts of a task are put together
    "infra/worker_metrics.py": 345,  # a declaration for each metric
    "streams/task.py": 400,  # all that a task declares, with its sentences
    "streams/model.py": 410,  # a fold, its commands, versions and scores
    "streams/join/join.py": 440,  # the table of the join, whole
}
"""Files above 300 lines that were looked at again, and stay one room."""


def test_files_stay_readable() -> None:
    counts = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in (*ROOMS, "tests/faults")
        for path in (ROOT / room).rglob("*.py")
    }
    long = {name: count for name, count in counts.items() if count > LONG.get(name, 325)}
    assert not long, f"look again: {long}"


BANNED = {
    "list_consumer_group_offsets": "an admin client's crashes the process when a coordinator moves (ADR 21)"
}
"""Calls that nobody may make, and why."""


@pytest.mark.parametrize("call", BANNED)
def test_nobody_makes_a_call_that_is_known_to_do_harm(call: str) -> None:
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if call in path.read_text()]
    assert not found, BANNED[call]
