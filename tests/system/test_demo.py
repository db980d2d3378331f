"""`riverloop demo --prometheus`: a real server beside the demo, that knows its workers, and ends with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.ports import listens
from infra.embedded.pytest_plugin import Broker
from tests.integration.loops import command, hotel_task, until

pytestmark = [pytest.mark.timeout(300)]


@pytest.mark.system
@pytest.mark.kafka
def test_the_demo_starts_prometheus_says_where_and_ends_it(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    task = hotel_task(tmp_path / "task", task_name)
    words, environment, folder = command(
        "demo", str(task), "--prometheus", "--bootstrap", broker.bootstrap, "--limit", "20000"
    )
    process = subprocess.Popen(
        words,
        env=environment | {"XDG_DATA_HOME": str(tmp_path)},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        found = until(lambda: re.search(r"Prometheus answers at (http://\S+),", "".join(said)), 120)
        url = found[1]

        def asked(query: str) -> Any:
            with urllib.request.urlopen(f"{url}/api/v1/query?query={query}", timeout=10) as answer:
                return json.loads(answer.read())["data"]["result"]

        until(lambda: [each for each in asked("riverloop_predictions_total") if each["value"][1] != "0"], 120)
        assert [each["value"][1] for each in asked("up")] == ["1"]
        assert [each["metric"]["task"] for each in asked("riverloop_ready")] == [task_name]
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        process.stderr.close()
    assert "Traceback" not in "".join(said)
    until(lambda: not listens(url.removeprefix("http://")), 15, "Prometheus is gone")


def test_without_prometheus_the_demo_says_how_to_install_it_and_starts_nothing(tmp_path: Path) -> None:
    words, environment, folder = command("demo", "--prometheus")
    # Python is called by its full path.
    done = subprocess.run(
        words,
        env=environment | {"PATH": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "sudo apt-get install prometheus" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "riverloop").exists()
