"""The command `riverloop demo` as a newcomer runs it: what it proves, what it rejects, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.taskfile import load_task
from schemas.topics import TaskTopics
from tests.integration.loops import command, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


def run(home: Path, *arguments: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run the command with a data folder of its own."""
    words, environment, folder = command(*arguments)
    return subprocess.run(
        words,
        env=environment | {"XDG_DATA_HOME": str(home)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def task(tmp_path: Path, task_name: str) -> str:
    return str(hotel_task(tmp_path / "task", task_name))


def test_in_lockstep_it_equals_river_s_evaluator_and_its_own_history_verifies(
    broker: Broker, tmp_path: Path, task: str
) -> None:
    done = run(tmp_path, "demo", task, "--limit", "1200", "--json", "--bootstrap", broker.bootstrap)
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["equal"]
    assert reported["verified"]["ok"]
    assert reported["verified"]["scores_reproduced"] == {"lr": 1200}
    assert (reported["waiting"], reported["resolutions"]["labelled"]) == (0, 1200)
    for metric in ("accuracy", "f1", "log_loss"):
        found = reported["models"]["lr"][metric]
        assert found["loop"] == pytest.approx(found["river"], abs=1e-12)
    assert list(Path(reported["snapshots"]).rglob("manifest.json"))


def test_outcomes_that_never_come_are_left_out_on_rivers_side_and_the_table_says_how_many(
    broker: Broker, tmp_path: Path, task: str
) -> None:
    path = Path(task)
    text = path.read_text()
    assert "outcome=any_outcome" in text
    text = text.replace("outcome=any_outcome", "outcome=cancellations_only")
    path.write_text(text)
    words = ("--limit", "600", "--bootstrap", broker.bootstrap)
    done = run(tmp_path, "demo", task, *words, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    labelled, found = printed["resolutions"]["labelled"], printed["models"]["lr"]
    assert 0 < labelled < 600
    assert (found["n"], found["river_left_out"]) == (labelled, 600 - labelled)
    assert printed["equal"]
    assert printed["verified"]["ok"]


def test_free_on_four_partitions_with_two_workers_everything_is_proved_and_both_agree(
    broker: Broker, tmp_path: Path, task: str
) -> None:
    words = ("--free", "--partitions", "4", "--workers", "2", "--limit", "2500", "--json")
    done = run(
        tmp_path, "demo", f"{task}:cancellation_within_30_days", *words, "--bootstrap", broker.bootstrap
    )
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["verified"]["ok"]
    assert reported["digests_equal"]
    assert reported["verified"]["scores_reproduced"] == {"lr": 2500}
    assert reported["verified"]["predictions"] == 2500
    resolved = reported["resolutions"]["labelled"] + reported["resolutions"]["expired"]
    assert resolved + reported["waiting"] == 2500
    assert 0 < reported["freshness_ms"]["p50"] <= reported["freshness_ms"]["p99"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("no/such/task.py",), "task file no/such/task.py does not exist"),
        (("{broken}",), "broken.py, line 3: "),
        (("{task}:nothing",), "the file has no task 'nothing'; it has cancellation"),
        (("{task}", "--data", "no/such/file.csv"), "no/such/file.csv"),
        (("{task}", "--partitions", "4"), "lockstep runs on one partition and one worker; use --free"),
        (("{task}", "--limit", "0"), "--limit"),
        (("{task}", "--free", "--workers", "99"), "--workers"),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(
    tmp_path: Path, task: str, arguments: tuple[str, ...], says: str
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("from streams import Task\n\ntask = Task(name='Wrong Name')\n")
    given = [each.format(task=task, broken=broken) for each in arguments]
    done = run(tmp_path, "demo", *given)
    reported = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert reported[-1].startswith("Error: ")
    assert done.stdout == ""


def test_check_looks_at_the_topics_of_a_cluster_that_is_given(
    broker: Broker, tmp_path: Path, task: str, task_name: str
) -> None:
    words = ("check", task, "--bootstrap", broker.bootstrap)
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert f"topic {task_name}.requests is missing; run: riverloop topics create" in done.stderr
    created = run(tmp_path, "topics", "create", task, "--partitions", "3", "--bootstrap", broker.bootstrap)
    assert created.returncode == 0, created.stderr
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    *_, data, topics, revision = done.stdout.splitlines()
    assert data.endswith("1,000 rows read and learned, 1,000 with a label")
    assert topics == "topics     as they must be, with 3 partition(s)"
    assert revision.startswith(
        "revision   revision 1 of lr is opened; folds 0 offsets from the log's beginning"
    )


def test_a_cluster_that_does_not_answer_is_named_in_a_sentence(tmp_path: Path, task: str) -> None:
    commands = [
        ("demo", task),
        ("worker", task),
        ("verify", task),
        ("produce", task),
        ("topics", "check", task),
    ]

    def alone(words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return run(tmp_path / words[0], *words, "--bootstrap", "127.0.0.1:9", timeout_s=120)

    with ThreadPoolExecutor(len(commands)) as pool:  # each waits for the cluster
        for words, done in zip(commands, pool.map(alone, commands), strict=True):
            assert done.returncode in {1, 2}, words
            assert "127.0.0.1:9" in done.stderr, words
            assert "Traceback" not in done.stderr, words
            assert done.stderr.strip().splitlines()[-1].startswith("Error: "), (words, done.stderr)


def test_ctrl_c_ends_broker_and_workers_within_seconds(tmp_path: Path, task: str) -> None:
    words, environment, folder = command("demo", task)
    process = subprocess.Popen(
        words,
        env=environment | {"XDG_DATA_HOME": str(tmp_path)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        demos = tmp_path / "riverloop" / "demo"
        until(
            lambda: any("ready with" in log.read_text() for log in demos.glob("*/worker-0.log")),
            180,
            "the demo's worker is ready",
        )
        time.sleep(2.0)
        children = descendants(process.pid)
        assert {"java", "python"} <= {name_of(each) for each in children}
        began = time.monotonic()
        # As a terminal does: to all processes of the foreground.
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        print(f"gone after {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 20
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    until(lambda: not any(map(is_alive, children)), 15, "all its processes are gone")
    (log,) = demos.glob("*/worker-0.log")
    assert "Traceback" not in log.read_text()


def descendants(pid: int) -> list[int]:
    """Give the ids of a process's children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                parent = int((each / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(each.name))
    found, new = [], [pid]
    while new:
        new = [child for each in new for child in children.get(each, [])]
        found += new
    return found


def name_of(pid: int) -> str:
    """Give the name of a process's program, without its version."""
    return Path(f"/proc/{pid}/comm").read_text().strip().rstrip("0123456789.")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_verify_tells_a_true_history_from_one_that_was_tampered_with(
    broker: Broker, tmp_path: Path, task: str
) -> None:
    done = run(tmp_path, "demo", task, "--limit", "300", "--json", "--bootstrap", broker.bootstrap)
    assert done.returncode == 0, done.stderr
    check = ("verify", task, "--bootstrap", broker.bootstrap)
    clean = run(tmp_path, *check, "--json", "--snapshots", json.loads(done.stdout)["snapshots"])
    reported = json.loads(clean.stdout)
    assert (clean.returncode, reported["ok"], reported["failures"]) == (0, True, [])
    assert reported["scores_reproduced"] == {"lr": 300}

    connection, topic = Connection(broker.bootstrap), TaskTopics(load_task(task).task.name).log
    entries = list(read_all(connection, topic))
    producer = Producer(connection.config())
    producer.produce(topic, entries[50].value(), entries[50].key())
    assert producer.flush(30) == 0
    wrong = run(tmp_path, *check)
    assert wrong.returncode == 1
    assert "is in the log more than once" in wrong.stderr
    assert f"{topic}[0]@{entries[50].offset()}" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_it_stays_with_its_page_until_ctrl_c_when_reported_to(
    broker: Broker, tmp_path: Path, task: str
) -> None:
    words, environment, folder = command(
        "demo", task, "--limit", "60", "--stay", "--bootstrap", broker.bootstrap
    )
    with subprocess.Popen(
        words,
        env=environment | {"XDG_DATA_HOME": str(tmp_path)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        url = ""
        for line in process.stderr:
            if "still runs: " in line:
                url = line.split("still runs: ")[1].split()[0]
                break
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"<title>riverloop</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        out, reported = process.communicate(timeout=60)
    assert process.returncode == 0, reported
    assert "everything holds" in out
