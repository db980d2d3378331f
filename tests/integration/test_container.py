"""The container's command line as its user in a read-only file system: it serves, stops, writes nowhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.embedded.ports import free_pair
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.container import ROOT, USER, Container, terminate
from tests.integration.loops import Loop, hotel_task, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.system("unshare", "setpriv"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the runtime of containers does"),
]

DOCKERFILE = (ROOT / "infra/deploy/image/Dockerfile").read_text()
STOP_S = 10.0


def words(instruction: str) -> list[str]:
    """Give the JSON form of an instruction."""
    (found,) = re.findall(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    made: list[str] = json.loads(found)
    return made


def environment() -> dict[str, str]:
    """Give what the image sets."""
    return dict(re.findall(r"(RIVERLOOP_\w+)=(\S+)", DOCKERFILE.split("\nENV ")[1].split("\nWORKDIR")[0]))


def exported() -> list[str]:
    """Give the arguments of the chart's job that exports."""
    text = (ROOT / "infra" / "deploy" / "rendered" / "all-options.yaml").read_text()
    jobs = [each for each in yaml.safe_load_all(text) if each["kind"] == "CronJob"]
    (job,) = [each["spec"] for each in jobs if each["metadata"]["name"] == "loop-export"]
    (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    made: list[str] = container["args"]
    return made


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder that other users may enter; pytest's are private."""
    folder = Path(tempfile.mkdtemp(prefix="riverloop-container-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_container_serves_and_stops_as_another_user_with_a_read_only_file_system(
    broker: Broker, tmp_path: Path, place: Path, task_name: str
) -> None:
    reference = f"{hotel_task(tmp_path / 'tasks', task_name)}:cancellation"
    log, port = tmp_path / "container.log", free_pair()[0]
    with Loop(reference, Connection(broker.bootstrap), tmp_path) as loop:
        container = Container(place, tmp_path / "tasks")
        token = container.data / "token"
        token.write_text("operator:a-token-of-this-test")
        given = environment()
        # Tests listen on the loopback address; a volume lies where the test may make it.
        given |= {
            "RIVERLOOP_BOOTSTRAP": broker.bootstrap,
            "RIVERLOOP_HTTP_HOST": "127.0.0.1",
            "RIVERLOOP_HTTP_PORT": str(port),
            "RIVERLOOP_HTTP_TOKEN_FILE": str(token),
            "RIVERLOOP_GROUP": task_name,
            "RIVERLOOP_DATA": given["RIVERLOOP_DATA"].replace("/data", str(container.data)),
        }
        program = [*container.python, "-m", "agents.cli.main"]
        command = [word.replace("/tasks/", f"{place}/tasks/") for word in words("CMD")]
        command[-1] += ":cancellation"
        assert words("ENTRYPOINT") == ["riverloop"]
        process = container.start([*program, *command], given, log)
        try:
            url = f"http://127.0.0.1:{port}"

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return bool(urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200)
                except OSError:
                    return False

            until(ready, 120, "the container is ready")
            event = loop.events(1)[0]
            body = {"request_id": "c-1", "ts": event.request.ts, "features": dict(event.request.features)}
            asked = urllib.request.Request(
                f"{url}/tasks/{task_name}/predictions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert json.loads(answer.read())["request_id"] == "c-1"
            # The chart's job, twice: what was exported is not exported again.
            out = container.data / "out"
            job = [
                each.replace("/out", str(out)).replace("/tasks/", f"{place}/tasks/") for each in exported()
            ]
            job[1] = f"{place}/tasks/task.py:cancellation"
            for _ in range(2):
                run = container.start([*program, *job], given, tmp_path / "export.log")
                assert run.wait(120) == 0, (tmp_path / "export.log").read_text()
                (file,) = out.glob(f"{task_name}.predictions/day=*/*.parquet")
                assert file.stat().st_uid == USER
            check = [word.replace(":8080/", f":{port}/") for word in words("    CMD")]
            check[0] = sys.executable
            assert subprocess.run(check, check=False).returncode == 0
            assert terminate(process, STOP_S) == 0, log.read_text()
            assert subprocess.run(check, check=False, stderr=subprocess.DEVNULL).returncode != 0
        finally:
            process.kill()
            process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("ready with" in line["message"] for line in lines)
    assert not [line for line in lines if line["level"] in {"ERROR", "CRITICAL"}]
    written = [each for each in container.data.rglob("*") if each != token]
    assert written, "the worker has its files in the volume"
    assert {each.stat().st_uid for each in written} == {USER}
    assert list((place / "tmp").iterdir()) == []


def test_a_container_writes_nowhere_but_in_its_volume(tmp_path: Path, place: Path) -> None:
    (tmp_path / "tasks").mkdir()
    container = Container(place, tmp_path / "tasks")
    log = tmp_path / "log"
    places = [str(place / "tree"), str(place / "tasks"), "/etc", "/var/tmp", str(place / "data")]
    program = (
        "import os, pathlib\n"
        "found = {}\n"
        f"for place in {places!r}:\n"
        "    try:\n"
        "        (pathlib.Path(place) / 'written').write_text('x')\n"
        "        found[place] = 0\n"
        "    except OSError as error:\n"
        "        found[place] = error.errno\n"
        "import json\n"
        "print(json.dumps([os.getpid(), os.geteuid(), list(found.values())]))\n"
    )
    process = container.start([*container.python, "-c", program], {}, log)
    assert process.wait(60) == 0, log.read_text()
    pid, user, failures = json.loads(log.read_text())
    assert (pid, user) == (1, USER)
    assert failures[-1] == 0
    assert all(failures[:-1])
