from __future__ import annotations

import os
import shutil
import signal
import uuid

import pytest
from hypothesis import settings

# By name rather than as a plugin: in a checkout that is not installed nobody else registers it, in one that
# is installed registering it again would be an error. A fixture imported twice is not.
from infra.embedded.pytest_plugin import Broker, riverloop_broker
from streams import native

__all__ = ["riverloop_broker"]

# How long an example takes says nothing on a machine that is busy with other tests.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

# CI runs the suite with each: native, which is an error where it is not built, and python.
native.choose(os.environ.get("RIVERLOOP_CORE") or "auto")

LONG = (
    "test_positions",
    "test_worker_faults",
    "test_commands",
    "test_rollback",
    "test_equals_river",
    "test_join_store",
    "test_rolling_update",
    "test_rolling_restart",
    "test_backup",
    "test_fused",
    "test_demo",
    "test_faults",
    "test_health",
    "test_forget",
    "test_user_code",
    "test_clients",
    "test_pages",
    "test_fault_run",
    "test_bench",
)
"""Files that take minutes, the longest first; one of them computes while others wait for a broker."""

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: the tests that press it
# would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker(riverloop_broker: Broker) -> Broker:
    """The one Kafka of this run, shared by all tests: use topics of your own, see `task_name`."""
    return riverloop_broker


@pytest.fixture
def task_name() -> str:
    """A task's name that no other test uses."""
    return f"task-{uuid.uuid4().hex[:10]}"


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist, where it is used, keep to the order below."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes longest first, so that nobody waits for it at the end.

    What needs a Debian package or Go is left out where that is missing, and says so; in CI it fails instead.
    """
    items.sort(key=_turn)
    if os.environ.get("CI"):
        return
    for item in items:
        marker = item.get_closest_marker("system")
        if marker is not None:
            programs = marker.args or ("prometheus", "promtool")
            if not all(map(shutil.which, programs)):
                package = marker.kwargs.get("package", programs[0])
                reason = f"needs Debian's {package}; apt-get install {package}"
                if package == "go":
                    reason = "needs Go, 1.21 or later; pip install -r infra/go.txt"
                item.add_marker(pytest.mark.skip(reason=reason))


def _turn(item: pytest.Item) -> tuple[int, int]:
    folders = {"integration": 0, "system": 0, "simulation": 0, "properties": 1}
    file = item.path.stem
    return folders.get(item.path.parent.name, 2), LONG.index(file) if file in LONG else len(LONG)
