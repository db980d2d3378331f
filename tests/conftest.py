from __future__ import annotations

import os
import shutil
import uuid

import pytest

# By name rather than as a plugin: in a checkout that is not installed nobody else registers it, in one that
# is installed registering it again would be an error. A fixture imported twice is not.
from infra.kafka.pytest_plugin import Broker, riverloop_broker

__all__ = ["riverloop_broker"]


@pytest.fixture(scope="session")
def broker(riverloop_broker: Broker) -> Broker:
    """The one Kafka of this run, shared by all tests: use topics of your own, see `task_name`."""
    return riverloop_broker


@pytest.fixture
def task_name() -> str:
    """A task's name that no other test uses."""
    return f"task-{uuid.uuid4().hex[:10]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs Debian's Prometheus where it is missing, and say so; in CI it fails instead."""
    if os.environ.get("CI") or (shutil.which("prometheus") and shutil.which("promtool")):
        return
    skip = pytest.mark.skip(reason="needs Debian's prometheus; apt-get install prometheus")
    for item in items:
        if item.get_closest_marker("system") is not None:
            item.add_marker(skip)
