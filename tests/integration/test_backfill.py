"""`riverloop backfill` on a real broker: each fact of a file once, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from agents.cli.backfill import backfill as backfill_command
from agents.cli.verify import verify as verify_command
from infra import backfill as module
from infra.backfill import Backfill
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from infra.past import controls
from infra.taskfile import LoadedTask, load_task
from schemas.codec import Codec
from schemas.errors import BrokerError, UsageError
from schemas.records import Entry, Prediction
from schemas.topics import topics
from tests.faults.injection import InjectedFaults

pytestmark = pytest.mark.kafka

TASK_FILE = """
from datetime import timedelta
from river import linear_model
from schemas import Dictionary, Number
from streams import DataFile, DefaultAtHorizon, Model, Task, millis

def outcome(row):
    return (millis(row["when"]), True) if row["when"] else None

task = Task(
    name="{name}", question="?", features=Dictionary(Number(name="x", unit="1")),
    horizon=timedelta(days={days}),
    models=(Model("lr", linear_model.LogisticRegression, policy=DefaultAtHorizon(False)),),
    data=DataFile(path="history.csv", request_id="id", ts="asked", timezone="UTC", outcome=outcome),
)
"""
ROWS = 60


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def file(tmp_path: Path, task_name: str, connection: Connection) -> Path:
    """A task with a data file, and its topics."""
    lines = ["id,asked,when,x"]
    for number in range(ROWS):
        asked = f"2024-01-01T00:{number:02d}:00"
        lines.append(f"r{number},{asked},{'2024-01-05' if number % 3 == 0 else ''},{number}")
    lines.append("end,2024-06-01,2024-06-01,1")
    (tmp_path / "history.csv").write_text("\n".join(lines) + "\n")
    made = tmp_path / f"task_{task_name.replace('-', '_')}.py"
    made.write_text(TASK_FILE.format(name=task_name, days=30))
    create_topics(connection, topics(task_name, 1))
    return made


def make(file: Path, connection: Connection) -> tuple[LoadedTask, Codec, Backfill]:
    loaded = load_task(str(file))
    codec = Codec(loaded.task.name, "binary", loaded.task.features)
    return loaded, codec, Backfill(loaded, codec, connection, loaded.data_path())


def entries(file: Path, connection: Connection) -> list[Entry]:
    loaded = load_task(str(file))
    codec = Codec(loaded.task.name, "binary", loaded.task.features)
    return [
        codec.decode_entry(message.value()) for message in read_all(connection, f"{loaded.task.name}.log")
    ]


def audits(file: Path, connection: Connection) -> list[tuple[str, ...]]:
    loaded = load_task(str(file))
    codec = Codec(loaded.task.name, "binary", loaded.task.features)
    messages = read_all(connection, f"{loaded.task.name}.control")
    done = [each.command for each in controls(codec, messages) if each.kind == "audit"]
    return [(each.name, each.author, each.reason, *each.arguments.values()) for each in done]


def run(file: Path, broker: Broker, *more: str) -> Result:
    return CliRunner().invoke(backfill_command, [str(file), "--bootstrap", broker.bootstrap, *more])


def child(file: Path, broker: Broker, **environment: str) -> subprocess.Popen[str]:
    program = (
        "import infra.backfill, os, sys; infra.backfill.CHUNK = 7\n"
        "from tests.faults.injection import inject; inject(os.environ)\n"
        "from agents.cli.backfill import backfill; backfill(sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(file), "--bootstrap", broker.bootstrap, "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_backfill_writes_each_row_once_in_the_order_of_learning(
    file: Path, broker: Broker, connection: Connection
) -> None:
    first = json.loads(run(file, broker, "--json", "--author", "Ada", "--reason", "history").stdout)
    assert (first["written"], first["there"]) == (ROWS + 1, 0)
    assert first["kinds"] == {"expired": ROWS * 2 // 3, "labelled": ROWS // 3 + 1}
    again = json.loads(run(file, broker, "--json", "--author", "nobody").stdout)
    assert (again["written"], again["there"]) == (0, ROWS + 1)
    asked = audits(file, connection)
    assert asked == [("backfill", "Ada", "history", first["file"], "0")], "what writes nothing has no audit"
    found = entries(file, connection)
    assert len({entry.entry_id for entry in found}) == len(found) == ROWS + 1
    assert [entry.ts for entry in found] == sorted(entry.ts for entry in found)
    proved = CliRunner().invoke(verify_command, [str(file), "--bootstrap", broker.bootstrap, "--json"])
    assert json.loads(proved.stdout)["resolutions"] == {"backfill": ROWS + 1}
    assert proved.exit_code == 0


@pytest.mark.parametrize("point", ["before-produce:3", "between-produce-and-commit:4", "after-commit:2"])
def test_a_backfill_killed_half_way_goes_on_where_it_was(
    file: Path, broker: Broker, connection: Connection, point: str
) -> None:
    killed = child(file, broker, RIVERLOOP_CRASH_POINT=point)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    second = json.loads(run(file, broker, "--json").stdout)
    assert (
        second["there"]
        == {"before-produce:3": 14, "between-produce-and-commit:4": 21, "after-commit:2": 14}[point]
    )
    assert second["written"] + second["there"] == ROWS + 1
    found = [entry.entry_id for entry in entries(file, connection)]
    _, _, whole = make(file, connection)
    assert found == [entry.entry_id for entry in whole.history]


def resumed(file: Path, broker: Broker, connection: Connection) -> int:
    return int(json.loads(run(file, broker, "--json").stdout)["there"])


def read(file: Path, broker: Broker, connection: Connection) -> int:
    return len(entries(file, connection))


def proved(file: Path, broker: Broker, connection: Connection) -> int:
    command = [str(file), "--bootstrap", broker.bootstrap, "--json"]
    return int(json.loads(CliRunner().invoke(verify_command, command).stdout)["resolutions"]["backfill"])


@pytest.mark.parametrize("count", [resumed, read, proved])
def test_what_a_backfill_has_committed_counts_though_it_is_not_visible_yet(
    file: Path, broker: Broker, connection: Connection, count: Callable[[Path, Broker, Connection], int]
) -> None:
    _, _, work = make(file, connection)
    log = f"{load_task(str(file)).task.name}.log"
    older = Producer(connection.config(**{"transactional.id": f"{log}-older"}))
    older.init_transactions(30)

    def hide(done: int) -> None:
        if done == 0:  # what was there is read, nothing is written
            older.begin_transaction()
            older.produce(log, b"aborted", partition=0)
            older.flush(10)

    assert work.run(progress=hide).written == ROWS + 1
    assert end_offsets(connection, [(log, 0)]) == {(log, 0): 0}  # nobody sees it
    timer = threading.Timer(1.0, older.abort_transaction)
    timer.start()
    assert count(file, broker, connection) == ROWS + 1
    timer.join()


def test_aborted_transactions_leave_no_hole_and_nothing_twice(
    file: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 5)
    _, _, work = make(file, connection)
    work._runner._hooks = InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.4", "RIVERLOOP_ABORT_SEED": "5"})
    done = work.run()
    assert done.written == ROWS + 1
    assert [entry.entry_id for entry in entries(file, connection)] == [each.entry_id for each in work.history]


def test_of_two_runs_of_one_file_the_later_one_goes_on(
    file: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 5)
    _, _, earlier = make(file, connection)
    _, _, later = make(file, connection)
    results = []

    def meanwhile(done: int) -> None:
        if done == 20:
            results.append(later.run())

    with pytest.raises(BrokerError, match="another backfill of this file has replaced this one"):
        earlier.run(progress=meanwhile)
    assert (results[0].there, results[0].written) == (20, ROWS + 1 - 20)
    assert [entry.entry_id for entry in entries(file, connection)] == [
        each.entry_id for each in later.history
    ]


def test_history_is_not_learned_after_live_requests_unless_asked_for(
    file: Path, connection: Connection
) -> None:
    loaded, codec, work = make(file, connection)
    name = loaded.task.name
    live = Entry(f"{name}.outcomes[0]@0#0", "expired", 5, prediction=Prediction("live", 0, {"x": 1.0}, ()))
    runner = TransactionRunner(connection, f"{name}.live")
    runner.run([OutRecord(f"{name}.log", name.encode(), codec.encode(live), 0)], {}, b"")
    with pytest.raises(UsageError, match=r"1 entries of served requests.*--force"):
        work.run()
    _, _, forced = make(file, connection)
    assert forced.run(force=True).written == ROWS + 1
    _, _, again = make(file, connection)
    assert again.run().written == 0  # nothing is left to do, so nothing is rejected


def test_a_task_file_that_changed_in_between_is_named(
    file: Path, broker: Broker, connection: Connection, tmp_path: Path
) -> None:
    assert run(file, broker).exit_code == 0
    name = load_task(str(file)).task.name
    changed = tmp_path / "changed.py"
    changed.write_text(TASK_FILE.format(name=name, days=3))
    _, _, work = make(changed, connection)
    with pytest.raises(UsageError, match="differs from the task's entry for this data file"):
        work.run()


def test_missing_topics_are_named(file: Path, broker: Broker, connection: Connection, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(TASK_FILE.format(name="never-created", days=3))
    _, _, work = make(other, connection)
    with pytest.raises(BrokerError, match=r"never-created\.log.*riverloop topics create"):
        work.run()
