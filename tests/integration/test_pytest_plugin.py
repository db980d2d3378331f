"""The fixture as a user's own project sees it: a pytest run of its own, outside this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker

ROOT = Path(__file__).parents[2]


def run_pytest(
    directory: Path, test: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (directory / "test_users.py").write_text(test)
    installed = any(entry.value == "infra.embedded.pytest_plugin" for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "infra.embedded.pytest_plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *options, str(directory)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_a_run_that_does_not_use_the_fixture_imports_nothing_of_riverloop(tmp_path: Path) -> None:
    result = run_pytest(
        tmp_path,
        "import sys\n"
        "def test_nothing_is_imported():\n"
        "    assert 'confluent_kafka' not in sys.modules\n"
        "    assert 'infra.embedded.broker' not in sys.modules\n",
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.kafka
def test_a_users_test_gets_the_broker_named_in_the_environment(broker: Broker, tmp_path: Path) -> None:
    result = run_pytest(
        tmp_path,
        "from confluent_kafka.admin import AdminClient\n"
        "def test_it_answers(riverloop_broker):\n"
        f"    assert riverloop_broker.bootstrap == {broker.bootstrap!r}\n"
        "    client = AdminClient({'bootstrap.servers': riverloop_broker.bootstrap})\n"
        "    assert client.list_topics(timeout=10).brokers\n",
        RIVERLOOP_BOOTSTRAP=broker.bootstrap,
    )
    assert result.returncode == 0, result.stdout


def test_a_broker_in_a_container_answers_or_says_what_is_missing(tmp_path: Path) -> None:
    result = run_pytest(
        tmp_path,
        "from confluent_kafka.admin import AdminClient\n"
        "def test_it_answers(riverloop_broker):\n"
        "    client = AdminClient({'bootstrap.servers': riverloop_broker.bootstrap})\n"
        "    assert client.list_topics(timeout=10).brokers\n",
        "--riverloop-broker=container",
    )
    if result.returncode:
        advice = "riverloop[containers]" if find_spec("testcontainers") is None else "Start Docker"
        assert "BrokerError: " in result.stdout
        assert advice in result.stdout
